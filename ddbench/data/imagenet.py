"""Parts of ImageNet as photographs in folders: Tiny ImageNet and ImageNette, read once and kept in the cache as arrays.

Class names are WordNet's numbers. Photographs that are not square of the wanted side are resized until they cover it,
and their middle is cut out, as Cazenavette et al. 2022 do.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ddbench.data.builtin import SIZES, getting, provided_or, set_aside
from ddbench.data.dataset import Dataset
from ddbench.data.folders import load_folder
from ddbench.data.npz import load_npz, save_npz
from ddbench.data.paths import cache_folder, provided
from ddbench.errors import UserError
from ddbench.registry import DATASETS

SIDE = 64
TINY, TINY_MD5 = "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"
"""address and digest of the archive of Tiny ImageNet"""
TINY_ROOT = "tiny-imagenet-200"
LABELLED = (f"{TINY_ROOT}/train/", f"{TINY_ROOT}/val/")
"""its folders whose labels are public"""
RELEASES = {160: ("160px", "imagenette2-160"), 320: ("320px", "imagenette2-320")}
"""ImageNette by the shorter side of its photographs: torchvision's name, and the folder that it makes"""
WHOLE = ("full", "imagenette2")
SQUASHED = "imagenette64"
"""a file in `$DDBENCH_DATA` of ImageNette with whole photographs squashed to squares"""


@DATASETS.register("tiny_imagenet")
def tiny_imagenet() -> Dataset:
    """Photographs, 3x64x64, 200 classes, 100000 training images; the 10000 for validation are the test split."""
    return provided_or("tiny_imagenet", lambda: _kept("tiny_imagenet", SIDE, _read_tiny_imagenet))


@DATASETS.register("imagenette")
def imagenette() -> Dataset:
    """Photographs of ten classes that are easily told apart, 3x64x64 or `imagenette[size=128]`, 9469 + 3925 images.

    Where `$DDBENCH_DATA` has `imagenette64.npz` and no `imagenette.npz`, it is that, under its own name.
    """
    return imagenette_of(SIDE)


def imagenette_of(side: int) -> Dataset:
    """Read ImageNette at a side of its images; a file in `$DDBENCH_DATA` has its own."""
    given = provided("imagenette") or provided(SQUASHED)
    return load_npz(given) if given is not None else _kept("imagenette", side, lambda: _read_imagenette(side))


BY_SIDE: dict[str, Callable[[int], Dataset]] = {"imagenette": imagenette_of}
"""data sets that are read at the side that brackets ask for, in place of being resized from another"""


def _kept(name: str, side: int, read: Callable[[], Dataset]) -> Dataset:
    """Return what the cache has of a data set, or read it and keep it there.

    Raises:
        UserError: when it cannot be downloaded or read.
    """
    file = cache_folder() / "datasets" / f"{name}-{side}.npz"
    with getting(name):
        if file.is_file():
            try:
                return _whole(name, side, load_npz(file))
            except UserError:
                set_aside([file])
        data = _whole(name, side, read())
        with TemporaryDirectory(dir=file.parent) as folder:
            save_npz(Path(folder) / file.name, data)
            (Path(folder) / file.name).replace(file)
    return data


def _whole(name: str, side: int, data: Dataset) -> Dataset:
    """Return the data set under its name.

    Raises:
        UserError: when it has not as many images as it should have.
    """
    known, found = SIZES[name], (len(data.train_labels), len(data.test_labels), len(data.classes), data.shape)
    expected = (known.train, known.test, known.classes, (3, side, side))
    if found != expected:
        raise UserError(f"its training images, test images, classes and shape are {found}, and not {expected}")
    return replace(data, name=name)


def _read_tiny_imagenet() -> Dataset:
    from torchvision.datasets.utils import download_url

    downloads = cache_folder() / "datasets"
    download_url(TINY, downloads, md5=TINY_MD5)
    with TemporaryDirectory(dir=downloads) as folder, zipfile.ZipFile(downloads / Path(TINY).name) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(LABELLED)])
        return load_folder(Path(folder) / TINY_ROOT, SIDE)


def _read_imagenette(side: int) -> Dataset:
    from torchvision.datasets import Imagenette

    downloads = cache_folder() / "datasets"
    release, name = next((names for shorter, names in RELEASES.items() if shorter >= side), WHOLE)
    folder, known = downloads / name, SIZES["imagenette"]
    if folder.exists() and len(list(folder.glob("*/*/*.JPEG"))) != known.train + known.test:
        set_aside([folder])
    if not folder.exists():
        Imagenette(downloads, size=release, download=True)
    return load_folder(folder, side)
