"""The distilled set while it is learned: the parts of a decoder, and the images that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind, Recipe
from ddbench.decoders import parse_decoder

if TYPE_CHECKING:
    from ddbench.task.task import Task

Init = Literal["real", "noise"]


def _known(text: str) -> str:
    parse_decoder(text)
    return text


Parametrisation = Annotated[str, AfterValidator(_known)]
"""a decoder as it is written in a board: `pixels`, `multi_formation`, `canvas,factor=1`"""


class SyntheticSet:
    """What a method learns. It can be kept in a `State`.

    Args:
        task: of the run
        decoder: `pixels`, `multi_formation`, `canvas,factor=1`, ...
        init: `real` begins with random real images, `noise` with standard normal ones; a decoder that averages images
            makes either smoother
        soft: whether labels are probabilities, certain of their class at first, rather than class indices
        parts: to begin with, in place of what the decoder starts with; `labels` are class indices or logits
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
        """of `parts`"""
        draw = partial(_draw, task, init)
        started = parts or self.decoder.start(draw, task.shape, task.classes, task.ipc, task.generator("parts"))
        self.parts = {name: part.detach().clone() for name, part in started.items()}
        """by name; `labels` among them"""
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
        """The leaves that an optimiser of the images changes: all parts but the labels."""
        return [part for name, part in self.parts.items() if name != "labels"]

    def images(self) -> tuple[Tensor, Tensor]:
        """Training images, (M, C, H, W), class by class, and their labels, differentiable in the parts."""
        return self.decoder.decode(self.parts, 0, self._generator)

    def artifact(
        self,
        recipe: Recipe | None = None,
        parts: Mapping[str, Tensor] | None = None,
        initial: Mapping[str, Tensor] | None = None,
    ) -> DistilledDataset:
        """The set as it stands, or with these parts in place of its own."""
        whole = {**self.parts, **(parts or {})}
        return DistilledDataset(whole, self.decoder, self.label_kind, recipe or Recipe(), initial)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.parts)

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, part in self.parts.items():
                part.copy_(saved[name])


def _draw(task: Task, init: Init, n: int) -> Tensor:
    """`n` starting images of each class; a class that has fewer gives some of them again."""
    if init == "noise":
        size = (task.classes * n, *task.shape)
        return torch.randn(size, generator=task.generator("noise_init"), device=task.device)
    generator = task.generator("real_init")
    if min(task.real.counts) >= n:
        return task.real.batch(n, generator, of=range(task.classes))[0]
    classes = [task.real.batch(n, generator, of=c)[0] for c in range(task.classes)]
    return torch.cat([own[torch.arange(n, device=task.device) % len(own)] for own in classes])
