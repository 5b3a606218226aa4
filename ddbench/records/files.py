"""Writing of records with a checksum, and reading with checks."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ddbench.errors import UserError, printable
from ddbench.io.atomic import canonical_json, digest, read_sealed, warn_of_damage, write_atomically
from ddbench.io.documents import parse_json, read_bytes
from ddbench.records.contradictions import contradictions
from ddbench.records.fields import complaint
from ddbench.records.findings import is_finding
from ddbench.records.schema import SCHEMA_VERSION, Record

Form = TypeVar("Form", bound=BaseModel)
MOST_BYTES = 2**22
"""largest size of a record; records have some kilobytes"""


def dump_record(record: Record) -> bytes:
    """Write a record as indented JSON with sorted keys and a checksum over everything else."""
    return seal(record.model_dump(mode="json"))


def seal(content: Mapping[str, Any]) -> bytes:
    """Write content as indented JSON with sorted keys and a checksum over everything else."""
    sealed = {**content, "checksum": digest(canonical_json(content))}
    return (json.dumps(sealed, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_record(path: Path, record: Record) -> None:
    write_atomically(path, dump_record(record))


def read_record(path: str | Path) -> Record:
    """Read and check one record.

    Raises:
        UserError: with the first thing that is wrong with it.
    """
    record, problems = check_record(Path(path))
    if record is None or problems:
        raise UserError(problems[0])
    return record


def read_records(folder: Path) -> list[Record]:
    """Read every record below a folder, in the order of their paths; see `records_by_path`."""
    return list(records_by_path(folder).values())


def records_by_path(folder: Path) -> dict[Path, Record]:
    """Read every record below a folder, by path.

    Raises:
        UserError: when there is none, or one is not valid.
    """
    return {path: read_record(path) for path in record_paths(folder)}


def record_paths(folder: Path) -> list[Path]:
    """Return the paths of the records below a folder, sorted.

    Raises:
        UserError: when there is none.
    """
    found = sorted(path for path in folder.rglob("*.json") if not is_finding(path))
    if not found:
        raise UserError(f"no records below {folder}; run `ddbench evaluate` first, or name its --out folder")
    return found


def check_record(path: Path) -> tuple[Record | None, list[str]]:
    """Return a file's record, if it has the form of one, and what is wrong with the file, a sentence each."""
    return check_sealed(path, Record, contradictions, "run the cell again")


def check_sealed(
    path: Path, form: type[Form], contradictions: Callable[[Form], Iterable[str]], again: str
) -> tuple[Form | None, list[str]]:
    """Return what a file that `seal` wrote holds, if it has the form, and what is wrong with it, a sentence each.

    Args:
        contradictions: function that gives what is wrong with the content
        again: how such a file is made anew
    """
    try:
        found = form.model_validate_json(canonical_json(unsealed(path, again)), strict=True)
    except UserError as error:
        return None, [str(error)]
    except ValidationError as error:
        return None, [printable(f"{path}: {complaint}; {again}") for complaint in complaints(error)]
    return found, [printable(f"{path}: {problem}") for problem in contradictions(found)]


def read_kept(path: Path, form: type[Form]) -> Form | None:
    """Read what `write_sealed` kept of a model; None where there is nothing, or nothing that this release can read."""
    payload = read_sealed(path)
    if payload is None:
        return None
    try:
        return form.model_validate_json(payload)
    except ValidationError:
        warn_of_damage(path, "another release wrote it")
        return None


def problems(path: Path) -> list[str]:
    """Return what is wrong with a record file, a sentence each; an empty list means valid."""
    return check_record(path)[1]


def damage(path: Path) -> str | None:
    """Say why a file is not as it was written; None for an intact one, even if its content is wrong."""
    try:
        content = _read_json(path)
    except (OSError, ValueError) as error:
        return f"no readable JSON: {error}"
    return None if isinstance(content, dict) and _is_sealed(content) else "its checksum does not match"


def _read_json(path: Path) -> Any:
    return parse_json(read_bytes(path, MOST_BYTES))


def unsealed(path: Path, again: str) -> dict[str, Any]:
    """Return the content of a file that `seal` wrote, without its checksum.

    Args:
        again: how such a file is made anew, for messages: `run the cell again`

    Raises:
        UserError: when it is a link, no JSON, of another version, or was edited.
    """
    if path.is_symlink():
        raise UserError(f"{path} is a link; put the record itself there")
    try:
        content = _read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable JSON file ({error}); remove it and {again}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} where a record is an object; remove it and {again}")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {content.get('schema_version')!r}; this ddbench reads {SCHEMA_VERSION}"
        )
    if not _is_sealed(content):
        raise UserError(f"{path} was edited after it was written (its checksum does not match); restore it or {again}")
    return {name: value for name, value in content.items() if name != "checksum"}


def _is_sealed(content: dict[str, Any]) -> bool:
    rest = {name: value for name, value in content.items() if name != "checksum"}
    return content.get("checksum") == digest(canonical_json(rest))


def complaints(error: ValidationError) -> Iterator[str]:
    """Yield what a validator has to say: where, what, and what was given."""
    for detail in error.errors():
        where = ".".join(map(str, detail["loc"]))
        received = "" if detail["type"] == "missing" else f" (got {reprlib.repr(detail['input'])})"
        yield f"{where}: {complaint(detail)}{received}"
