"""Networks of torchvision, whose ImageNet weights can be adapted to other data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from ddbench.networks.base import Network, check_choice
from ddbench.registry import NETWORKS

MODELS = ("alexnet", "vgg11", "vgg13", "vgg16", "vgg19")
"""torchvision's networks that are sequences of layers without running statistics"""


@NETWORKS.register("torchvision")
class Torchvision(Network):
    """A network of torchvision for ImageNet without its dropout, with a classifier for these classes.

    Args:
        model: `alexnet`, `vgg11`, `vgg13`, `vgg16` or `vgg19`
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, model: str = "alexnet") -> None:
        import torchvision  # imported here, since it takes a second

        check_choice("model", model, MODELS)
        whole = torchvision.models.get_model(model, weights=None, num_classes=classes, dropout=0.0)
        super().__init__(*_parts(whole))


def save_pretrained(model: str, classes: int, file: Path) -> None:
    """Download torchvision's ImageNet weights and write them as a board's `pool: {weights: FILE}` takes them.

    The last layer, for ImageNet's classes, is replaced by one for `classes` whose weights are 0 and biases 1, as in
    Wang et al., "Dataset Distillation", 2018, arXiv 1811.10959.

    Raises:
        UserError: a model that `network: torchvision` does not know.
    """
    import torchvision

    check_choice("model", model, MODELS)
    whole = torchvision.models.get_model(model, weights="DEFAULT")
    last = nn.Linear(whole.classifier[-1].in_features, classes)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(1.0)
    whole.classifier[-1] = last
    save_network(whole, file)


def save_network(whole: nn.Module, file: Path) -> None:
    """Write all weights of a network of your own as a board's `pool: {weights: FILE}` takes them.

    Args:
        whole: one of torchvision's `MODELS`, or a network with the same parts: features, avgpool and classifier
    """
    weights = Network(*_parts(whole)).named_parameters()
    save_file({name: weight.detach().contiguous() for name, weight in weights}, file)


def _parts(whole: Any) -> tuple[nn.Sequential, nn.Linear]:
    """Return the layers before the last one without dropout, and the last layer."""
    *hidden, last = whole.classifier
    kept = [layer for layer in hidden if not isinstance(layer, nn.Dropout)]
    return nn.Sequential(whole.features, whole.avgpool, nn.Flatten(), *kept), last
