"""The synthetic dataset while it is learned: the tensors of a decoder, and the images that it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.artifacts.recipe import Recipe
from ddbench.decoders import parse_decoder

if TYPE_CHECKING:
    from ddbench.task.task import Task

Init = Literal["real", "noise"]


def _check_decoder(text: str) -> str:
    parse_decoder(text)
    return text


Parametrisation = Annotated[str, AfterValidator(_check_decoder)]
"""a decoder as a board names it: `pixels`, `multi_formation`, `canvas,factor=1`"""


class SyntheticSet:
    """The synthetic dataset that a method learns; a `State` can hold it.

    Args:
        task: the run's
        decoder: `pixels`, `multi_formation`, `canvas,factor=1`, ...
        init: start from random `real` images or from standard normal `noise`; a decoder that averages images makes
            either smoother
        soft: labels are probabilities, one-hot at first, rather than class indices
        parts: initial tensors in place of the decoder's own; `labels` are class indices or logits
    """

    def __init__(
        self,
        task: Task,
        decoder: str = "pixels",
        init: Init = "real",
        *,
        soft: bool = False,
        parts: dict[str, Tensor] | None = None,
    ) -> None:
        self.decoder = parse_decoder(decoder)
        self.label_kind: LabelKind = "index"
        """the kind of the labels in `parts`"""
        draw = partial(_initial_images, task, init)
        started = parts or self.decoder.start(draw, task.shape, task.classes, task.ipc, task.generator("parts"))
        self.parts = {name: part.detach().clone() for name, part in started.items()}
        """the decoder's tensors by name, and `labels`"""
        if soft:
            self.parts["labels"] = F.one_hot(self.parts["labels"], task.classes).float()
            self.label_kind = "probabilities"
        elif self.parts["labels"].is_floating_point():
            self.label_kind = "logits"
        for part in self.learned:
            part.requires_grad_()
        self._generator = task.generator("decode", device="cpu")

    @property
    def learned(self) -> list[Tensor]:
        """The leaf tensors that an optimiser of the images updates: all parts but the labels."""
        return [part for name, part in self.parts.items() if name != "labels"]

    def images(self) -> tuple[Tensor, Tensor]:
        """Return the training images, (M, C, H, W), class by class, and their labels, differentiable in the parts."""
        return self.decoder.decode(self.parts, 0, self._generator)

    def artifact(
        self,
        recipe: Recipe | None = None,
        parts: Mapping[str, Tensor] | None = None,
        initial: Mapping[str, Tensor] | None = None,
    ) -> DistilledDataset:
        """Return the artefact of the current parts, with these in place of its own where given."""
        stored = {**self.parts, **(parts or {})}
        return DistilledDataset(stored, self.decoder, self.label_kind, recipe or Recipe(), initial)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.parts)

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, part in self.parts.items():
                part.copy_(saved[name])


def _initial_images(task: Task, init: Init, n: int) -> Tensor:
    """Draw `n` initial images of each class; a class that has fewer repeats some."""
    if init == "noise":
        size = (task.classes * n, *task.shape)
        return torch.randn(size, generator=task.generator("noise_init"), device=task.device)
    generator = task.generator("real_init")
    if min(task.real.counts) >= n:
        return task.real.batch(n, generator, of=range(task.classes))[0]
    classes = [task.real.batch(n, generator, of=c)[0] for c in range(task.classes)]
    return torch.cat([own[torch.arange(n, device=task.device) % len(own)] for own in classes])
