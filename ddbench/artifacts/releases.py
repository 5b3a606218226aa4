"""Conversion of distilled sets that others have published, read as data, never as code."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ddbench.artifacts.checks import check_artifact
from ddbench.artifacts.class_names import names_for_header
from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.artifacts.recipe import Recipe
from ddbench.artifacts.release_checks import are_pixels, order_warning, unit_warning
from ddbench.artifacts.release_files import Released
from ddbench.artifacts.release_layouts import LAYOUTS, found, layout_named, recognise
from ddbench.data import KINDS, Dataset, Preprocessing, Transform, load_dataset
from ddbench.data.preprocess import PINNED
from ddbench.decoders import Decoder, MultiFormation, Pixels, parse_decoder
from ddbench.decoders.base import check_divides
from ddbench.errors import UserError, printable, suggestion
from ddbench.records.notation import make_network
from ddbench.registry import PROTOCOLS, discover

AUTO = "auto"
"""layout that stands for the one that is recognised"""
NONE = "none"
"""preprocessing of pixels in [0, 1], or in 0..255 as uint8"""
AUTHORS_OF_CIFAR10 = ("dc", "mtt")
"""layouts whose authors normalise CIFAR-100 by the statistics of CIFAR-10"""


def read_release(path: Path, layout: str) -> Released:
    """Read a distilled set from a file or folder of this layout.

    Raises:
        UserError: for an unknown layout, a file that is missing, damaged or holds anything but data, and for images
            and labels of different numbers.
    """
    kind = layout_named(layout)
    if not path.exists():
        raise UserError(f"nothing at {path}; give the {kind.what}")
    released = kind.read(path)
    images, labels = released.images, released.labels
    if labels is None and images.numel() > 0:
        return released
    if labels is None or images.ndim < 2 or labels.ndim == 0 or len(images) != len(labels) or images.numel() == 0:
        shape = None if labels is None else tuple(labels.shape)
        raise UserError(
            f"{path} holds images of shape {tuple(images.shape)} and labels of shape {shape}; "
            f"as {layout} there must be one label for each of (N, C, H, W) images"
        )
    return released


def convert(
    file: str | Path, layout: str, dataset: str, out: str | Path, *,
    preprocessing: str | None = None, decoder: str = "pixels", protocol: str = "dc-300@1", network: str = "convnet",
    report: Callable[[str], None] = lambda sentence: None,
) -> DistilledDataset:  # fmt: skip
    """Write an artefact from a distilled set that others have published.

    Units and the order of labels are compared with the data set's; what is doubtful is warned of.

    Args:
        file: file or folder of the release
        layout: name of its layout, or `auto`, which recognises it by what it holds
        dataset: data set that it was distilled from
        preprocessing: what its images went through: `normalize`, `zca`, ..., or `none` for pixels in [0, 1] or uint8;
            None stands for what is usual for the layout
        decoder: `multi_formation,factor=2` where each stored image holds tiles, as IDC's
        protocol: protocol that `score` uses by default
        network: network that `score` uses by default
        report: function that is told the layout and the files that were read

    Raises:
        UserError: when the release cannot be read, or does not fit the data set.
    """
    discover()
    file, out = Path(file), Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{str(out)!r} does not end in .safetensors; artefacts do")
    stored_by, data = _decoder(decoder), load_dataset(dataset)
    file = found(file)
    layout = recognise(file) if layout == AUTO else layout
    released = read_release(file, layout)
    images = released.images if released.decoder else _in_axes(file, released.images, data)
    said = _said(preprocessing, layout, images, data)
    report(f"read {', '.join(released.files)} as layout {layout} ({LAYOUTS[layout].papers}), preprocessing {said}")
    transform = _released_by(data, said, layout).fit(data)
    images = _floating(file, images, said)
    finished = images if said != NONE else transform(255 * images)
    artifact = _artifact(file, released, finished, data, stored_by)
    _check(file, artifact, data)
    decoded, labels = artifact.decode()
    seen = decoded if released.decoder else images
    for sentence in (
        unit_warning(seen, data, None if said == NONE else transform),
        order_warning(decoded, labels, data, transform, _fix_of_order(layout)),
    ):
        if sentence is not None:
            warnings.warn(printable(f"{file}: {sentence}"), RuntimeWarning, stacklevel=2)
    return _saved(artifact, out, data, transform, layout, protocol, network)


def _saved(
    artifact: DistilledDataset, out: Path, data: Dataset, transform: Transform, layout: str, protocol: str, network: str
) -> DistilledDataset:
    provenance = {
        "method": f"converted from {layout}",
        "dataset": data.name,
        "dataset_digest": data.digest,
        **names_for_header(data.classes),
        "preprocessing": transform.describe(),
        "network": make_network(network).model_dump(mode="json"),
        "ipc": _ipc(artifact, data),
        "protocol": PROTOCOLS.get(protocol).name,
    }
    converted = artifact.with_provenance(provenance)
    converted.save(out)
    return converted


def _decoder(text: str) -> Decoder:
    decoder = parse_decoder(text)
    if not isinstance(decoder, Pixels | MultiFormation):
        raise UserError(f"decoder {decoder.name!r} is that of no release; use pixels or multi_formation,factor=2")
    return decoder


def _in_axes(file: Path, images: Tensor, data: Dataset) -> Tensor:
    """Return images, stored in one of several orders of axes, as (N, C, H, W).

    Raises:
        UserError: where they are of another shape than the data set's.
    """
    channels, height, width = data.shape
    shape = tuple(images.shape[1:])
    if shape == data.shape:
        return images
    if shape == (height, width, channels):
        return images.permute(0, 3, 1, 2)
    if channels == 1 and shape in ((height, width), (height * width,)):
        return images.reshape(-1, *data.shape)
    if shape == (1, height, width) and channels == 3:
        return images.expand(-1, 3, -1, -1)
    fix = f"give the data set that they were distilled from, or as {data.name!r} reads at that size, such as [size=64]"
    if shape == (channels * height * width,):
        fix = "their axes cannot be told apart; save them as (N, C, H, W) or (N, H, W, C)"
    raise UserError(
        f"{file} does not fit {data.name!r}: images have shape {shape}, the task's have {data.shape}; {fix}"
    )


def _said(preprocessing: str | None, layout: str, images: Tensor, data: Dataset) -> str:
    """Return what the images went through: as was said, or as is usual for the layout."""
    if preprocessing is not None:
        if preprocessing not in (NONE, *KINDS):
            raise UserError(f"unknown preprocessing {preprocessing!r}; {suggestion(preprocessing, (NONE, *KINDS))}")
        return preprocessing
    usual = LAYOUTS[layout].preprocessing
    if usual != "pixels":
        return usual
    normal = Preprocessing.for_dataset(data).fit(data)
    return NONE if not images.is_floating_point() or are_pixels(images.float(), data, normal) else "normalize"


def _released_by(data: Dataset, said: str, layout: str) -> Preprocessing:
    """Return the preprocessing that the artefact's images have; pixels are normalised."""
    own = Preprocessing.for_dataset(data, "normalize" if said == NONE else said)
    if (data.name, said) != ("cifar100", "normalize") or layout not in AUTHORS_OF_CIFAR10:
        return own
    mean, std = PINNED["cifar10"]
    return replace(own, mean=mean, std=std)


def _floating(file: Path, images: Tensor, said: str) -> Tensor:
    """Return images as float32; pixels of 8 bits are divided by 255.

    Raises:
        UserError: for whole numbers that cannot be what was said.
    """
    if images.is_floating_point():
        return images.float()
    low, high = int(images.min()), int(images.max())
    if said != NONE:
        kind = str(images.dtype).removeprefix("torch.")
        raise UserError(
            f"{file} holds images of type {kind} from {low} to {high}, which {said!r} does not give; "
            "convert pixels with --preprocessing none, or save the images in floating point"
        )
    if low < 0 or high > 255:
        raise UserError(f"{file} holds images of whole numbers from {low} to {high}; save pixels as 0..255")
    return images.float() / 255


def _artifact(file: Path, released: Released, images: Tensor, data: Dataset, decoder: Decoder) -> DistilledDataset:
    labels, kind = _labels(file, released, data.classes)
    recipe = Recipe(lr=released.lr, order=released.order, epochs=released.epochs)
    name = "images"
    if isinstance(decoder, MultiFormation):
        name, images = "tiles", _tiles(images, decoder.factor)
    if released.decoder is not None:
        name, decoder = released.decoder.needs[0], released.decoder
    try:
        return DistilledDataset({name: images, "labels": labels, **(released.parts or {})}, decoder, kind, recipe)
    except (ValueError, FloatingPointError) as error:
        raise UserError(f"{file} does not make a sound artefact ({error}); give another release") from error


def _tiles(images: Tensor, factor: int) -> Tensor:
    """Cut images, (N, C, H, W), into (N, factor * factor, C, H / factor, W / factor)."""
    height, width = images.shape[2:]
    check_divides("factor", factor, "multi_formation", height, width)
    cut: Tensor = images.unflatten(3, (factor, width // factor)).unflatten(2, (factor, height // factor))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def _labels(file: Path, released: Released, classes: tuple[str, ...]) -> tuple[Tensor, LabelKind]:
    """Return labels, (N,) classes or (N, K), and their kind, told by their numbers where the layout does not say."""
    if released.labels is None:
        count = len(released.images)
        return torch.arange(count) // max(1, count // len(classes)), "index"
    labels = released.labels.squeeze(1) if released.labels.shape[1:] == (1,) else released.labels
    if labels.ndim == 1:
        return _numbered(file, _whole(file, labels), released.names, classes), "index"
    if labels.ndim != 2:
        raise UserError(f"{file} holds labels of shape {tuple(labels.shape)}; save one class or one row for each image")
    rows = labels.float()
    single = bool(((rows == 0) | (rows == 1)).all()) and bool((rows.sum(1) == 1).all())
    if released.kind is not None:
        return rows, released.kind
    if single:
        return rows.argmax(1), "index"
    shares = bool((rows >= 0).all()) and torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-3)
    return rows, "probabilities" if shares else "logits"


def _whole(file: Path, labels: Tensor) -> Tensor:
    if labels.is_floating_point() and not bool((labels == labels.round()).all()):
        raise UserError(f"{file} holds labels that are no whole numbers; save one class or one row for each image")
    return labels.long()


def _numbered(file: Path, labels: Tensor, names: tuple[str, ...] | None, classes: tuple[str, ...]) -> Tensor:
    """Return labels that number the data set's classes; those of folders that bear their names go by these."""
    if names is not None:
        if len(names) != len(classes):
            raise UserError(
                f"{file} holds {len(names)} folders of pictures for {len(classes)} classes; give one for each"
            )
        lowered = [name.lower() for name in classes]
        if sorted(name.lower() for name in names) == sorted(set(lowered)):
            return torch.tensor([lowered.index(name.lower()) for name in names])[labels]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        raise UserError(
            f"{file} holds labels from {low} to {high}; number the {len(classes)} classes from 0 to {len(classes) - 1}"
        )
    return labels


def _ipc(artifact: DistilledDataset, data: Dataset) -> int:
    """Return the images of a class in whose storage an artefact fits; those of a release of images are as many."""
    image = 4 * math.prod(data.shape) * len(data.classes)
    return math.ceil(artifact.stored_bytes()["images"] / image)


def _check(file: Path, artifact: DistilledDataset, data: Dataset) -> None:
    """Refuse an artefact that no board could take."""
    count, classes = len(artifact.parts["labels"]), len(data.classes)
    if count % classes or count < classes:
        raise UserError(
            f"{file} holds {count} images for {classes} classes of {data.name}; give one with as many of each"
        )
    try:
        check_artifact(artifact, data.shape, classes, _ipc(artifact, data))
    except ValueError as error:
        raise UserError(f"{file} does not fit {data.name!r}: {error}") from error


def _fix_of_order(layout: str) -> str:
    if layout == "folder":
        return "rename the folders as the data set's classes, or by their numbers from 0"
    return "number the labels as the data set's classes"
