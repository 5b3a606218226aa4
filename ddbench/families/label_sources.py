"""Sources of a control's labels: the classes of its images, or a network that is trained on real images."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Weights
from ddbench.errors import UserError, suggestion
from ddbench.meter.checkpoint import State
from ddbench.networks.flatten import flatten, unflatten

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

HELD_OUT = 0.1
"""share of each class's images that an expert does not train on, by which its epoch is chosen"""
MOST_HELD_OUT = 100
"""images of a class that are held out, at most: all of them are read after each epoch"""


@dataclass(frozen=True)
class ExpertLabels:
    """How the network that labels images is trained: by SGD without momentum, its images augmented.

    Qin, Deng & Alvarez-Melis, "A Label is Worth a Thousand Images in Dataset Distillation", NeurIPS 2024,
    arXiv 2406.10485, whose defaults these are.
    """

    epochs: int = 50
    """epochs of the training, of which the one with the lowest loss on held-out images is taken"""
    epoch_batches: int = 0
    """batches of an epoch; 0 takes as many as a pass over the images that are not held out"""
    batch: int = 256
    """images of a batch"""
    lr: float = 1e-3
    """step size"""


def parse_labels(text: str) -> ExpertLabels | None:
    """Return how the expert of `expert` or `expert,epochs=20,lr=0.1` is trained; None for `hard`.

    Raises:
        UserError: another name, an unknown setting, or a value outside its range.
    """
    name, *settings = text.split(",")
    if name not in ("hard", "expert") or (name == "hard" and settings):
        raise UserError(f"labels {text!r} are not known; write hard, or expert with settings as in expert,epochs=20")
    given = {key.strip(): value.strip() for key, _, value in (setting.partition("=") for setting in settings)}
    numbers: dict[str, Any] = {key: _number(key, value) for key, value in given.items()}
    return ExpertLabels(**numbers) if name == "expert" else None


def _check_labels(text: str) -> str:
    parse_labels(text)
    return text


Labels = Annotated[str, AfterValidator(_check_labels)]
"""labels as a board names them: `hard`, `expert`, `expert,epochs=20,lr=0.1`"""


def labelled(task: Task, meter: Meter, labels: str, artifact: DistilledDataset) -> DistilledDataset:
    """Return the artefact as it is for `hard` labels, else with an expert's probabilities, which it stores.

    An image that a decoder makes several training images of has the mean of their probabilities.
    """
    settings = parse_labels(labels)
    if settings is None:
        return artifact
    weights = unflatten(expert_weights(task, meter, settings), task.like)
    parts = {name: part.to(task.device, non_blocking=True) for name, part in artifact.parts.items()}
    images, _ = artifact.decoder.decode(parts, 0, task.generator("decode", device="cpu"))  # (M, C, H, W)
    answers = task.chunks.map(lambda chunk: task.forward(weights, chunk).softmax(1), images)  # (M, K)
    soft = answers.view(len(parts["labels"]), -1, task.classes).mean(1)  # (N, K)
    return replace(artifact, parts={**artifact.parts, "labels": soft}, label_kind="probabilities")


def expert_weights(task: Task, meter: Meter, settings: ExpertLabels) -> Tensor:
    """Return the weights of the expert, (P,), trained or read from the cache and charged in full."""

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        return {"weights": _train(task, meter, settings, generator)}

    return meter.cached("teacher", asdict(settings), make)["weights"]


def _train(task: Task, meter: Meter, settings: ExpertLabels, generator: torch.Generator) -> Tensor:
    """Return the weights after the epoch with the lowest loss on held-out images.

    Args:
        generator: on the CPU; decides initial weights, what is held out, order and augmentation
    """
    kept, held = _split(task, generator)
    per_epoch = settings.epoch_batches or -(-len(kept) // settings.batch)
    like = {name: weight.to(task.device) for name, weight in task.initial(generator).items()}
    state = State(weights=flatten(like), best=flatten(like), order=torch.empty(0, dtype=torch.int64), epochs=0)
    state.lowest = torch.full((), torch.inf, device=task.device)
    loss_gradient = task.compiler.gradient(task.first_order.loss)
    for step in meter.steps(settings.epochs * per_epoch, state, name="teacher"):
        if not len(state.order):
            state.order = torch.randperm(len(kept), generator=generator)
        chosen, state.order = state.order[: settings.batch], state.order[settings.batch :]
        images, labels = task.real.take(kept[chosen.to(task.device, non_blocking=True)])
        images, labels = task.augmentation(images, generator), task.target_labels(labels)
        weights = unflatten(state.weights, like)
        gradient, loss = task.chunks.gradient(loss_gradient, weights, images, labels)
        state.weights = state.weights - settings.lr * flatten(gradient)
        meter.log(teacher_loss=loss)
        if (step + 1) % per_epoch == 0:
            found = _mean_loss(task, unflatten(state.weights, like), held)
            state.best = torch.where(found < state.lowest, state.weights, state.best)
            state.lowest, state.epochs = torch.minimum(found, state.lowest), state.epochs + 1
    chosen_weights: Tensor = state.best if state.epochs else state.weights  # a budget may end within the first epoch
    return chosen_weights


def _split(task: Task, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the positions of the images to train on and of those held out, class by class."""
    kept, held = [], []
    for c, count in enumerate(task.real.counts):
        order = torch.randperm(count, generator=generator).to(task.device, non_blocking=True)
        own, few = task.real.class_indices(c)[order], min(MOST_HELD_OUT, round(HELD_OUT * count))
        held.append(own[:few])
        kept.append(own[few:])
    if not sum(map(len, held)):
        raise UserError(f"labels of an expert need {round(0.5 / HELD_OUT) + 1} images of a class, to hold one out")
    return torch.cat(kept), torch.cat(held)


def _mean_loss(task: Task, weights: Weights, positions: Tensor) -> Tensor:
    """Return the mean loss on real images, ()."""
    images, labels = task.real.take(positions)
    logits = task.chunks.map(partial(task.first_order.forward, weights), images)
    return F.cross_entropy(logits.float(), task.target_labels(labels))


def _number(key: str, value: str) -> int | float:
    known: dict[str, int | float] = asdict(ExpertLabels())
    if key not in known:
        raise UserError(f"labels of an expert have no setting {key!r}; {suggestion(key, known)}")
    try:
        number = int(value) if isinstance(known[key], int) else float(value)
    except ValueError:
        number = -1
    if not 0 < number < float("inf") and not (key == "epoch_batches" and number == 0):
        kind = "a whole number of at least 1" if isinstance(known[key], int) else "a number above 0"
        raise UserError(f"{key} of an expert's labels is {value!r}; it must be {kind}")
    return number
