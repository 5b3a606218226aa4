"""Boards and defaults as the authors' own settings work out, by numbers computed here from theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ddbench.boards.board import load_board
from ddbench.compute.generators import seeded
from ddbench.leaderboard.published import load_published
from ddbench.registry import METHODS, discover, find_method
from ddbench.task.hyperparameters import make_method

CONFIGS = Path(__file__).parent.parent / "configs"
discover()


@cache
def cells(board: str) -> list[SimpleNamespace]:
    """What a board asks for, with whole hyper-parameters; no data set need be there."""
    found = []
    for planned in load_board(CONFIGS / f"{board}.yaml").cells():
        cls = find_method(planned.method)
        own = {"method": cls.name, "hyperparameters": dataclasses.asdict(make_method(cls, planned.set))}
        found.append(SimpleNamespace(**{**dict(planned), **own}))
    return found


def of(board: str, method: str, **wanted: object) -> Iterator[SimpleNamespace]:
    for cell in cells(board):
        if cell.method == method and all(getattr(cell, name) == value for name, value in wanted.items()):
            yield cell


def test_memories_start_from_noise_as_published() -> None:
    for board in ("backprop", "cifar10"):
        assert {cell.hyperparameters["init"] for cell in of(board, "addressable_memories")} == {"noise"}


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
@pytest.mark.parametrize(("classes", "pixel_deviation", "board"), [(10, 0.201, "cifar10"), (100, 0.267, "cifar100")])
def test_one_step_for_all_classes_moves_images_as_far_as_one_a_class(
    classes: int, pixel_deviation: float, board: str
) -> None:
    """The authors of NCFM call AdamW once a class on one tensor, where the gradient of all other classes is 0."""
    theirs, ours = torch.zeros(classes, 50), torch.zeros(classes, 50)
    (lr,) = {cell.hyperparameters["lr_images"] for cell in of(board, "characteristic_matching")}
    by_class = torch.optim.AdamW([theirs.requires_grad_()], lr=1e-3 / pixel_deviation, weight_decay=5e-4)
    at_once = torch.optim.AdamW([ours.requires_grad_()], lr=lr, weight_decay=5e-4)
    generator, iterations = seeded(0), 60
    drift = torch.randn(classes, 50, generator=generator)
    for _ in range(iterations):
        gradient = drift + torch.randn(classes, 50, generator=generator)  # a direction that stays, under noise
        for label in range(classes):
            theirs.grad = torch.zeros_like(theirs)
            theirs.grad[label] = gradient[label]
            by_class.step()
        ours.grad = gradient
        at_once.step()
    distances = [float(moved.detach().norm()) for moved in (theirs, ours)]
    assert 0.6 < distances[1] / distances[0] < 1.6


def test_hallucinators_go_as_far_with_less_momentum() -> None:
    for cell in of("cifar10", "factorization"):
        assert cell.hyperparameters["lr_images"] / (1 - 0.5) == pytest.approx(100 / (1 - 0.95))
        assert cell.hyperparameters["lr_lr"] / (1 - 0.5) == pytest.approx(1e-5 / (1 - 0.9))


@pytest.mark.parametrize(("ipc", "steps"), [(1, 460), (10, 92)])
def test_the_average_of_flat_trajectories_forgets_its_start_as_the_papers_does(ipc: int, steps: int) -> None:
    (averaging,) = {cell.hyperparameters["averaging"] for cell in of("cpu", "flat_trajectory_matching", ipc=ipc)}
    assert averaging**steps == pytest.approx(0.9995**5000, rel=0.1)


def test_no_two_methods_of_a_board_are_one_under_two_names() -> None:
    assert {cell.hyperparameters["gradient"] for cell in of("cpu", "scalable_trajectory_matching")} == {"approximate"}


def test_whitening_is_the_authors() -> None:
    for board in ("cifar10", "cifar100"):
        assert {cell.preprocessing for cell in of(board, "truncated_backprop")} == {"regularized_zca"}
        assert {cell.preprocessing for cell in of(board, "flat_trajectory_matching")} == {"zca"}
    pixels = [cell for cell in of("cifar10", "addressable_memories") if cell.hyperparameters["decoder"] == "pixels"]
    assert {cell.preprocessing for cell in pixels} == {"regularized_zca"}


@pytest.mark.parametrize("board", ["cifar10", "cifar100", "backprop"])
def test_images_that_are_learned_for_adam_are_scored_by_adam_too(board: str) -> None:
    short = [cell for cell in of(board, "truncated_backprop") if cell.budget != 300]
    assert short
    for cell in short:
        assert [scoring.protocol for scoring in cell.also or []] == ["adam-300@1"]


def test_adapting_keeps_three_epochs_and_the_statistics_of_what_networks_see() -> None:
    three = [cell for cell in of("wang2018", "backprop", setting="pretrained") if cell.hyperparameters["epochs"] == 3]
    assert {(cell.ipc, cell.networks, cell.preprocessing) for cell in three} == {
        (1, 100, "standardize"),
        (10, 100, "standardize"),
    }


def test_backprop_is_kept_stable() -> None:
    for board in ("cpu", "backprop"):
        for cell in of(board, "backprop", ipc=10):
            assert cell.budget == 300 or cell.hyperparameters["schedule"] == "cosine"
            assert cell.hyperparameters["largest"] is not None


@pytest.mark.parametrize("board", ["cpu", "backprop"])
def test_every_decoder_of_a_board_has_its_unlearned_controls(board: str) -> None:
    """In the same storage, on the same data, under the same protocol."""

    def storage(cell: SimpleNamespace) -> tuple[object, ...]:
        return cell.dataset, cell.ipc, cell.hyperparameters.get("decoder", "pixels"), cell.protocol

    controls = {name: {storage(cell) for cell in of(board, name)} for name in ("random_real", "herding", "k_means")}
    learned = {storage(cell) for cell in cells(board) if METHODS.get(cell.method).family != "control"}
    assert learned <= controls["random_real"]
    for name in ("herding", "k_means"):
        assert {where for where in learned if where[2] != "pixels"} <= controls[name]


@pytest.mark.parametrize("board", ["cpu", "backprop"])
def test_every_board_has_its_ceiling(board: str) -> None:
    assert {cell.dataset for cell in of(board, "full_data")} == {cell.dataset for cell in cells(board)}


def test_figures_of_larger_images_are_there() -> None:
    entries = load_published().entries
    tiny = {one.method for one in entries if one.dataset == "tiny_imagenet"}
    subsets = {one.method for one in entries if one.dataset in ("imagenette", "imagewoof", "imagefruit")}
    assert len(tiny) >= 9
    assert len(subsets) >= 5
    assert any(one.variant.get("sampling_network") is False for one in entries)
    assert any(one.method == "contrastive_gradient_matching" and one.variant == {"augment": True} for one in entries)
