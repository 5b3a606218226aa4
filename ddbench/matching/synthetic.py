"""The distilled set while it is learned: the parts of a decoder, and the images that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor

from ddbench.artifact import DistilledDataset, LabelKind, Recipe
from ddbench.decoders import parse_decoder

if TYPE_CHECKING:
    from ddbench.task import Task

Init = Literal["real", "noise"]


def _known(text: str) -> str:
    parse_decoder(text)
    return text


Parametrisation = Annotated[str, AfterValidator(_known)]
"""a decoder as it is written in a board: `pixels`, `multi_formation`, `canvas,factor=1`"""


class Synthetic:
    """What a method learns. It can be kept in a `State`.

    Args:
        task: of the run
        decoder: `pixels`, `multi_formation`, `canvas,factor=1`, ...
        init: `real` begins with random real images, `noise` with standard normal ones
        soft: whether labels are probabilities, certain of their class at first, rather than class indices
    """

    def __init__(self, task: Task, decoder: str = "pixels", init: Init = "real", soft: bool = False) -> None:
        self.decoder = parse_decoder(decoder)
        self.label_kind: LabelKind = "probabilities" if soft else "index"
        self.parts = self.decoder.start(
            partial(_draw, task, init), task.shape, task.classes, task.ipc, task.generator("parts")
        )
        """by name; `labels` among them"""
        if soft:
            self.parts["labels"] = F.one_hot(self.parts["labels"], task.classes).float()
        for part in self.learned:
            part.requires_grad_()
        self._generator = task.generator("decode", device="cpu")

    @classmethod
    def of(cls, task: Task, images: Tensor, logits: Tensor) -> Synthetic:
        """Pixels that begin with these images, (K * ipc, C, H, W), and labels that are logits, (K * ipc, K)."""
        synthetic = cls(task, "pixels", "real", soft=True)
        synthetic.label_kind = "logits"
        synthetic.load_state_dict({"images": images, "labels": logits})
        return synthetic

    @property
    def learned(self) -> list[Tensor]:
        """The leaves that an optimiser of the images changes: all parts but the labels."""
        return [part for name, part in self.parts.items() if name != "labels"]

    def images(self) -> tuple[Tensor, Tensor]:
        """Training images, (M, C, H, W), class by class, and their labels, differentiable in the parts."""
        return self.decoder.decode(self.parts, 0, self._generator)

    def artifact(self, recipe: Recipe | None = None, parts: Mapping[str, Tensor] | None = None) -> DistilledDataset:
        """The set as it stands, or with these parts in place of its own."""
        return DistilledDataset({**self.parts, **(parts or {})}, self.decoder, self.label_kind, recipe or Recipe())

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
