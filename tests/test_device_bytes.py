"""The bytes that a run's tensors take on a device: by hand, as counted of real tensors, and at the sizes of papers."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddbench.boards.board import make_board
from ddbench.boards.jobs import Job, resolve
from ddbench.compute import memory
from ddbench.compute.memory import OutOfMemoryBudget
from ddbench.compute.shapes import ShapesOnly
from ddbench.data.builtin import Size
from ddbench.families.gradient_matching import GradientDistance, layerwise_cosine
from ddbench.records.cell import Budget, Cell, NetworkSpec
from ddbench.registry import METHODS, discover
from ddbench.runs import device_bytes as subject
from ddbench.runs.device_bytes import check_fits, device_bytes
from ddbench.task.hyperparameters import make_method
from ddbench.testing import tiny_task
from tasks import methods_of

discover()
GPU = torch.device("cuda")
GIGA = 1e9


# -- counting ---------------------------------------------------------------------------------------------------------


def test_storages_are_counted_while_they_live() -> None:
    with ShapesOnly() as shapes:
        a = torch.empty(1000, device="meta")  # 4000 bytes
        view = a.view(10, 100)
        assert (shapes.held, shapes.peak) == (4000, 4000)
        b = (a * 2).double()  # 4000 of the product, and 8000
        assert (shapes.held, shapes.peak) == (12_000, 16_000)
        del a, b
        assert shapes.held == 4000  # a view holds what it looks at
        view.add_(1)
        del view
        assert (shapes.held, shapes.peak) == (0, 16_000)


def test_what_is_known_of_an_operation_is_what_it_gives() -> None:
    def work() -> list[tuple[Any, ...]]:
        x = torch.empty(4, 3, 8, 8, device="meta", requires_grad=True)
        weight = torch.empty(5, 3, 3, 3, device="meta")
        loss = F.group_norm(F.conv2d(x, weight, padding=1), 5).relu().transpose(1, 2).square().mean()
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        made = [loss, slope, *slope.sort(2), *torch.autograd.grad(slope.square().sum(), x), *slope.split(2)]
        return [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in made]

    with ShapesOnly():
        first, second = work(), work()
    assert first == second == work()


class Counted(TorchDispatchMode):
    """Counts the bytes of real tensors in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes, self.peak = dict[int, int](), 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self.sizes and storage.nbytes():
                    self.sizes[storage.data_ptr()] = storage.nbytes()
                    weakref.finalize(storage, self.sizes.pop, storage.data_ptr()).atexit = False
        self.peak = max(self.peak, sum(self.sizes.values()))
        return result


def matching_on(device: str) -> Callable[[], object]:
    """Return a matching of gradients, to second order, all of whose inputs are made before."""
    task = tiny_task(device=device)
    distance, weights = GradientDistance(task, layerwise_cosine), task.initial()
    real = task.real.by_class(8, task.generator("real"))
    images, labels = task.real_init()
    return lambda: distance.of_all(weights, real, (images, labels))


def test_bytes_without_numbers_are_those_of_real_tensors() -> None:
    with Counted() as counted:
        matching_on("cpu")()
    shapes, match = ShapesOnly(), matching_on("meta")
    gc.collect()
    with shapes:
        match()
    real = Counted()
    match = matching_on("cpu")
    gc.collect()
    with real:
        match()
    assert counted.peak >= real.peak
    assert shapes.peak == pytest.approx(real.peak, rel=0.02)


# -- refusing ---------------------------------------------------------------------------------------------------------


def job_of(method: str, **options: Any) -> Job:
    network = "convnet,depth=1,width=8"
    content = {"board": "b", "datasets": "digits", "ipc": 2, "network": network, **options}
    (job,) = resolve(make_board({**content, "entries": [{"methods": [method]}]}), "cpu")
    return job


DIGITS = Size.of((140,) * 10, 0, (1, 8, 8))


@pytest.mark.parametrize("limit", ["the device", "the budget"])
def test_a_run_that_does_not_fit_is_refused_with_both_figures(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of("dm", **({"peak_bytes": 1_000_000} if limit == "the budget" else {}))
    needed = device_bytes(job.make_method(), job.cell, DIGITS, compiled=False)
    monkeypatch.setattr(subject, "device_memory", lambda device: needed if limit == "the budget" else needed - 1)
    allowed = 1_000_000 if limit == "the budget" else needed - 1
    with pytest.raises(
        OutOfMemoryBudget, match=f"needs {needed:,} bytes of the device, {allowed:,} are allowed; lower"
    ):
        check_fits(job, DIGITS, GPU)


def test_what_fits_and_what_is_not_known_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "device_memory", lambda device: 1)
    check_fits(job_of("random_real"), DIGITS, GPU)  # a control
    check_fits(job_of("dm"), None, GPU)  # no images
    for reads in (Tensor.item, Tensor.tolist, Tensor.cpu, torch.nonzero, Tensor.numpy):
        monkeypatch.setattr(subject, "device_bytes", lambda *given, reads=reads: reads(torch.zeros(1, device="meta")))
        check_fits(job_of("dm"), DIGITS, GPU)  # it reads numbers
    monkeypatch.setattr(subject, "device_bytes", lambda *given: 1)
    check_fits(job_of("dm"), DIGITS, GPU)
    monkeypatch.undo()
    assert memory.device_memory(torch.device("cpu")) is None
    check_fits(job_of("dm"), DIGITS, torch.device("cpu"))


@pytest.mark.parametrize(
    "fault", [ZeroDivisionError("division by zero\nand more"), RuntimeError("sizes 3 and 4 differ")]
)
def test_what_a_method_raises_while_it_is_counted_is_said(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*given: object) -> int:
        raise fault

    monkeypatch.setattr(subject, "device_memory", lambda device: 1)
    monkeypatch.setattr(subject, "device_bytes", raises)
    said = str(fault).partition("\n")[0]
    expected = f"whether distribution_matching fits .* it raised {type(fault).__name__}: {said}$"
    with pytest.warns(RuntimeWarning, match=expected):
        check_fits(job_of("dm"), DIGITS, GPU)


def test_data_that_do_not_tell_their_size_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of("dm")
    monkeypatch.setattr(subject, "device_memory", lambda device: 1)
    monkeypatch.setattr(type(job.modality), "data", lambda *given: object())
    assert job.size() is None
    assert list(subject.too_large([job], GPU)) == []


def test_the_plan_of_a_board_names_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "device_memory", lambda device: 10)
    monkeypatch.setattr(subject, "device_bytes", lambda *given: 1234)
    (sentence,) = subject.too_large([job_of("dm"), job_of("dm"), job_of("random_real")], GPU)
    assert sentence.startswith("distribution_matching on digits at ipc 2 needs 1,234 bytes of the device, 10 are")
    assert list(subject.too_large([job_of("dm")], torch.device("cpu"))) == [sentence]  # as the stand-in says


# -- the sizes of papers ----------------------------------------------------------------------------------------------

CIFAR100, TINY_IMAGENET = Size.of((500,) * 100, 0, (3, 32, 32)), Size.of((500,) * 200, 0, (3, 64, 64))
SIZES: dict[str, tuple[Size, int, int]] = {
    "CIFAR-10 ipc 50": (Size.of((5000,) * 10, 0, (3, 32, 32)), 50, 3),
    "CIFAR-100 ipc 10": (CIFAR100, 10, 3),
    "CIFAR-100 ipc 50": (CIFAR100, 50, 3),
    "Tiny-ImageNet ipc 10": (TINY_IMAGENET, 10, 4),
}
"""data, images of a class, and depth of the network, 128 wide"""
TRAJECTORY = {"student_steps": 20, "max_start": 20}
LARGE_TRAJECTORY = {"student_steps": 80, "max_start": 40, "batch_synthetic": 125}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "trajectory_matching": {"": TRAJECTORY, "CIFAR-100 ipc 50": LARGE_TRAJECTORY},
    "difficulty_aligned_matching": {
        "": {"student_steps": 20, "max_start": 20, "current_start": 10},
        "CIFAR-100 ipc 50": {"student_steps": 80, "max_start": 40, "current_start": 20, "batch_synthetic": 1000},
    },
}
"""hyper-parameters of `configs/cifar100.yaml` that decide memory, where they are not the defaults"""


def bytes_at(method: str, where: str, compiled: bool = True) -> int:
    size, ipc, depth = SIZES[where]
    own = SETTINGS.get(method, {})
    made = make_method(METHODS.get(method), own.get(where, own.get("", {})))
    cell = Cell(
        method=method, hyperparameters=dataclasses.asdict(made), dataset="data", dataset_digest="sha256:" + 64 * "0",
        preprocessing="normalize", network=NetworkSpec(name="convnet", parameters={"depth": depth, "width": 128}),
        setting="random", ipc=ipc, protocol="dsa-1000@1", networks=5, budget=Budget(), device="cuda", threads=1,
    )  # fmt: skip
    return device_bytes(made, cell, size, compiled)


def test_a_matching_step_on_cifar10_holds_what_its_real_images_take() -> None:
    held = bytes_at("distribution_matching", "CIFAR-10 ipc 50")
    images = 50_000 * 3072  # of the data set, a byte each
    batch = 4 * 3072 * (10 * 256 + 10 * 50)
    assert images + batch < held < 5 * GIGA


@pytest.mark.slow
@pytest.mark.parametrize("where", SIZES)
@pytest.mark.parametrize("method", [name for name in methods_of() if METHODS.get(name).family != "control"])
def test_bytes_at_the_sizes_of_papers(method: str, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    held = bytes_at(method, where)
    with capsys.disabled():
        print(f"\n{method:32} {where:22} {held / GIGA:8.1f} GB")
    if method in ("feature_alignment", "trajectory_matching", "difficulty_aligned_matching"):
        assert held < 80 * GIGA
