"""Distilled sets on the Hugging Face Hub: one data set repository holds the artefacts and records of many."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ddbench.artifacts.card import dataset_card
from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.artifacts.provenance import check_provenance
from ddbench.errors import UserError, printable
from ddbench.io.atomic import write_atomically
from ddbench.records.files import dump_record, read_record
from ddbench.records.run_folder import record_beside
from ddbench.records.schema import Record
from ddbench.registry import METHODS, discover
from ddbench.stats import interval

REPOSITORY = "DDBENCH_HUB"
"""environment variable that names a repository, `OWNER/NAME`"""
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MOST_BYTES = 2**30
"""largest artefact that is fetched"""


@dataclass(frozen=True)
class Fetched:
    """A distilled set from the Hub, and the record that came with it."""

    path: Path
    record: Record
    candidates: int
    """how many sets there were to choose from"""

    @property
    def sentence(self) -> str:
        """What it claims to be, and how to check it."""
        cell = self.record.result.cell
        claimed = interval([100 * score.accuracy for score in self.record.result.scores]).mean
        return (
            f"{cell.method}, {cell.dataset}, {cell.ipc} a class: claims {claimed:.1f} % of {cell.network} under "
            f"{cell.protocol}; `ddbench verify {record_beside(self.path)}` checks it"
        )


def push(file: str | Path, repository: str | None = None, record: str | Path | None = None) -> str:
    """Upload a distilled set and the record of its run to a data set repository of the Hub, made if it is not there.

    The repository's card is written with its first set, and kept.

    >>> ddbench.push("mnist.safetensors", "me/distilled")  # doctest: +SKIP

    Args:
        repository: `OWNER/NAME`; None takes that of the environment variable `DDBENCH_HUB`
        record: None takes the one that `ddbench distill` has left beside the file

    Returns:
        The address of the upload.

    Raises:
        UserError: when the artefact or the record is not valid, they do not belong together, or the Hub refuses.
    """
    hub, file, name = _hub(), Path(file), _named(repository)
    discover()
    artifact, made_by = DistilledDataset.load(file), read_record(record or record_beside(file))
    check_provenance(artifact.provenance, file)
    if made_by.result.artifact != file_digest(file):
        raise UserError(f"the record is of the artefact {made_by.result.artifact}, and {file} is {file_digest(file)}")
    if made_by.accuracy is None:
        raise UserError(f"the run of {file} has no scores; `ddbench distill` without --no-score makes some")
    place = _place(made_by)
    contents = {f"{place}.safetensors": file.read_bytes(), f"{place}.json": dump_record(made_by)}
    api = _api(hub)
    try:
        api.create_repo(name, repo_type="dataset", exist_ok=True)
        if "README.md" not in api.list_repo_files(name, repo_type="dataset"):
            contents["README.md"] = dataset_card(artifact, f"{place}.safetensors", made_by).encode()
        operations = [hub.CommitOperationAdd(path, content) for path, content in contents.items()]
        done = api.create_commit(name, operations, commit_message=f"Add {place}", repo_type="dataset")
    except Exception as error:  # the library's own errors have no common ancestor
        raise _refused(name, error) from error
    return str(done.commit_url)


def get(
    dataset: str,
    ipc: int,
    repository: str | None = None,
    *,
    method: str | None = None,
    protocol: str | None = None,
    best: bool = False,
    out: str | Path | None = None,
) -> Fetched:
    """Fetch a distilled set, and its record beside it; what was fetched before serves without a network.

    >>> ddbench.get("cifar10", 10, "me/distilled", best=True).path  # doctest: +SKIP

    Args:
        dataset: what it was distilled from, by name
        ipc: images per class
        repository: `OWNER/NAME`; None takes that of the environment variable `DDBENCH_HUB`
        method: None takes any
        protocol: under which it was scored; None takes any
        best: of several, take the one with the highest claimed accuracy, which needs one protocol and network
        out: None is `DATASET-ipcN-METHOD.safetensors`

    Raises:
        UserError: when there is none, there are several and nothing chooses, one is damaged, or the file is there and
            is another.
    """
    hub, name = _hub(), _named(repository)
    api, where = _api(hub), f"{_plain(dataset)}/ipc{ipc}"
    found = _records(api, name, f"{where}/*/*.json")
    wanted = _canonical(method) if method else None
    fitting = {
        path: record
        for path, record in found.items()
        if wanted in (None, record.result.cell.method) and protocol in (None, record.result.cell.protocol)
    }
    path = _chosen(fitting, sorted(found.values(), key=_told), best, f"{where} in {name}")
    record = fitting[path]
    content = _fetch(api, name, str(Path(path).with_suffix(".safetensors")))
    if file_digest(content) != record.result.artifact:
        raise UserError(f"{path} in {name} does not belong to its artefact; tell who keeps {name}")
    target = Path(out) if out else Path(f"{_plain(dataset)}-ipc{ipc}-{record.result.cell.method}.safetensors")
    files = {target: content.read_bytes(), record_beside(target): dump_record(record)}
    for written, data in files.items():
        if written.exists() and written.read_bytes() != data:
            raise UserError(f"{written} exists and is another; remove it, or choose another --out")
    for written, data in files.items():
        write_atomically(written, data)
    return Fetched(target, record, len(fitting))


def _canonical(method: str) -> str:
    discover()
    return METHODS.canonical(method) if method in METHODS else method


def _place(record: Record) -> str:
    cell = record.result.cell
    names = (_plain(cell.dataset), f"ipc{cell.ipc}", _plain(cell.method), f"seed{record.result.seed}-{record.key}")
    return "/".join(names)


def _chosen(fitting: dict[str, Record], known: Sequence[Record], best: bool, where: str) -> str:
    """Return the path of the one to fetch."""
    if not fitting:
        others = ", ".join(dict.fromkeys(map(_told, known)))
        raise UserError(f"nothing fits for {where}; there {f'is {others}' if others else 'is none'}")
    if len(fitting) == 1:
        return next(iter(fitting))
    if not best:
        raise UserError(f"{len(fitting)} sets fit for {where}; name a --method, or take the --best")
    conditions = {(record.result.cell.protocol, str(record.result.cell.network)) for record in fitting.values()}
    if len(conditions) > 1:
        told = "; ".join(f"{network} under {protocol}" for protocol, network in sorted(conditions))
        raise UserError(f"the sets for {where} were scored in ways that do not compare ({told}); name a --protocol")
    return max(fitting, key=lambda path: (fitting[path].accuracy or 0.0, path))


def _told(record: Record) -> str:
    return f"{record.result.cell.method} under {record.result.cell.protocol}"


def _records(api: Any, name: str, pattern: str) -> dict[str, Record]:
    """Return the records of a repository whose paths fit, by path; without a network, those that are known already."""
    try:
        folder = Path(api.snapshot_download(name, repo_type="dataset", allow_patterns=pattern))
    except Exception as error:
        raise _refused(name, error) from error
    paths = sorted(folder.glob(pattern))  # links into the library's own cache
    return {path.relative_to(folder).as_posix(): read_record(path.resolve()) for path in paths}


def _fetch(api: Any, name: str, path: str) -> Path:
    try:
        fetched = Path(api.hf_hub_download(name, path, repo_type="dataset"))
    except Exception as error:
        raise _refused(name, error) from error
    if fetched.stat().st_size > MOST_BYTES:
        raise UserError(f"{path} in {name} has {fetched.stat().st_size} bytes, and {MOST_BYTES} are the most")
    return fetched


def _named(repository: str | None) -> str:
    name = repository or os.environ.get(REPOSITORY, "")
    owner, _, own = name.partition("/")
    if not (PLAIN.fullmatch(owner) and PLAIN.fullmatch(own)):
        raise UserError(f"{name!r} is no OWNER/NAME of a data set repository; name one, or set {REPOSITORY}")
    return name


def _plain(word: str) -> str:
    if not PLAIN.fullmatch(word):
        raise UserError(
            f"{word!r} is no plain name, and would be part of a path; sets of own data are pushed under one"
        )
    return word


def _refused(name: str, error: Exception) -> UserError:
    said = printable(" ".join(str(error).split()))[:300]
    return UserError(f"the Hub did not answer for {name}: {said}; check the name, the network and `hf auth login`")


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError("the Hugging Face Hub needs huggingface_hub; pip install 'ddbench[hub]'") from error
    module: ModuleType = huggingface_hub
    return module


def _api(hub: ModuleType) -> Any:
    return hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
