"""Sources of a control's labels: the classes of its images, or a network that is trained on real images.

The network answers once for each image, or for the augmented images of many epochs, or is stored itself.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor
from torch.func import functional_call

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.stored_labels import StoredLabels, augmented
from ddbench.compute.compiling import Weights
from ddbench.errors import UserError, suggestion
from ddbench.meter.checkpoint import State
from ddbench.networks.flatten import flatten, unflatten
from ddbench.networks.running import RunningStatistics

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

HELD_OUT = 0.1
"""share of each class's images that an expert does not train on, by which its epoch is chosen"""
MOST_HELD_OUT = 100
"""images of a class that are held out, at most: all of them are read after each epoch"""
STATISTICS = 50
"""batches whose statistics a teacher's batch norm averages, where it is tested with averages"""


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


@dataclass(frozen=True)
class SoftLabels:
    """What becomes of the expert's answers."""

    source: str
    """`expert`: one answer an image; `stored`: answers for augmented images; `teacher`: the expert itself"""
    expert: ExpertLabels
    passes: int = 300
    """epochs whose augmented images `stored` labels"""


def parse_labels(text: str) -> SoftLabels | None:
    """Return what `expert`, `teacher` or `stored`, with settings as in `expert,epochs=20,lr=0.1`, ask for; `hard` None.

    Raises:
        UserError: another name, an unknown setting, or a value outside its range.
    """
    name, *settings = text.split(",")
    if name not in ("hard", "expert", "stored", "teacher") or (name == "hard" and settings):
        raise UserError(
            f"labels {text!r} are not known; write hard, or expert, stored or teacher with settings as in "
            "expert,epochs=20"
        )
    if name == "hard":
        return None
    given = {key.strip(): value.strip() for key, _, value in (setting.partition("=") for setting in settings)}
    known: dict[str, int | float] = asdict(ExpertLabels()) | ({"passes": SoftLabels.passes} if name == "stored" else {})
    numbers: dict[str, Any] = {key: _number(key, value, known) for key, value in given.items()}
    passes = {"passes": numbers.pop("passes")} if "passes" in numbers else {}
    return SoftLabels(name, ExpertLabels(**numbers), **passes)


def _check_labels(text: str) -> str:
    parse_labels(text)
    return text


Labels = Annotated[str, AfterValidator(_check_labels)]
"""labels as a board names them: `hard`, `expert`, `expert,epochs=20,lr=0.1`, `teacher`, `stored,passes=100`"""


def labelled(task: Task, meter: Meter, labels: str, artifact: DistilledDataset) -> DistilledDataset:
    """Return the artefact as it is for `hard` labels, else with an expert's answers, or with the expert."""
    soft = parse_labels(labels)
    if soft is None:
        return artifact
    if soft.source == "stored" and artifact.decoder.fresh:
        raise UserError(
            f"labels of epochs cannot be stored for {artifact.decoder.name}, which makes other images in each; "
            "take labels: teacher"
        )
    return labelled_by(task, unflatten(expert_weights(task, meter, soft.expert), task.like), soft, artifact)


def labelled_by(task: Task, weights: Weights, soft: SoftLabels, artifact: DistilledDataset) -> DistilledDataset:
    """Return the artefact with the answers of an expert that is at hand, or with the expert."""
    if soft.source == "expert":
        return _with_probabilities(task, artifact, weights)
    weights = _tested(task, weights, soft.expert.batch)
    if soft.source == "teacher":
        return replace(artifact, teacher=weights)
    return replace(artifact, stored=_answers(task, artifact, weights, soft.passes))


def _with_probabilities(task: Task, artifact: DistilledDataset, weights: Weights) -> DistilledDataset:
    """Return the artefact with a network's probabilities as labels.

    An image that a decoder makes several training images of has the mean of their probabilities.
    """
    images = _decoded(task, artifact)  # (M, C, H, W)
    answers = task.chunks.map(lambda chunk: task.forward(weights, chunk).softmax(1), images)  # (M, K)
    soft = answers.view(len(artifact.parts["labels"]), -1, task.classes).mean(1)  # (N, K)
    return replace(artifact, parts={**artifact.parts, "labels": soft}, label_kind="probabilities")


def _tested(task: Task, weights: Weights, batch: int) -> Weights:
    """Return weights for a network in evaluation mode, which may need averages of the statistics of batches."""
    statistics = RunningStatistics(task.network)
    for _ in range(STATISTICS if statistics.kept else 0):
        chosen = torch.randint(len(task.real), (batch,), generator=task.generator("statistics", device="cpu"))
        statistics.update(weights, task.real.take(chosen.to(task.device, non_blocking=True))[0])
    return statistics.fold(weights)


def _answers(task: Task, artifact: DistilledDataset, weights: Weights, passes: int) -> StoredLabels:
    """Return the logits of a network in evaluation mode for the augmented images of so many epochs."""
    tested = deepcopy(task.network).eval()
    answer = task.compiler.function(lambda images: functional_call(tested, weights, (images,)))
    seed = int(torch.randint(2**31, (), generator=task.generator("stored", device="cpu")))
    images = _decoded(task, artifact)  # (M, C, H, W)
    views = (augmented(task.augmentation, images, seed, epoch) for epoch in range(passes))
    return StoredLabels(torch.stack([task.chunks.map(answer, view).half() for view in views]), "dsa", seed)


def _decoded(task: Task, artifact: DistilledDataset) -> Tensor:
    """Return the artefact's images on the task's device, (M, C, H, W)."""
    parts = {name: part.to(task.device, non_blocking=True) for name, part in artifact.parts.items()}
    return artifact.decoder.decode(parts, 0, task.generator("decode", device="cpu"))[0]


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


def _number(key: str, value: str, known: dict[str, int | float]) -> int | float:
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
