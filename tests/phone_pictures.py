"""A folder as a phone leaves it: pictures of several sizes and kinds, some on their side, and what is no picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATIONS = (1, 6, 8, 3)
"""EXIF orientations of a phone that was held upright, on either side, and upside down"""
TURNS = {1: 0, 6: 1, 8: 3, 3: 2}
"""quarter turns, counterclockwise, from what was seen to what such a phone stores"""
SIZES = ((120, 90), (90, 120), (160, 90), (100, 100), (133, 100))
"""widths and heights"""

Pixels = NDArray[np.uint8]


def phone_pictures(root: Path, count: int) -> Path:
    """Write `count` pictures of cats and dogs in turn, with what systems leave beside them, and give the folder.

    Cats have stripes across, and dogs stripes upright, so that a picture that is read on its side looks like the other
    class.
    """
    random = np.random.RandomState(0)
    for number in range(count):
        name = ("cat", "dog")[number % 2]
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        width, height = SIZES[number // 2 % len(SIZES)]
        KINDS[number // 2 % len(KINDS)](
            _scene(random, width, height, name == "dog"), folder / f"IMG_{number:04d}", number
        )
    for place in (root, root / "cat"):
        (place / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (place / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    return root


def _scene(random: np.random.RandomState, width: int, height: int, upright: bool) -> Pixels:
    """Coloured stripes with noise, (height, width, 3), at a place of their own."""
    along = np.arange(width)[None, :] if upright else np.arange(height)[:, None]
    waves = np.sin(2 * np.pi * (along / (min(width, height) / 4) + random.rand()))[..., None]
    colour = random.randint(90, 165, 3) + 70 * waves * np.array([1, 0.8, 0.6])
    return (colour + random.randint(-15, 16, (height, width, 3))).clip(0, 255).astype(np.uint8)


def _photo(pixels: Pixels, path: Path, number: int) -> None:
    """A JPEG that the phone stored as it was held."""
    orientation = ORIENTATIONS[number // 2 % len(ORIENTATIONS)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    stored = np.ascontiguousarray(np.rot90(pixels, TURNS[orientation]))
    Image.fromarray(stored).save(path.with_suffix(".jpg"), quality=90, exif=exif)


def _cut_out(pixels: Pixels, path: Path, number: int) -> None:
    """A PNG whose corners are transparent."""
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:20, :20] = 0
    Image.fromarray(np.dstack([pixels, alpha])).save(path.with_suffix(".png"))


def _scan(pixels: Pixels, path: Path, number: int) -> None:
    """A grey JPEG whose ending is in capitals."""
    Image.fromarray(pixels).convert("L").save(path.with_suffix(".JPG"), "JPEG", quality=90)


def _screenshot(pixels: Pixels, path: Path, number: int) -> None:
    Image.fromarray(pixels).save(path.with_suffix(".png"))


KINDS: tuple[Callable[[Pixels, Path, int], None], ...] = (_photo, _photo, _photo, _photo, _cut_out, _scan, _screenshot)
