"""Controls that choose real images by difficulty, or by distance: their scores and rules by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from ddbench.errors import UserError
from ddbench.families import difficulty
from ddbench.families.difficulty import (
    Dynamics,
    Rated,
    Rating,
    after_training,
    along_training,
    margins,
    taken,
    times_forgotten,
    window,
)
from ddbench.meter.cache import Cache
from ddbench.meter.meter import Meter
from ddbench.networks.flatten import unflatten
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.registry import METHODS
from ddbench.task.hyperparameters import make_method
from ddbench.task.task import Task
from ddbench.testing import tiny_task
from methods import best_window
from methods.best_window import BestWindow
from methods.coverage_centric import CoverageCentric, stratified
from methods.el2n import EL2N, errors
from methods.forgetting import Forgetting
from methods.grand import gradient_norms
from methods.moderate import Moderate, nearest_to_median
from tasks import random_task

SHORT = Rating(epochs=3, batch=16, lr=0.05)


def meter(steps: int | None = None, cache: Cache | None = None) -> Meter:
    return Meter(Budget(steps=steps), snapshots=(), cache=cache)


def rated(difficulty: list[float], counts: tuple[int, ...]) -> Rated:
    return Rated(counts, torch.arange(len(difficulty)), torch.tensor(difficulty))


# -- scores -----------------------------------------------------------------------------------------------------------


def test_forgetting_events_of_a_written_out_sequence() -> None:
    sequences = ["11111", "10101", "00111", "00000", "01011", "11110"]  # an image each, 1 where it is right
    correct = torch.tensor([[sign == "1" for sign in sequence] for sequence in sequences]).T  # (5, 6)
    assert times_forgotten(correct).tolist() == [0, 2, 0, 5, 1, 1]
    assert times_forgotten(correct, unlearned_hardest=False).tolist() == [0, 2, 0, 0, 1, 1]
    assert times_forgotten(correct[:1]).tolist() == [0, 0, 1, 1, 1, 0]


def test_margins_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.25, 0.25, 0.5]]).log()
    torch.testing.assert_close(margins(logits, torch.tensor([0, 2, 1])), torch.tensor([0.2, -0.3, -0.25]))


def test_the_mean_margin_is_the_smaller_the_harder_an_image_is() -> None:
    along = torch.tensor([[0.5, -0.5, 0.1], [0.7, -0.1, -0.3]])
    dynamics = Dynamics((3,), torch.tensor([4, 5, 6]), along, {})
    torch.testing.assert_close(dynamics.rated("margin").difficulty, torch.tensor([-0.6, 0.3, 0.1]))
    assert dynamics.rated("forgetting").difficulty.tolist() == [0, 2, 1]
    assert [own.tolist() for own in dynamics.rated("margin").easiest_first()] == [[4, 6, 5]]


def test_el2n_of_given_logits() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]).log()
    # (0.5 - 1, 0.3, 0.2) has squares 0.25 + 0.09 + 0.04, and (0.5, 0.3, 0.2 - 1) has 0.25 + 0.09 + 0.64
    expected = torch.tensor([0.38, 0.98]).sqrt()
    torch.testing.assert_close(errors(logits, torch.tensor([0, 2])), expected)


def test_grand_is_the_norm_of_each_images_own_gradient() -> None:
    task = tiny_task()
    weights = {name: weight.requires_grad_() for name, weight in task.initial().items()}
    images, labels = task.real.take(torch.arange(7))
    expected = []
    for image, label in zip(images, labels, strict=True):
        loss = torch.nn.functional.cross_entropy(task.forward(weights, image[None]), label[None])
        gradient = torch.autograd.grad(loss, list(weights.values()))
        expected.append(torch.cat([part.flatten() for part in gradient]).norm())
    found = gradient_norms(task)({name: weight.detach() for name, weight in weights.items()}, images, labels)
    torch.testing.assert_close(found, torch.stack(expected))


def test_grand_refuses_a_network_that_mixes_images() -> None:
    mixing = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8, "norm": "batch"})
    with pytest.raises(UserError, match="grand needs gradients of single images, and batch normalisation mixes them"):
        gradient_norms(tiny_task(network=mixing))


# -- trainings --------------------------------------------------------------------------------------------------------


def textbook(task: Task, rating: Rating, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates, margins before each step that an image is in, and the weights at the end, by torch's own SGD."""
    drawn = [torch.randperm(count, generator=generator)[: rating.candidates] for count in task.real.counts]
    positions = torch.cat([task.real.class_indices(c)[order] for c, order in enumerate(drawn)])
    network = task.network
    network.load_state_dict(task.initial(generator))
    optimizer = torch.optim.SGD(network.parameters(), lr=rating.lr, momentum=0.9)
    found = torch.zeros(rating.epochs, len(positions))
    for epoch in range(rating.epochs):
        order = torch.randperm(len(positions), generator=generator)
        for chosen in order.split(rating.batch):
            images, labels = task.real.take(positions[chosen])
            logits = network(images)
            for place, row, label in zip(chosen.tolist(), logits.softmax(1), labels.tolist(), strict=True):
                others = [share for c, share in enumerate(row.tolist()) if c != label]
                found[epoch, place] = row[label].item() - max(others)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return positions, found, torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_a_training_is_the_textbooks() -> None:
    rating = dataclasses.replace(SHORT, candidates=15)
    training = difficulty._Training(tiny_task(), meter(), rating, torch.Generator().manual_seed(0))
    state = training.run("ratings/0", watched=True)
    positions, found, weights = textbook(tiny_task(), rating, torch.Generator().manual_seed(0))
    assert torch.equal(training.positions, positions)
    torch.testing.assert_close(state.margins, found, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(state.weights, weights, atol=1e-4, rtol=1e-3)


def test_what_the_budget_leaves_out_has_neither_changed_nor_been_forgotten() -> None:
    whole, cut = along_training(tiny_task(), meter(), SHORT), along_training(tiny_task(), meter(steps=6), SHORT)
    assert whole.margins.shape == (3, 60)
    assert cut.margins.shape == (2, 60)  # 4 steps an epoch
    assert torch.equal(cut.margins[0], whole.margins[0])
    seen = (cut.margins[1] != cut.margins[0]).sum()
    assert seen == 32
    same = (cut.margins[1] == whole.margins[1]) | (cut.margins[1] == cut.margins[0])
    assert same.all()


def test_networks_that_were_not_trained_do_not_count() -> None:
    def rate(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return task.forward(weights, images).softmax(1).gather(1, labels[:, None])[:, 0]

    task = tiny_task()
    one = after_training(task, meter(), SHORT, 1, rate)
    cut = after_training(task, meter(steps=12), SHORT, 2, rate)  # 12 steps a network
    two = after_training(task, meter(), SHORT, 2, rate)
    assert cut.counts == (20, 20, 20)
    assert not torch.allclose(two.difficulty, one.difficulty)
    key: dict[str, Any] = {**dataclasses.asdict(SHORT), "networks": 2}
    trained = meter().cached("ratings", key, lambda generator: {"weights": networks(task, generator)})
    images, labels = task.real.take(two.positions)
    answers = [rate(unflatten(weights, task.like), images, labels) for weights in trained["weights"]]
    torch.testing.assert_close(two.difficulty, torch.stack(answers).mean(0))
    torch.testing.assert_close(cut.difficulty, answers[0])


def networks(task: Task, generator: torch.Generator) -> Tensor:
    training = difficulty._Training(task, meter(), SHORT, generator)
    return torch.stack([training.run(f"ratings/{number}").weights for number in range(2)])


@pytest.mark.parametrize(
    ("name", "done"),
    [
        ("forgetting", {"ratings": 12}),
        ("el2n", {"ratings": 8}),
        ("grand", {"ratings": 8}),
        ("coverage_centric", {"ratings": 12}),
        ("best_window", {"ratings": 12, "windows": 3}),
        ("moderate", {"feature network": 5}),
    ],
)
def test_what_is_trained_is_charged(name: str, done: dict[str, int]) -> None:
    spent = meter()
    make_method(METHODS.get(name), METHODS.get(name).tiny).distill(tiny_task(), spent)
    assert spent.done == done


def test_ratings_serve_every_ipc_and_are_charged_to_every_run(tmp_path: Path) -> None:
    cache = Cache(tmp_path, {})
    first, second = meter(cache=cache), meter(cache=cache)
    method = Forgetting(epochs=3, batch_real=16, window=0.0)
    three = method.distill(tiny_task(ipc=3), first).parts["images"].unflatten(0, (3, 3))
    one = method.distill(tiny_task(ipc=1), second).parts["images"]
    assert torch.equal(one, three[:, 0])
    assert first.done == second.done == {"ratings": 12}
    assert second.seconds["dynamics"] == pytest.approx(first.seconds["dynamics"], rel=0.5, abs=0.05)
    assert len(list(tmp_path.iterdir())) == 1


# -- choices ----------------------------------------------------------------------------------------------------------


def test_a_window_of_difficulty_by_hand() -> None:
    ordered = rated([5.0, 1.0, 3.0, 2.0, 4.0, 9.0, 8.0], (5, 2)).easiest_first()
    assert [own.tolist() for own in ordered] == [[1, 3, 2, 4, 0], [6, 5]]
    chosen = {start: [own.tolist() for own in window(ordered, start, 3)] for start in (0.0, 0.5, 1.0)}
    assert chosen == {0.0: [[1, 3, 2], [6, 5]], 0.5: [[3, 2, 4], [6, 5]], 1.0: [[2, 4, 0], [6, 5]]}


def test_equally_difficult_images_keep_their_random_order() -> None:
    mixed = Rated((4,), torch.tensor([7, 2, 9, 4]), torch.tensor([0.0, 1.0, 0.0, 0.0]))
    assert [own.tolist() for own in mixed.easiest_first()] == [[7, 9, 4, 2]]


def test_a_class_with_few_images_repeats_some() -> None:
    task = tiny_task()
    images = taken(task, [torch.tensor([0, 3]), torch.tensor([1, 4, 7])], 3)
    assert torch.equal(images, task.real.take([0, 3, 0, 1, 4, 7])[0])


@pytest.mark.parametrize("method", [Forgetting, EL2N])
def test_the_window_decides_between_easy_and_hard_images(method: Any) -> None:
    settings = {**method.tiny, "epochs": 3, "candidates": 8}
    easy, hard = (method(**settings, window=start).distill(tiny_task(), meter()) for start in (0.0, 1.0))
    task = tiny_task(ipc=8)
    both = method(**settings).distill(task, meter()).parts["images"].unflatten(0, (3, 8))  # all, the easiest first
    assert torch.equal(easy.parts["images"], both[:, :2].flatten(0, 1))
    assert torch.equal(hard.parts["images"], both[:, -2:].flatten(0, 1))


def test_moderate_takes_what_is_nearest_to_the_median_distance() -> None:
    # mean 4: distances 4, 3, 2, 1, 10, whose median is 3; then those at 2 and 4, equally far, the first one first
    features = torch.tensor([[0.0], [1.0], [2.0], [3.0], [14.0]])
    assert nearest_to_median(features, 3).tolist() == [1, 0, 2]
    # mean (0, 0): distances 5, 1, 5, 1, whose median is 3, from which all are as far
    even = torch.tensor([[0.0, 5.0], [1.0, 0.0], [0.0, -5.0], [-1.0, 0.0]])
    assert nearest_to_median(even, 4).tolist() == [0, 1, 2, 3]
    task = tiny_task()
    chosen = Moderate(space="pixels").distill(task, meter()).parts["images"]
    images, _ = task.real.take(task.real.class_indices(1))
    distance = (images - images.mean(0)).flatten(1).norm(dim=1).numpy()
    nearest = np.argsort(np.abs(distance - np.median(distance)), kind="stable")[:2]
    assert torch.equal(chosen[2:4], images[torch.from_numpy(nearest)])


@pytest.mark.parametrize(
    ("n", "chosen"),
    [
        # strata: [0, 1) has 0, 2, 4, 5; [1, 2) has 1, 6, 8; [2, 3) none; [3, 4] has 3, 7; the smallest is served first
        (1, [0]),  # shares 0, 0, 0, 1
        (2, [0, 1]),  # 0, 0, 1, 1
        (3, [0, 1, 3]),  # 0, 3 // 3, 2 // 2, 1
        (6, [0, 1, 2, 3, 6, 7]),  # 0, 6 // 3, 4 // 2, 2
        (8, [0, 1, 2, 3, 4, 6, 7, 8]),  # 0, min(2, 8 // 3), min(3, 6 // 2), 3
        (9, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_strata_by_hand(n: int, chosen: list[int]) -> None:
    difficulty = torch.tensor([0.0, 1.2, 0.5, 3.1, 0.9, 0.1, 1.0, 4.0, 1.9])
    assert stratified(difficulty, 4, n).tolist() == chosen


def test_strata_of_equal_difficulty_are_one() -> None:
    assert stratified(torch.full((5,), 0.7), 50, 3).tolist() == [0, 1, 2]


def test_the_hardest_images_are_left_out_of_the_strata() -> None:
    difficulty = torch.tensor([9.0, 0.0, 8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    chosen = CoverageCentric(cutoff=0.3, strata=7)._covering(difficulty, 10)  # 9, 8 and 7 are cut off
    assert chosen.tolist() == [1, 3, 4, 5, 6, 7, 8]
    assert CoverageCentric(cutoff=0.95, strata=7)._covering(difficulty, 10).tolist() == [1]


@pytest.mark.parametrize("space", ["trained", "random"])
def test_the_best_window_is_that_of_ridge_regression(monkeypatch: pytest.MonkeyPatch, space: Any) -> None:
    task = random_task(60)
    positions = torch.cat([task.real.class_indices(c) for c in range(3)])
    order = torch.rand(1, 60, generator=torch.Generator().manual_seed(1))
    dynamics = Dynamics((20, 20, 20), positions, order, task.initial())
    monkeypatch.setattr(best_window, "along_training", lambda task, meter, rating: dynamics)
    found = BestWindow(windows=5, penalty=0.5, space=space).distill(task, meter()).parts["images"]

    fresh = random_task(60)
    weights = dynamics.weights if space == "trained" else fresh.initial(fresh.generator("features"))

    def features(images: Tensor) -> Any:
        return np.pad(task.embed(weights, images).detach().double().numpy(), ((0, 0), (0, 1)), constant_values=1)

    everything, truth = task.real.take(positions)
    accuracies, images = [], []
    for first in (0, 4, 9, 14, 18):  # 0, 0.25, 0.5, 0.75 and 1 of the way to 18; 4.5 and 13.5 round to even
        own = [
            positions[20 * c + order[0, 20 * c : 20 * c + 20].argsort(descending=True)[first : first + 2]]
            for c in range(3)
        ]
        images.append(task.real.take(torch.cat(own))[0])
        model = Ridge(alpha=0.5, fit_intercept=False)
        model.fit(features(images[-1]), np.eye(3).repeat(2, 0) - 1 / 3)
        others = ~np.isin(positions.numpy(), torch.cat(own).numpy())
        right = model.predict(features(everything)).argmax(1) == truth.numpy()
        accuracies.append(float(right[others].mean()))
    assert len(set(accuracies)) > 1
    assert torch.equal(found, images[int(np.argmax(accuracies))])
