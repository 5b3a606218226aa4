"""Networks: one family of architectures a file, each with `embed(x)` and `forward(x)`, found by name in NETWORKS."""

from __future__ import annotations

from ddbench.networks.alexcifarnet import AlexCifarNet
from ddbench.networks.alexnet import AlexNet
from ddbench.networks.base import Network, parameter_count
from ddbench.networks.build import build_network, check_network
from ddbench.networks.chunks import Chunks
from ddbench.networks.convnet import ConvNet
from ddbench.networks.imagenet import Torchvision
from ddbench.networks.initial_weights import InitialWeights
from ddbench.networks.lenet import LeNet
from ddbench.networks.mlp import MLP
from ddbench.networks.resnet import ResNet18
from ddbench.networks.timm_models import timm_model
from ddbench.networks.vgg import VGG11

__all__ = [
    "MLP",
    "VGG11",
    "AlexCifarNet",
    "AlexNet",
    "Chunks",
    "ConvNet",
    "InitialWeights",
    "LeNet",
    "Network",
    "ResNet18",
    "Torchvision",
    "build_network",
    "check_network",
    "parameter_count",
    "timm_model",
]
