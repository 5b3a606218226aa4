"""What a method receives, and what it must not be able to reach."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor

from ddbench.compute.compiling import Compiler
from ddbench.compute.generators import Generators, derive_seed, seeded
from ddbench.data import Dataset, RealData
from ddbench.data.augmentation import DSA
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.networks import Chunks, InitialWeights
from ddbench.task.pretrained import PretrainedPool
from ddbench.task.settings import Setting
from ddbench.task.task import Task
from ddbench.testing import tiny_dataset, tiny_task

CPU = torch.device("cpu")
DATA = tiny_dataset()
IPC = 4
GIVEN = (Task, RealData, DSA, Chunks, Compiler, Generators, Setting, PretrainedPool)
"""whose methods a method of distillation may call"""


def make_task(seed: int = 0, setting: str = "random", ipc: int = IPC, data: Dataset = DATA) -> Task:
    return tiny_task(ipc, setting, Generators("sha256:tiny", "convnet", ipc, seed), data)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_generators_are_seeded_from_what_they_belong_to_and_their_name() -> None:
    task = make_task(seed=3)
    expected = seeded(derive_seed("sha256:tiny", "convnet", IPC, 3, "noise"))
    assert torch.equal(torch.rand(5, generator=task.generator("noise")), torch.rand(5, generator=expected))
    assert task.generator("noise") is task.generator("noise")
    assert task.generator("noise", device="cpu").device == CPU


def test_a_generator_differs_by_seed_ipc_and_name() -> None:
    tasks = [make_task(), make_task(seed=1), make_task(ipc=3)]
    draws = [torch.rand(1, generator=task.generator("noise")).item() for task in tasks]
    draws.append(torch.rand(1, generator=make_task().generator("other")).item())
    assert len(set(draws)) == 4
    assert draws[0] == torch.rand(1, generator=make_task().generator("noise")).item()


def test_a_task_leaves_the_global_generator_alone() -> None:
    task = make_task(setting="fixed")
    before = torch.get_rng_state()
    task.initial()
    task.real_init()
    SyntheticSet(task, init="noise")
    assert torch.equal(torch.get_rng_state(), before)


def test_every_method_of_a_seed_starts_from_the_same_real_images() -> None:
    first, second = make_task(), make_task()
    second.initial()  # another method may have drawn from other generators before
    SyntheticSet(second, init="noise")
    images, labels = first.real_init()
    again, labels_again = second.real_init()
    assert torch.equal(images, again)
    assert torch.equal(labels, labels_again)
    other, _ = make_task(seed=1).real_init()
    assert not torch.equal(images, other)


def test_real_init_is_balanced_distinct_and_real() -> None:
    task = make_task()
    images, labels = task.real_init()
    assert images.shape == (3 * IPC, 1, 8, 8)
    assert torch.equal(labels, task.labels())
    assert len({image.numpy().tobytes() for image in images}) == len(images)
    real = {
        (image.numpy().tobytes(), int(label))
        for batch in task.real.batches(7)
        for image, label in zip(*batch, strict=True)
    }
    assert {(image.numpy().tobytes(), int(label)) for image, label in zip(images, labels, strict=True)} <= real


def test_labels_go_class_by_class() -> None:
    assert make_task().labels().tolist() == [0] * IPC + [1] * IPC + [2] * IPC
    assert make_task().labels().dtype == torch.int64


def test_random_weights_are_fresh_each_time_and_the_same_for_a_seed() -> None:
    task, twin = make_task(), make_task()
    first, second = task.initial(), task.initial()
    assert not equal(first, second)
    assert equal(first, twin.initial())
    assert equal(second, twin.initial())
    assert equal(first, InitialWeights(task.network)(make_task().generator("initial")))
    assert equal(task.initial(seeded(5)), twin.initial(seeded(5)))
    assert task.fixed_initial is None


def test_fixed_weights_are_equal_copies() -> None:
    task = make_task(setting="fixed")
    first, second = task.initial(), task.initial(seeded(5))
    assert equal(first, second)
    assert task.fixed_initial is not None
    assert equal(first, task.fixed_initial)
    for weight in first.values():
        weight.add_(1)
    assert equal(second, task.initial())
    assert equal(second, task.fixed_initial)
    assert equal(second, make_task(setting="fixed").initial())
    assert not equal(second, make_task(seed=1, setting="fixed").initial())


def test_forward_is_the_classifier_on_the_embedding() -> None:
    task = make_task()
    weights = task.initial()
    images, _ = task.real_init()
    features = task.embed(weights, images)
    assert features.shape == (3 * IPC, 8 * 4 * 4)
    logits = features @ weights["classifier.weight"].T + weights["classifier.bias"]
    assert torch.allclose(task.forward(weights, images), logits, atol=1e-6)


def test_forward_uses_the_given_weights_and_not_the_networks_own() -> None:
    task = make_task()
    images, _ = task.real_init()
    zeros = {name: torch.zeros_like(weight) for name, weight in task.initial().items()}
    assert not task.forward(zeros, images).any()
    assert not task.embed(zeros, images).any()


def test_both_are_differentiable_in_weights_and_images() -> None:
    task = make_task()
    images, _ = task.real_init()
    images.requires_grad_()
    weights = {name: weight.requires_grad_() for name, weight in task.initial().items()}
    slopes = torch.autograd.grad(task.forward(weights, images).square().sum(), [images, *weights.values()])
    assert all(slope.abs().sum() > 0 for slope in slopes)
    slope = torch.autograd.grad(task.embed(weights, images).square().sum(), images)[0]
    assert slope.abs().sum() > 0


def public(thing: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Every value that public attributes of ddbench's objects lead to, with its path."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    yield path, thing
    if isinstance(thing, dict):
        inside = {f"{path}[{key!r}]": value for key, value in thing.items()}
    elif isinstance(thing, list | tuple):
        inside = {f"{path}[{index}]": value for index, value in enumerate(thing)}
    elif isinstance(thing, BaseModel):
        inside = {f"{path}.{name}": getattr(thing, name) for name in type(thing).model_fields}
    elif type(thing).__module__.startswith("ddbench.") and not isinstance(thing, torch.nn.Module):
        inside = {f"{path}.{name}": getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
    else:
        inside = {}
    for name, value in inside.items():
        yield from public(value, name, seen)


@pytest.mark.parametrize("setting", ["random", "fixed"])
def test_nothing_public_leads_to_a_test_split_or_to_all_training_data(setting: str) -> None:
    found = dict(public(make_task(setting=setting), "task", set()))
    assert {"task.real", "task.real.counts", "task.network", "task.augmentation"} <= found.keys()
    sizes = {len(DATA.train_images), len(DATA.test_images)}
    for path, value in found.items():
        assert "test" not in path.rpartition(".")[2], path
        assert not isinstance(value, Dataset), path
        if isinstance(value, Tensor) and value.ndim:
            assert len(value) not in sizes, path
        if isinstance(value, types.MethodType) and not isinstance(value.__self__, type):
            assert isinstance(value.__self__, GIVEN), path
