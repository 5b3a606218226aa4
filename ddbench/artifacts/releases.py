"""Reading of distilled sets that others have published, in the layouts of their releases, as data, never as code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddbench.artifacts.checks import check_artifact
from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.artifacts.recipe import Recipe
from ddbench.data import Dataset, Preprocessing, load_dataset
from ddbench.data.preprocess import PINNED
from ddbench.errors import UserError, suggestion
from ddbench.io.archives import open_archive
from ddbench.io.torch_files import load_tensors
from ddbench.records.notation import make_network
from ddbench.registry import PROTOCOLS, discover


@dataclass(frozen=True)
class Released:
    """The content of a release.

    Args:
        images: images, (N, C, H, W), as its authors preprocess them
        labels: labels, (N,) classes or (N, K)
        kind: kind of the labels
        lr: learned step size
    """

    images: Tensor
    labels: Tensor
    kind: LabelKind
    lr: Tensor | None = None

    def artifact(self) -> DistilledDataset:
        return DistilledDataset.pixels(
            self.images.float(),
            self.labels.long() if self.kind == "index" else self.labels.float(),
            label_kind=self.kind,
            recipe=Recipe(lr=self.lr),
        )


def read_release(path: Path, layout: str) -> DistilledDataset:
    """Read a distilled set from a file or folder of this layout.

    Raises:
        UserError: for an unknown layout, a file that is missing, damaged or holds anything but data, and for images or
            labels of another shape than the layout's.
    """
    if layout not in LAYOUTS:
        raise UserError(f"unknown layout {layout!r}; {suggestion(layout, LAYOUTS)}")
    if not path.exists():
        raise UserError(f"nothing at {path}; give the {WHERE[layout]}")
    released = LAYOUTS[layout](path)
    if released.images.ndim != 4 or released.labels.ndim == 0 or len(released.images) != len(released.labels):
        raise UserError(
            f"{path} holds images of shape {tuple(released.images.shape)} and labels of shape "
            f"{tuple(released.labels.shape)}; as {layout} there must be one label for each of (N, C, H, W) images"
        )
    try:
        return released.artifact()
    except (ValueError, FloatingPointError) as error:
        raise UserError(f"{path} does not make a sound artefact ({error}); give another release") from error


def _condensation(path: Path) -> Released:
    """Read `res_*.pt` of Zhao & Bilen's repository (DC, DSA, DM): the last of the experiments in it."""
    content = _content(path)
    try:
        images, labels = content["data"][-1]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no 'data' with images and labels; is it of another layout?") from error
    return Released(_numbers(path, images), _numbers(path, labels), "index")


def _trajectories(path: Path) -> Released:
    """Read the files that end in best in a folder of Cazenavette et al.'s code or its forks (MTT, TESLA, FTD, DATM)."""
    images, labels = (_tensor(path / f"{name}_best.pt") for name in ("images", "labels"))
    lr = _tensor(path / "lr_best.pt").float() if (path / "lr_best.pt").is_file() else None
    if labels.ndim != 2:
        return Released(images, labels, "index", lr)
    labels = labels.float()
    shares = bool((labels >= 0).all()) and torch.allclose(labels.sum(1), torch.ones(len(labels)), atol=1e-3)
    return Released(images, labels, "probabilities" if shares else "logits", lr)


def _kernel(path: Path) -> Released:
    """Read an `.npz` of kernel methods (KIP, FRePo): `images` (N, H, W, C) and `labels` (N, K), regression targets."""
    try:
        with open_archive(path) as archive:
            images, labels = (torch.from_numpy(archive.array(name).astype(np.float32)) for name in ("images", "labels"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no .npz with images and labels as plain numbers ({_reason(error)})") from error
    return Released(images.permute(0, 3, 1, 2) if images.ndim == 4 else images, labels, "targets")


LAYOUTS: Mapping[str, Callable[[Path], Released]] = {
    "dc": _condensation,
    "mtt": _trajectories,
    "kip": _kernel,
}
WHERE = {"dc": "res_*.pt file", "mtt": "folder with images_best.pt and labels_best.pt", "kip": ".npz file"}


def _tensor(path: Path) -> Tensor:
    return _numbers(path, _content(path))


def _numbers(path: Path, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise UserError(f"{path} holds a {type(value).__name__} where a tensor is needed; is it of another layout?")
    return value


def _content(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no file {path}; it is part of this layout")
    try:
        return load_tensors(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} {_reason(error)}; give one that torch.save wrote, of tensors alone, with PyTorch 1.6 or later"
        ) from error


def _reason(error: Exception) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def convert(
    file: str | Path, layout: str, dataset: str, out: str | Path, *,
    preprocessing: str = "normalize", protocol: str = "dc-300@1", network: str = "convnet",
) -> DistilledDataset:  # fmt: skip
    """Write an artefact from a distilled set that others have published.

    Args:
        layout: layout of the release: `dc` (DC, DSA, DM), `mtt` (MTT, TESLA, FTD, DATM) or `kip` (KIP, FRePo)
        dataset: data set that it was distilled from
        preprocessing: preprocessing of its images, `normalize`, `zca`, ...
        protocol: protocol that `score` uses by default
        network: network that `score` uses by default

    Raises:
        UserError: when the release cannot be read as this layout, or does not fit the data set.
    """
    discover()
    file, out = Path(file), Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{str(out)!r} does not end in .safetensors; artefacts do")
    artifact, data = read_release(file, layout), load_dataset(dataset)
    each, rest = divmod(len(artifact.parts["labels"]), len(data.classes))
    if rest or not each:
        raise UserError(
            f"{file} holds {len(artifact.parts['labels'])} images for {len(data.classes)} classes of {data.name}"
        )
    try:
        check_artifact(artifact, data.shape, len(data.classes), each)
    except ValueError as error:
        raise UserError(f"{file} does not fit {data.name!r}: {error}") from error
    rules = PROTOCOLS.get(protocol)
    provenance = {
        "method": f"converted from {layout}",
        "dataset": data.name,
        "dataset_digest": data.digest,
        "preprocessing": _released(data, preprocessing, layout).fit(data).describe(),
        "network": make_network(network).model_dump(mode="json"),
        "ipc": each,
        "protocol": rules.name,
    }
    converted = artifact.with_provenance(provenance)
    converted.save(out)
    return converted


def _released(data: Dataset, kind: str, layout: str) -> Preprocessing:
    """Return the preprocessing of a release's images: its authors normalise CIFAR-100 by the statistics of CIFAR-10."""
    own = Preprocessing.for_dataset(data, kind)
    if (data.name, own.kind) != ("cifar100", "normalize") or layout not in ("dc", "mtt"):
        return own
    mean, std = PINNED["cifar10"]
    return replace(own, mean=mean, std=std)
