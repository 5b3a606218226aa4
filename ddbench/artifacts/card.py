"""The dataset card of a published artefact: a README in the format of the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import yaml
from tabulate import tabulate

from ddbench.artifacts.class_names import class_names
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.errors import printable
from ddbench.records.schema import Record
from ddbench.registry import PROTOCOLS, discover
from ddbench.stats import interval

if TYPE_CHECKING:
    from ddbench.evaluation.protocols import AnyProtocol
from pathlib import Path

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.artifacts.provenance import check_provenance
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.records.files import read_record
from ddbench.records.run_folder import record_beside

SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
MOST_NAMES = 100
"""largest number of classes that a card names"""
UNSCORED = "Not measured yet:"
FACTS = ("method", "dataset", "dataset_digest", "ipc", "network", "setting", "budget", "steps_done", "seed", "git")


def dataset_card(artifact: DistilledDataset, file: str, record: Record | None = None) -> str:
    """Render Markdown with a YAML head: how to load the artefact, how it was made, and its scores.

    Args:
        artifact: an artefact with the header that `ddbench distill` writes
        file: name of its file
        record: record of the run that made it
    """
    said = artifact.provenance
    count = len(artifact.decode()[1])
    protocol = PROTOCOLS.get(said["protocol"])
    title = f"{_plain(said['dataset'])} in {count} images, by {_plain(said['method'])}"
    return Template(files("ddbench.artifacts").joinpath("card_template.md").read_text("utf-8")).substitute(
        front=yaml.safe_dump(_front(said, count, title), sort_keys=False, allow_unicode=True),
        title=title,
        images=count,
        dataset=_code(said["dataset"]),
        method=_code(said["method"]),
        bytes=sum(artifact.stored_bytes().values()),
        file=file,
        batch=_batch(artifact, protocol, count),
        facts=_table([*_facts(said), *(_costs(record) if record is not None else [])]),
        hyperparameters=json.dumps(said.get("hyperparameters", {}), indent=1, sort_keys=True).replace("`", "\\u0060"),
        classes=_classes(artifact, file),
        recipe=_recipe(artifact, protocol),
        scores=_scores(record)
        if record is not None and record.result.scores
        else f"{UNSCORED} `ddbench score {file}`.",
    )


def _batch(artifact: DistilledDataset, protocol: AnyProtocol, count: int) -> int:
    if artifact.recipe.order is not None:
        return artifact.recipe.order.shape[1]
    return count if protocol.kind == "krr" else min(protocol.batch_size, count)


def _facts(said: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [(name.replace("_", " "), said[name]) for name in FACTS if said.get(name) is not None]


def _costs(record: Record) -> list[tuple[str, object]]:
    return [("charged", f"{record.charged_seconds:.1f} s"), ("device", record.measured.environment.get("device", "?"))]


def _front(said: Mapping[str, Any], count: int, title: str) -> dict[str, Any]:
    return {
        "license": "unknown",
        "pretty_name": title,
        "task_categories": ["image-classification"],
        "size_categories": [next((name for limit, name in SIZES.items() if count < limit), "n>1M")],
        "tags": ["dataset-distillation", "ddbench", _plain(said["dataset"]), _plain(said["method"])],
        "viewer": False,
    }


def _classes(artifact: DistilledDataset, file: str) -> str:
    """Return a sentence with the classes by their numbers, or as many of them as a reader takes in."""
    names = class_names(artifact.provenance, artifact.decode()[1], file)
    if names is None:
        return "The file does not name its classes."
    rest = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    listed = ", ".join(f"{index} {_code(name)}" for index, name in enumerate(names[:MOST_NAMES]))
    return f"Its classes are {listed}{rest}."


def _recipe(artifact: DistilledDataset, protocol: AnyProtocol) -> str:
    recipe, learned = artifact.recipe, []
    if recipe.lr is not None:
        learned.append(f"step size {float(recipe.lr.mean()):.4g}" + (", mean of a schedule" if recipe.lr.ndim else ""))
    if recipe.order is not None:
        learned.append(f"a fixed order of {len(recipe.order)} x {recipe.order.shape[1]} images")
    if recipe.epochs is not None:
        learned.append(f"{recipe.epochs} epochs")
    if recipe.momentum is not None:
        learned.append(f"momentum {recipe.momentum:g}")
    if artifact.initial is not None:
        learned.append("from the initial weights in the file")
    return (
        f"Its labels are {'classes' if artifact.label_kind == 'index' else artifact.label_kind}. It was distilled for "
        f"the protocol `{protocol.name}`: {_training(protocol)}.\n\n"
        f"Learned with the images, and in the file: {'; '.join(learned) or 'nothing'}."
    )


def _training(protocol: AnyProtocol) -> str:
    """Say what a protocol does with the images."""
    if protocol.kind == "krr":
        ridge = f"a ridge of {protocol.regulariser:g} of the mean eigenvalue"
        return f"kernel ridge regression with the kernel `{protocol.kernel}` and {ridge}, which trains no network"
    adaptive = {"adam": "Adam", "adamw": "AdamW"}
    optimizer = adaptive.get(protocol.optimizer, f"SGD with momentum {protocol.momentum:g}")
    return (
        f"{protocol.length} of {optimizer}, step size {protocol.lr:g}, weight decay {protocol.weight_decay:g}, "
        f"augmentation {protocol.augmentation}"
    )


def _scores(record: Record) -> str:
    cell, spread = record.result.cell, interval([100 * score.accuracy for score in record.result.scores])
    half = "" if spread.half_width is None else f" ± {spread.half_width:.1f}"
    return _table(
        {
            "accuracy, last step": f"{spread.mean:.1f}{half} % ({spread.n} networks, 95 % interval over them)",
            "network": cell.network,
            "protocol": cell.protocol,
            "split": cell.split,
            "board": record.board,
            "record": record.key,
        }.items()
    )


def _table(rows: Iterable[tuple[str, object]]) -> str:
    return tabulate([(name, _code(value)) for name, value in rows], ("", "value"), "pipe", disable_numparse=True)


def _code(value: object) -> str:
    return f"`{_plain(value)}`"


def _plain(value: object) -> str:
    """Return one line without characters that Markdown interprets, whatever a header holds."""
    if isinstance(value, Mapping):
        value = json.dumps({name: part for name, part in value.items() if part is not None})
    return " ".join(printable(str(value)).split()).translate(str.maketrans("`|<>[]", "'/()()"))


def card(file: str | Path, out: str | Path, record: str | Path | None = None) -> Path:
    """Write a dataset card, `README.md`, and the artefact into `out`, the folder of a Hugging Face data set.

    Args:
        record: record of the run that made the artefact, for its scores; None takes the one that `ddbench distill` has
            left beside the file, if there is one

    Raises:
        UserError: when the artefact or the record is not valid, they do not belong together, or `out` has another
            README.md or another file of the artefact's name.
    """
    discover()
    file, out = Path(file), Path(out)
    artifact = DistilledDataset.load(file)
    check_provenance(artifact.provenance, file)
    if record is None and record_beside(file).is_file():
        record = record_beside(file)
    scored = read_record(record) if record else None
    if scored is not None and scored.result.artifact != file_digest(file):
        raise UserError(f"{record} is of the artefact {scored.result.artifact}, and {file} is {file_digest(file)}")
    readme = out / "README.md"
    contents = {readme: dataset_card(artifact, file.name, scored).encode(), out / file.name: file.read_bytes()}
    for path, data in contents.items():
        if path.exists() and path.read_bytes() != data:
            raise UserError(f"{path} exists and is another; remove it, or choose another --out")
    for path, data in contents.items():
        write_atomically(path, data)
    return readme
