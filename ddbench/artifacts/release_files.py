"""What a release's files hold, as plain values and tensors, with one sentence for what is damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import LabelKind
from ddbench.decoders import Decoder
from ddbench.errors import UserError
from ddbench.io.torch_files import OldFormat, load_tensors

MOST_LABEL = 2**31


@dataclass(frozen=True)
class Released:
    """The content of a release, as its authors stored it.

    Attributes:
        images: images, (N, ...), in any order of axes and of any type
        labels: labels, (N,), (N, 1) or (N, K), of any type; None where images lie class by class, as many of each
        kind: kind of labels that are (N, K); None tells it by their numbers
        lr: learned step size, (), or one for each step
        order: images of each step, (steps, batch)
        epochs: passes over `order`
        names: names of the classes in the order of the labels, where the release has them
        decoder: decoder whose first part `images` are, where they are not images yet
        parts: its other parts
        files: names of the files that were read
    """

    images: Tensor
    labels: Tensor | None
    kind: LabelKind | None = None
    lr: Tensor | None = None
    order: Tensor | None = None
    epochs: int | None = None
    names: tuple[str, ...] | None = None
    decoder: Decoder | None = None
    parts: Mapping[str, Tensor] | None = None
    files: tuple[str, ...] = ()


def content(path: Path) -> Any:
    """Return what a file of torch.save holds.

    Raises:
        UserError: where it is missing, damaged, or holds anything but data.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; it is part of this layout")
    try:
        return load_tensors(path)
    except OldFormat as error:
        fix = "torch.save(torch.load(FILE, map_location='cpu', weights_only=True), FILE)"
        raise UserError(f"{path} {error}; save it again with today's: {fix}") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} {reason(error)}; give one that torch.save wrote, of tensors alone, with PyTorch 1.6 or later"
        ) from error


def numbers(path: Path, value: object) -> Tensor:
    """Return a tensor, or a list of whole numbers as one.

    Raises:
        UserError: where the value is neither.
    """
    if isinstance(value, list) and value and all(type(item) is int and abs(item) < MOST_LABEL for item in value):
        return torch.tensor(value)
    if not isinstance(value, Tensor):
        raise UserError(f"{path} holds a {type(value).__name__} where a tensor is needed; is it of another layout?")
    return value


def tensor(path: Path) -> Tensor:
    """Return the tensor that a file holds."""
    return numbers(path, content(path))


def joined(path: Path, tensors: Sequence[Tensor]) -> Tensor:
    """Return parts one after the other, (N1 + N2 + ..., ...).

    Raises:
        UserError: where their shapes differ, or they are views of the same numbers, which would fill the memory.
    """
    if len(tensors) == 1:
        return tensors[0]
    if any(part.ndim == 0 or part.shape[1:] != tensors[0].shape[1:] for part in tensors):
        shapes = sorted({str(tuple(part.shape)) for part in tensors})
        raise UserError(f"{path} holds parts of shapes {', '.join(shapes)}; they have to differ in their number alone")
    stored = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in tensors}
    if sum(part.nbytes for part in tensors) > sum(stored.values()):
        raise UserError(f"{path} holds parts that share their numbers; save each as a tensor of its own")
    return torch.cat(list(tensors))


def reason(error: Exception) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
