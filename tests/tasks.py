"""A task so small that a test can follow it by hand, settings of evaluators, and what a test that compiles needs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from ddbench.compute.generators import Generators
from ddbench.data import Dataset, make_dataset
from ddbench.networks import InitialWeights, build_network
from ddbench.records.cell import Attack, NetworkSpec
from ddbench.registry import DECODERS, METHODS
from ddbench.task.pretrained import PretrainedPool
from ddbench.task.settings import SETTINGS, Setting, SettingInputs
from ddbench.task.task import Task
from ddbench.testing import modalities_of, tiny_task

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
PERCEPTRON = NetworkSpec(name="mlp", parameters={"depth": 1, "width": 5})


def random_task(count: int = 10, generators: Generators | None = None) -> Task:
    """So many random 4x4 images of three classes in turn, for a network of one hidden layer."""
    images = np.random.RandomState(0).randint(0, 256, (count, 4, 4), dtype=np.uint8)
    data = make_dataset("tiny", images, np.arange(count) % 3, images[:3], np.arange(3))
    return tiny_task(generators=generators or Generators("tiny"), data=data, network=PERCEPTRON)


def setting_of(
    network: NetworkSpec,
    data: Dataset,
    name: str = "random",
    pool: PretrainedPool | None = None,
    attack: Attack | None = None,
) -> Setting:
    """A setting of networks that are scored on these data, on the CPU."""
    module = build_network(network.name, data.shape, len(data.classes), network.parameters)
    inputs = SettingInputs(InitialWeights(module), Generators("evaluation"), torch.device("cpu"), pool, attack)
    return SETTINGS[name](inputs)


def methods_of(modality: str = "images") -> list[str]:
    """The methods that distil this kind of data, by name, once they are discovered."""
    return [name for name in METHODS if modality in modalities_of(METHODS.get(name))]


def decoders_of_images() -> list[str]:
    """The decoders that give images."""
    return [name for name in DECODERS if getattr(DECODERS.get(name), "rank", 3) == 3]
