"""Image files as pictures of 8 bits, grey or RGB, seen as their owner sees them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps

from ddbench.errors import UserError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""image formats that are read; Pillow knows others, one of which is a program"""
WIDE_MODES = ("I", "F")  # also I;16 and its variants: more than 8 bits a pixel, which conversion to RGB would clip
GREY_MODES = ("1", "L", "LA", "La")
GROUND = "white"
"""colour behind transparent pixels"""
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
"""orientations of EXIF that exchange width and height"""


def upright_size(file: Path) -> tuple[int, int]:
    """Return width and height as a file is to be seen, without reading its pixels.

    Raises:
        UserError: when the file is no image.
    """
    with _opened(file) as opened:
        width, height = opened.size
        known = opened.format != "PNG" or "exif" in opened.info  # else Pillow would unpack the pixels to look for it
        return (height, width) if known and opened.getexif().get(ORIENTATION) in SIDEWAYS else (width, height)


def read_picture(file: Path, said: Counter[str]) -> Image.Image:
    """Read a picture, of mode `L` or `RGB`: turned upright, on white where it is transparent, its first frame.

    Args:
        said: counts, by what was done, the pictures that it was done to

    Raises:
        UserError: when the file is no image, is damaged, or has more than 8 bits a channel.
    """
    with _opened(file) as opened:
        if getattr(opened, "n_frames", 1) > 1:
            said["the first frame taken"] += 1
        opened.load()
        if opened.mode.startswith(WIDE_MODES):
            raise UserError(f"{file} has pixels of mode {opened.mode}; save it with 8 bits a channel, grey or RGB")
        upright = ImageOps.exif_transpose(opened)
        if opened.getexif().get(ORIENTATION, 1) != 1:
            said["turned as EXIF says"] += 1
        return _opaque(upright, said)


def cropped(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture until it just covers this width and height, and cut the middle out."""
    return ImageOps.fit(picture, size, Image.Resampling.BICUBIC)


def _opaque(picture: Image.Image, said: Counter[str]) -> Image.Image:
    grey = picture.mode in GREY_MODES
    if picture.has_transparency_data:
        whole = picture.convert("RGBA")
        if min(whole.getchannel("A").tobytes()) < 255:
            said[f"transparent pixels put on {GROUND}"] += 1
        ground = Image.new("RGBA", whole.size, GROUND)
        ground.alpha_composite(whole)
        picture, palette = ground.convert("RGB"), picture.mode == "P"
    else:
        palette = picture.mode == "P"
        picture = picture if grey else picture.convert("RGB")
    if palette:
        red, green, blue = (channel.tobytes() for channel in picture.split())
        grey = red == green == blue
    return picture.convert("L") if grey else picture


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open an image and read its header; pixels are unpacked when it is loaded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as opened:
                yield opened
    except UserError:
        raise
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise UserError(f"{file} cannot be read as an image; save it again or remove it") from error
