"""How difficult each real image is for networks in training, and choices of images by it, class by class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.meter.checkpoint import State
from ddbench.networks.flatten import flatten, unflatten

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

Share = Annotated[float, Field(ge=0, le=1)]
"""a number from 0 to 1"""
Measure = Literal["forgetting", "margin"]
"""how difficulty is read off a training: times forgotten, or the mean margin"""
Rate = Callable[[Weights, Tensor, Tensor], Tensor]
"""(weights, images, labels) -> how difficult each image is for the network, (N,)"""
MOMENTUM = 0.9
CHUNK = 128
"""images that are rated at once: gradients of single images need the memory of as many networks"""


@dataclass(frozen=True)
class Rating:
    """How networks that rate images are trained, by SGD with momentum: what ratings depend on beside the task.

    Args:
        epochs: passes over the candidates
        batch: images of a step
        lr: step size
        candidates: random images of each class that are rated, and that networks train on; None takes all
    """

    epochs: int
    batch: int
    lr: float
    candidates: int | None = None


@dataclass(frozen=True)
class Rated:
    """Candidates, class by class and within a class in random order, and how difficult each is."""

    counts: tuple[int, ...]
    """number of candidates of each class"""
    positions: Tensor
    """stored positions of the images, (M,)"""
    difficulty: Tensor
    """larger is harder, (M,)"""

    def by_class(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return positions and difficulty of each class's candidates, (M_c,) each."""
        return zip(self.positions.split(self.counts), self.difficulty.split(self.counts), strict=True)

    def easiest_first(self) -> list[Tensor]:
        """Return each class's positions, (M_c,), the easiest first; equally difficult ones stay in random order."""
        return [own[difficulty.argsort(stable=True)] for own, difficulty in self.by_class()]


@dataclass(frozen=True)
class Dynamics:
    """What a training showed of each candidate: its margin at every presentation, before the step that it was in."""

    counts: tuple[int, ...]
    """number of candidates of each class"""
    positions: Tensor
    """stored positions of the images, (M,)"""
    margins: Tensor
    """probability of the image's class less the largest other one, (epochs, M)"""
    weights: Weights
    """the network at the end"""

    def rated(self, measure: Measure, unlearned_hardest: bool = True) -> Rated:
        """Return the difficulty of each candidate by times forgotten, or by the mean margin, the smallest the hardest.

        The mean margin is the area under the margin of Pleiss et al., NeurIPS 2020, arXiv 2001.10528, of probabilities.

        Args:
            unlearned_hardest: see `times_forgotten`
        """
        found = (
            times_forgotten(self.margins > 0, unlearned_hardest) if measure == "forgetting" else -self.margins.mean(0)
        )
        return Rated(self.counts, self.positions, found)


def along_training(task: Task, meter: Meter, rating: Rating) -> Dynamics:
    """Train one network and return the margins of all candidates; it is cached, and charged in full to every run.

    It costs a forward pass beside each step. Of a training that the budget ends, the epochs that were begun count.
    """

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        training = _Training(task, meter, rating, generator)
        state = training.run("ratings/0", watched=True)
        seen = state.margins[: max(1, state.epochs)]
        return {"positions": training.positions, "margins": seen, "weights": state.weights}

    parts = meter.cached("dynamics", asdict(rating), make)
    weights = unflatten(parts["weights"], task.like)
    return Dynamics(_counts(task, rating), parts["positions"], parts["margins"], weights)


def after_training(task: Task, meter: Meter, rating: Rating, networks: int, rate: Rate) -> Rated:
    """Return how difficult candidates are for trained networks, on average over these.

    The networks are cached, and charged in full to every run. Those that the budget leaves untrained do not count.
    """

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        training, trained = _Training(task, meter, rating, generator), list[Tensor]()
        for number in range(networks):
            state = training.run(f"ratings/{number}")
            if state.epochs or not trained:
                trained.append(state.weights)
        return {"positions": training.positions, "weights": torch.stack(trained)}

    parts = meter.cached("ratings", {**asdict(rating), "networks": networks}, make)
    found = []
    for positions in parts["positions"].split(CHUNK):
        images, labels = task.real.take(positions)
        targets = task.target_labels(labels)
        with torch.no_grad():  # eager: it is called too few times for compiling to be worth it
            each = [rate(unflatten(weights, task.like), images, targets) for weights in parts["weights"]]
        found.append(torch.stack(each).mean(0))
    return Rated(_counts(task, rating), parts["positions"], torch.cat(found))


def times_forgotten(correct: Tensor, unlearned_hardest: bool = True) -> Tensor:
    """Return how often each image went from right to wrong: Toneva et al., ICLR 2019, arXiv 1812.05159, Algorithm 1.

    Args:
        correct: true where the image was classified correctly, (epochs, M)
        unlearned_hardest: count an image that never was right as forgotten in every epoch, which no other can be

    Returns:
        Counts, (M,) float32.
    """
    events = (correct[:-1] & ~correct[1:]).sum(0)
    return torch.where(correct.any(0), events, len(correct) if unlearned_hardest else 0).float()


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of each image's class less the largest other one, (N,): above 0 where it is right."""
    shares, own = logits.softmax(1), labels[:, None]
    found: Tensor = shares.gather(1, own)[:, 0] - shares.scatter(1, own, -torch.inf).max(1).values
    return found


def window(ordered: Sequence[Tensor], start: float, n: int) -> list[Tensor]:
    """Return n positions of each class that follow each other in difficulty; a smaller class gives all it has.

    Args:
        ordered: positions of each class, (M_c,), the easiest first
        start: where the window begins: 0 takes the easiest images of a class, 1 the hardest
    """
    first = [round(start * max(0, len(own) - n)) for own in ordered]
    return [own[begin : begin + n] for own, begin in zip(ordered, first, strict=True)]


def taken(task: Task, chosen: Iterable[Tensor], n: int) -> Tensor:
    """Take real images by their stored positions, (m,) of each class, n of a class: (K * n, C, H, W), some repeated."""
    filled = [own[torch.arange(n, device=own.device) % len(own)] for own in chosen]
    return task.real.take(torch.cat(filled))[0]


def _counts(task: Task, rating: Rating) -> tuple[int, ...]:
    return tuple(min(count, rating.candidates or count) for count in task.real.counts)


class _Training:
    """Trains networks on the candidates.

    Args:
        generator: on the CPU; decides candidates, initial weights and order
    """

    def __init__(self, task: Task, meter: Meter, rating: Rating, generator: torch.Generator) -> None:
        self._task, self._meter, self._rating, self._generator = task, meter, rating, generator
        self._gradient = task.compiler.gradient(task.first_order.loss)
        self._predict = task.compiler.function(task.first_order.forward)
        drawn = []
        for c, count in enumerate(task.real.counts):
            order = torch.randperm(count, generator=generator)[: rating.candidates]
            drawn.append(task.real.class_indices(c)[order.to(task.device, non_blocking=True)])
        self.positions = torch.cat(drawn)
        """stored positions of the candidates, class by class, (M,)"""

    def run(self, loop: str, watched: bool = False) -> State:
        """Train a network; return its `weights`, (P,), the number of `epochs` begun, and `margins`, (epochs, M)."""
        task, rating, count = self._task, self._rating, len(self.positions)
        like = {name: weight.to(task.device) for name, weight in task.initial(self._generator).items()}
        state = State(weights=flatten(like), order=torch.empty(0, dtype=torch.int64), epochs=0)
        state.velocity = torch.zeros_like(state.weights)
        state.margins = torch.zeros(rating.epochs if watched else 0, count, device=task.device)
        for _ in self._meter.steps(rating.epochs * -(-count // rating.batch), state, name=loop):
            if not len(state.order):
                self._begin_epoch(state)
            chosen, state.order = state.order[: rating.batch], state.order[rating.batch :]
            chosen = chosen.to(task.device, non_blocking=True)
            images, labels = task.real.take(self.positions[chosen])
            labels, weights = task.target_labels(labels), unflatten(state.weights, like)
            if watched:
                logits = task.chunks.map(partial(self._predict, weights), images)
                state.margins[state.epochs - 1].index_copy_(0, chosen, margins(logits, labels))
            gradient, loss = task.chunks.gradient(self._gradient, weights, images, labels)
            state.velocity = MOMENTUM * state.velocity + flatten(gradient)
            state.weights = state.weights - rating.lr * state.velocity
            self._meter.log(rating_loss=loss)
        return state

    def _begin_epoch(self, state: State) -> None:
        state.order = torch.randperm(len(self.positions), generator=self._generator)
        if state.epochs and len(state.margins):  # an image that the budget leaves out has not changed
            state.margins[state.epochs] = state.margins[state.epochs - 1]
        state.epochs += 1
