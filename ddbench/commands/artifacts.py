"""An artefact with its data set: its picture, and what others published as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ddbench.artifact import DistilledDataset, check_artifact
from ddbench.config import make_network
from ddbench.convert import read_release
from ddbench.data import Dataset, Preprocessing, load_dataset
from ddbench.data.statistics import PINNED
from ddbench.errors import UserError
from ddbench.protocols import Protocol
from ddbench.provenance import check_provenance
from ddbench.registry import PROTOCOLS


def data_of(artifact: DistilledDataset, file: Path, dataset: str | None = None) -> Dataset:
    """The data set an artefact was distilled from.

    Raises:
        UserError: when it is another one, or the artefact has other classes or images.
    """
    provenance = check_provenance(artifact.provenance, file)
    data = load_dataset(dataset or provenance.dataset)
    wanted = provenance.dataset_digest.partition("+")[0]  # a validation split is a part of the data set
    if data.digest != wanted:
        raise UserError(
            f"{file} was distilled from {provenance.dataset!r} ({wanted[:19]}), but {data.name!r} is another "
            f"data set ({data.digest[:19]}); name the right one with --dataset"
        )
    try:
        check_artifact(artifact, data.shape, len(data.classes), provenance.ipc, provenance.attack)
    except ValueError as error:
        raise UserError(f"{file} does not fit {data.name!r}: {error}; write it again with `ddbench distill`") from error
    return data


def show(file: Path, out: Path, dataset: str | None = None) -> None:
    """Write a picture of a distilled set, its preprocessing undone, as a PNG; canvases are repeated two by two."""
    from ddbench.pictures import drawable, grid, save_figure

    artifact = DistilledDataset.load(file)
    data = data_of(artifact, file, dataset)
    seen = data.split(artifact.provenance["dataset_digest"])
    transform = Preprocessing.from_description(artifact.provenance["preprocessing"]).fit(seen)
    images, labels = drawable(artifact)
    title = "{method} on {dataset}, {ipc} a class".format(**artifact.provenance)
    save_figure(grid(transform.inverse(images), labels, data.classes, title), out)


def _released(data: Dataset, kind: str, layout: str) -> Preprocessing:
    """What a release's images went through: its authors normalise CIFAR-100 by the statistics of CIFAR-10."""
    own = Preprocessing.for_dataset(data, kind)
    if (data.name, own.kind) != ("cifar100", "normalize") or layout not in ("dc", "mtt"):
        return own
    mean, std = PINNED["cifar10"]
    return replace(own, mean=mean, std=std)


def convert(
    file: Path, layout: str, dataset: str, out: Path, *, preprocessing: str = "normalize", protocol: str = "dc-300@1",
    network: str = "convnet",
) -> DistilledDataset:  # fmt: skip
    """Write an artefact from a distilled set that others have published.

    Args:
        layout: of the release: `dc` (DC, DSA, DM), `mtt` (MTT, TESLA, FTD, DATM) or `kip` (KIP, FRePo)
        dataset: that it was distilled from
        preprocessing: that its images went through, `normalize` or `zca`
        protocol: by which `score` trains unless told otherwise
        network: likewise

    Raises:
        UserError: when the release cannot be read as this layout, or does not fit the data set.
    """
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
    rules: Protocol = PROTOCOLS.get(protocol)
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
