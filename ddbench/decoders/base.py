"""The interface of decoders, and how one is named, made and checked."""

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
"""largest size of any tensor made while decoding, 1 GiB; or `GROWTH` times what is stored where that is more"""
GROWTH = 64
"""ratio of the largest tensor to what is stored; a texture of 16 images is copied once for each of its 16 windows"""
Draw = Callable[[int], Tensor]
"""function from a number n to n starting images of each class, (K * n, C, H, W), class by class"""


class Decoder(Protocol):
    """A decoder turns an artefact's parts into training images, and chooses their values before they are learned.

    It is a frozen dataclass whose fields, whole numbers, are its settings. It gives the same number of images of each
    class, class by class.

    Shapes follow from shapes alone, never from values, so that they are known before anything is decoded.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    """names of the parts that `decode` reads"""
    fresh: ClassVar[bool]
    """true if `decode` depends on the epoch or the generator; if not, it is called once a training"""

    def start(
        self, draw: Draw, shape: tuple[int, int, int], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the first values of the parts, in the storage of `ipc` images a class; `labels` are class indices.

        Args:
            draw: function that draws starting images
            shape: shape (C, H, W) of those images
            generator: generator on their device, for parts that start at random

        Raises:
            UserError: where the settings do not fit the images or the storage.
        """
        ...

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return images, (M, C, H, W) float32 in preprocessed space, and labels, (M,) int64 or (M, K) float32.

        Args:
            generator: generator on the CPU; only a `fresh` decoder reads it
        """
        ...


Registered = TypeVar("Registered", bound=Decoder)


def register_decoder(cls: type[Registered]) -> type[Registered]:
    """Register a decoder class under its `name`."""
    DECODERS.register(cls.name)(cls)
    return cls


def make_decoder(name: str, settings: Mapping[str, Any]) -> Decoder:
    """Make the registered decoder with these settings, the others at their defaults.

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
    return cls(**settings)


def parse_decoder(text: str) -> Decoder:
    """Make a decoder from a text such as `multi_formation` or `canvas,factor=2,crops=4`.

    >>> parse_decoder("pixels").fresh
    False
    """
    name, *settings = text.split(",")
    pairs = [setting.partition("=") for setting in settings]
    return make_decoder(name, {key.strip(): _whole(value.strip()) for key, _, value in pairs})


def _whole(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 10 else text


def settings_of(decoder: Decoder) -> dict[str, int]:
    """Return a decoder's settings by name, without those that are None."""
    values = dataclasses.asdict(decoder)
    return {name: value for name, value in values.items() if value is not None}


def decoded_shapes(decoder: Decoder, parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return what `decode` would give, on the meta device: shapes and types without numbers, which take no memory.

    Raises:
        ValueError: when the parts do not fit the decoder, or it would need tensors far larger than they are.
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
    """Records the size of the largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return result


def check_storage(decoder: Decoder, shape: tuple[int, int, int], classes: int, ipc: int) -> None:
    """Raise UserError where a decoder does not fit images of this shape, or the storage of `ipc` of each class."""
    empty = torch.zeros(())  # one number for all pixels: nothing as large as the images is written
    decoder.start(lambda n: empty.expand(classes * n, *shape), shape, classes, ipc, torch.Generator().manual_seed(0))


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
    """Return the labels of images that are ordered by class, (N,)."""
    return torch.arange(classes, device=images.device).repeat_interleave(len(images) // classes)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resize (N, C, H, W) -> (N, C, height, width), bilinear, corners not aligned; where an image shrinks by a whole
    factor, pixels are averaged over what they cover."""
    if images.shape[2] % height == 0 and images.shape[3] % width == 0:
        return F.adaptive_avg_pool2d(images, (height, width))
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
