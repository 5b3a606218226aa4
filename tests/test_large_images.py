"""Every method takes images of 64 x 64 pixels of many classes, as Tiny-ImageNet's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ddbench.compute.generators import Generators
from ddbench.data import Dataset, make_dataset
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.registry import METHODS, discover
from ddbench.task.hyperparameters import make_method
from ddbench.testing import IMAGES, modalities_of, tiny_task

discover()
NETWORK = NetworkSpec(name="convnet", parameters={"depth": 4, "width": 8})
FITTING: dict[str, dict[str, Any]] = {
    "addressable_memories": {"decoder": "linear_bases,bases=2,images=1"},
    "factorization": {"decoder": "hallucinators,count=1,channels=1,scale=2"},
}
"""decoders that fit into one image of a class, without a decomposition of thousands of images"""


EACH = {"realistic_patches": 6}
"""images of a class where two are too few: one of them is held out to choose a teacher's epoch"""
OF_IMAGES = [name for name in METHODS if IMAGES in modalities_of(METHODS.get(name))]


def random_images(classes: int, each: int) -> Dataset:
    """Random images, so many of each class."""
    labels = np.arange(each * classes) % classes
    images = np.random.RandomState(0).randint(0, 256, (len(labels), 64, 64, 3), dtype=np.uint8)
    return make_dataset("large", images, labels, images[:classes], labels[:classes])


@pytest.mark.slow  # `.ci/run` carries out the smaller number of classes
@pytest.mark.parametrize("classes", [20, 200])
@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_method_takes_large_images_of_many_classes(name: str, classes: int) -> None:
    cls, generators = METHODS.get(name), Generators("large")
    settings = {**cls.tiny, **FITTING.get(name, {})}
    if "iterations" in settings:
        settings["iterations"] = 1 if "matchings" in settings else 3  # three steps, or those with one network
    task = tiny_task(ipc=1, generators=generators, data=random_images(classes, EACH.get(name, 2)), network=NETWORK)
    artefact = make_method(cls, settings).distill(task, Meter(Budget(), generators=generators, snapshots=()))
    images, labels = artefact.decode(0, task.generator("decode", device="cpu"))
    assert images.shape[1:] == (3, 64, 64)
    assert len(labels) % classes == 0
