"""What can be seen of a claim without training: that record and artefact belong together and keep the rules."""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.errors import UserError, suggestion
from ddbench.evaluation.modality import Data
from ddbench.evaluation.protocols import Protocol
from ddbench.records.cell import CEILING, Cell
from ddbench.records.metrics import METRICS
from ddbench.records.schema import SCORED, FurtherScore, Record
from ddbench.registry import MODALITIES, PROTOCOLS
from ddbench.runs.distill import PROVENANCE_FIELDS
from ddbench.submissions.claim import Claim

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
HEADER_FIELDS = (*(name for name in PROVENANCE_FIELDS if name != "networks"), "preprocessing", "seed", "steps_done")
"""what a record and its artefact's header both say"""
DESCRIPTIVE = {"name", "source", "networks", "short"}
"""fields of a protocol that do not change how a network is trained"""
UNSAID = {field.name: field.default for field in dataclasses.fields(Protocol)}
"""what a record means where it does not name a field of its protocol, which came later"""


def recorded_data(cell: Cell, dataset: str | None = None) -> Data:
    """The data set and split that a cell was scored on.

    Args:
        dataset: where it lies, when not under the cell's name

    Raises:
        UserError: when it is not to be had, or is another one.
    """
    data = MODALITIES.get(cell.modality).data(dataset or cell.dataset, cell.split, cell.peek)
    if data.digest != cell.dataset_digest:
        raise UserError(
            f"the record is of {cell.dataset!r} ({cell.dataset_digest[:19]}), but {data.name!r} here is another data "
            f"set ({data.digest[:19]}); name or provide the right one"
        )
    return data


def complaints(claim: Claim, data: Data) -> list[str]:
    """What is wrong with a claim, a sentence each. No network is trained, and no method is run.

    Args:
        data: what the record was scored on; see `recorded_data`
    """
    found = [*_of_record(claim.record)]
    if claim.artifact is not None and claim.record.result.artifact is not None:
        found += _of_artifact(claim.artifact, claim.record, data)
    return [f"{claim.path}: {sentence}" for sentence in found]


def _of_record(record: Record) -> Iterator[str]:
    result, cell = record.result, record.result.cell
    for what, name in (("method", cell.method), ("data set", Path(cell.dataset).stem)):
        if not NAME.fullmatch(name):
            yield f"{what} {name!r} cannot name a file; use letters, digits, '_', '.' and '-'"
    if cell.pool is not None and cell.pool.held_out < cell.most_networks:
        yield f"{cell.most_networks} networks to score with, of a pool that holds out {cell.pool.held_out}"
    if result.status in SCORED:
        yield from _of_scores(record)
    elif result.scores or result.also or result.artifact:
        yield f"status {result.status}, and scores or an artefact; a run that failed has neither"
    for name in {cell.protocol: None} | {scoring.protocol: None for scoring in cell.also or []}:
        yield from protocol_complaints(
            cell.method, name, record.protocol if name == cell.protocol else record.also_protocols.get(name)
        )


def protocol_complaints(method: str, name: str, described: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what is wrong with a description of a protocol that a method was scored under, a sentence each."""
    if name not in PROTOCOLS:
        yield f"unknown protocol {name!r}; {suggestion(name, PROTOCOLS)}"
    elif (PROTOCOLS.get(name).kind == "full_data") != (method == CEILING):
        yield f"method {method} under protocol {name}; {CEILING} alone trains on all data"
    elif described is None:
        yield f"does not say what protocol {name} is"
    else:
        registered = PROTOCOLS.get(name).describe()
        for key in sorted((described.keys() | registered.keys()) - DESCRIPTIVE):
            value = described.get(key, UNSAID.get(key))
            if registered.get(key) != value:
                yield f"says that {name} has {key} {value!r}; it has {registered.get(key)!r}"


def _of_scores(record: Record) -> Iterator[str]:
    result, cell = record.result, record.result.cell
    if result.unscored:
        yield "was left unscored; run its cell with scores"
        return
    seeds = [score.seed for score in result.scores]
    if len(seeds) != cell.networks:
        yield f"{len(seeds)} scores where its cell says {cell.networks} networks"
    elif seeds != list(range(cell.networks)):
        yield f"scores of evaluation seeds {', '.join(map(str, seeds))}; they are 0 to {cell.networks - 1}"
    for network in {str(score.network): None for score in result.scores}:
        if network != str(cell.network):
            yield f"scores of {network} where its cell says {cell.network}"
    wanted = [(way.network, way.protocol, seed) for way in cell.also or [] for seed in range(way.networks)]
    if [(score.network, score.protocol, score.seed) for score in result.also] != wanted:
        yield "scores of further ways that are not those of its cell"
    metrics: dict[tuple[str, str], set[frozenset[str]]] = {}
    for score in (*result.scores, *result.also):
        protocol = score.protocol if isinstance(score, FurtherScore) else ""
        metrics.setdefault((protocol, str(score.network)), set()).add(frozenset(score.metrics))
    if any(len(different) > 1 for different in metrics.values()):
        yield "scores with different metrics"
    for name in sorted({name for score in (*result.scores, *result.also) for name in score.metrics} - METRICS.keys()):
        yield f"metric {name!r} is not declared; {suggestion(name, METRICS)}"
    if result.artifact is None:
        yield "scores, but the digest of no artefact"


def _of_artifact(file: Path, record: Record, data: Data) -> Iterator[str]:
    found = file_digest(file)
    if found != record.result.artifact:
        yield f"is of the artefact {record.result.artifact}, but {file} is {found}"
        return
    try:
        artifact = DistilledDataset.load(file)
    except UserError as error:
        yield str(error)
        return
    yield from _of_header(file, artifact, record)
    if artifact.label_source != record.labels:
        yield f"says that its labels are {record.labels}; those of {file} are {artifact.label_source}"
    if artifact.stored_bytes() != record.stored_bytes:
        yield f"says that {record.stored_bytes} bytes are stored; {file} stores {artifact.stored_bytes()}"
    cell = record.result.cell
    try:
        data.check(artifact, cell, record.result.seed)
    except ValueError as error:
        yield f"{file} does not fit {data.name!r} and ipc {cell.ipc}: {error}"


def _of_header(file: Path, artifact: DistilledDataset, record: Record) -> Iterator[str]:
    result = record.result.model_dump(mode="json")
    header = dict(artifact.provenance)
    if isinstance(header.get("preprocessing"), Mapping):
        header["preprocessing"] = header["preprocessing"].get("kind")
    said = {name: (result | result["cell"]).get(name) for name in HEADER_FIELDS}
    written = {name: header.get(name) for name in HEADER_FIELDS}
    for name, ours, theirs in differences(said, written):
        yield f"says {name} {ours}, but the header of {file} says {theirs}"


MISSING = "nothing"


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The dotted name of each field that differs, and both values, shortened.

    >>> list(differences({"budget": {"steps": 5}}, {"budget": {"steps": 6}}))
    [('budget.steps', '5', '6')]
    """
    left, right = _flat(ours), _flat(theirs)
    for name in sorted(left.keys() | right.keys()):
        if left.get(name, MISSING) != right.get(name, MISSING):
            yield name, _short(left.get(name, MISSING)), _short(right.get(name, MISSING))


def _short(value: object) -> str:
    return value if value is MISSING else reprlib.repr(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
