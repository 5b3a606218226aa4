"""What every decoder offers, and how one is named."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddbench.errors import UserError, suggestion
from ddbench.registry import DECODERS

MOST_SETTING = 2**16
MOST_NUMBERS = 2**28
"""in any tensor on the way to an artefact's images, 1 GiB, or `GROWTH` times what is stored where that is more"""
GROWTH = 64
"""a texture of 16 images gives 16 windows, of which each is first a copy of it"""
Draw = Callable[[int], Tensor]
"""from a number n, n starting images of each class, (K * n, C, H, W), class by class"""


class Decoder(Protocol):
    """What turns an artefact's parts into training images, and what those parts are before they are learned.

    A frozen dataclass whose fields, whole numbers, are its settings. It hands out as many images of each class, class
    by class.

    Shapes follow from shapes alone, never from values, so that they can be known before anything is decoded.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    """names of the parts that `decode` reads"""
    fresh: ClassVar[bool]
    """whether `decode` depends on the epoch or the generator; if not, it is called once a training"""

    def start(
        self, draw: Draw, shape: tuple[int, int, int], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Parts to begin with, in the storage of `ipc` images a class; `labels` are class indices.

        Args:
            draw: gives starting images
            shape: theirs, (C, H, W)
            generator: on their device, for parts that start at random

        Raises:
            UserError: where the settings do not fit the images or the storage.
        """
        ...

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Images, (M, C, H, W) float32 in preprocessed space, and labels, (M,) int64 or (M, K) float32.

        Args:
            generator: on the CPU; only a `fresh` decoder reads it
        """
        ...


Registered = TypeVar("Registered", bound=Decoder)


def register_decoder(cls: type[Registered]) -> type[Registered]:
    """Register a decoder class under its `name`."""
    DECODERS.register(cls.name)(cls)
    return cls


def make_decoder(name: str, settings: Mapping[str, Any]) -> Decoder:
    """The registered decoder with these settings, the others at their defaults.

    Raises:
        UserError: an unknown decoder or setting, or a value that is no positive whole number.
    """
    cls = DECODERS.get(name)
    known = [field.name for field in dataclasses.fields(cls)]
    for key, value in settings.items():
        if key not in known:
            fix = suggestion(key, known) if known else "it takes none"
            raise UserError(f"decoder {name!r} has no setting {key!r}; {fix}")
        if type(value) is not int or value < 1:
            raise UserError(f"{key} of decoder {name!r} is {value!r}; it must be a whole number of at least 1")
        if value > MOST_SETTING:
            raise UserError(f"{key} of decoder {name!r} is {value}; {MOST_SETTING} is the most")
    decoder: Decoder = cls(**settings)
    return decoder


def parse_decoder(text: str) -> Decoder:
    """A decoder from `multi_formation` or `canvas,factor=2,crops=4`.

    >>> parse_decoder("pixels").fresh
    False
    """
    name, *settings = text.split(",")
    pairs = [setting.partition("=") for setting in settings]
    return make_decoder(name, {key.strip(): _whole(value.strip()) for key, _, value in pairs})


def _whole(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 10 else text


def settings_of(decoder: Decoder) -> dict[str, int]:
    """A decoder's settings by name, without those left open."""
    values = dataclasses.asdict(decoder)  # type: ignore[call-overload]
    return {name: value for name, value in values.items() if value is not None}


def decoded_shapes(decoder: Decoder, parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What `decode` would give, on the meta device: shapes and types without numbers, for which no memory is needed.

    Raises:
        ValueError: when the parts do not fit the decoder, or it would need tensors far larger than them.
    """
    most = max(MOST_NUMBERS, GROWTH * sum(part.numel() for part in parts.values()))
    hollow = {name: part.to("meta") for name, part in parts.items()}
    try:
        with _Largest() as largest:  # type: ignore[no-untyped-call]
            images, labels = decoder.decode(hollow, 0, None)
    except (RuntimeError, IndexError, TypeError, ArithmeticError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"its parts do not fit decoder {decoder.name!r}: {reason}") from error
    if largest.numbers > most:
        raise ValueError(f"decoder {decoder.name!r} would make {largest.numbers} numbers of its parts")
    return images, labels


class _Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return result


def check_storage(decoder: Decoder, shape: tuple[int, int, int], classes: int, ipc: int) -> None:
    """Raise UserError where a decoder does not fit images of this shape, or the storage of `ipc` of each class."""
    decoder.start(lambda n: torch.zeros(classes * n, *shape), shape, classes, ipc, torch.Generator().manual_seed(0))


def check_divides(setting: str, factor: int, decoder: str, height: int, width: int) -> None:
    """Raise UserError with a factor that divides unless this one divides both sides."""
    if height % factor or width % factor:
        common = math.gcd(height, width)
        known = [other for other in range(1, common + 1) if common % other == 0]
        raise UserError(
            f"{setting} {factor} of {decoder} does not divide images of {height}x{width}; "
            f"choose one of {', '.join(map(str, known))}"
        )


def class_labels(images: Tensor, classes: int) -> Tensor:
    """Labels of images that lie class by class, (N,)."""
    return torch.arange(classes, device=images.device).repeat_interleave(len(images) // classes)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) -> (N, C, height, width), bilinear, corners not aligned; averaged over what a pixel covers when
    it shrinks by a whole factor."""
    if images.shape[2] % height == 0 and images.shape[3] % width == 0:
        return F.adaptive_avg_pool2d(images, (height, width))
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
