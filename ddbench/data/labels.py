"""Labels that lie beside image files: a table of files and labels, and the annotations of Tiny ImageNet."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from ddbench.errors import UserError

Labelled = list[tuple[Path, int]]
"""files and the indices of their classes"""
FILE, LABEL, SPLIT = ("file", "filename", "image", "path"), ("label", "class", "category"), ("split", "set")
DIGITS = re.compile(r"(\d+)")
HALVES = {"train": 0, "training": 0, "test": 1, "testing": 1, "val": 1, "valid": 1, "validation": 1}


def natural(name: str) -> list[tuple[int, int | str]]:
    """Return a key by which names are sorted as people do: numbers by value, the rest as text.

    >>> sorted(["10", "9", "a2", "a10"], key=natural)
    ['9', '10', 'a2', 'a10']
    """
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in DIGITS.split(name) if part]


def listed_in_table(table: Path) -> tuple[list[str], Labelled, Labelled]:
    """Read the classes, and the training and test files with their labels, from a CSV file.

    It has a head with columns `file` and `label`, and maybe `split`, of `train`, `test` or `val`; where `test` is
    there, `val` is left out. Paths count from the table's folder.

    Raises:
        UserError: one sentence naming the table and the fix.
    """
    rows = _rows(table)
    file, label, split = (_column(rows[0], names) for names in (FILE, LABEL, SPLIT))
    if file is None or label is None:
        raise UserError(f"{table} has columns {', '.join(rows[0])}; give it a head with `file` and `label`")
    classes = sorted({row[label] for row in rows}, key=natural)
    halves: tuple[Labelled, Labelled] = ([], [])
    named = {row[split].lower() for row in rows} if split else set()
    for row in rows:
        half = row[split].lower() if split else "train"
        if half not in HALVES:
            raise UserError(f"{table}: split {row[split or '']!r} is none of train, test and val; change it")
        if half.startswith("val") and named & {"test", "testing"}:
            continue
        path = table.parent / row[file]
        if not path.is_file():
            raise UserError(f"{table} names {row[file]!r}, and there is no such file beside it; correct the path")
        halves[HALVES[half]].append((path, classes.index(row[label])))
    return classes, *halves


def tiny_imagenet_halves(
    train: Path, test: Path, classes: list[str], files: Callable[[Path], list[Path]]
) -> tuple[list[str], Labelled, Labelled]:
    """Read the layout of Tiny ImageNet: `train/CLASS/images/`, `val/images/` and `val/val_annotations.txt`.

    Args:
        files: gives the image files of a class folder

    Raises:
        UserError: where the annotations name another class, or no file.
    """
    listing = [(file, label) for label, name in enumerate(classes) for file in files(train / name)]
    annotations, held = test / "val_annotations.txt", Labelled()
    for line in annotations.read_text("utf-8", "replace").splitlines():
        name, _, rest = line.partition("\t")
        label = rest.partition("\t")[0]
        if label not in classes or not (test / "images" / name).is_file():
            raise UserError(f"{annotations} names {name!r} of class {label!r}, which is not there; correct it")
        held.append((test / "images" / name, classes.index(label)))
    return classes, listing, held


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [{key.strip().lower(): value for key, value in row.items()} for row in csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise UserError(f"{table} is no table of commas and text; write it again as UTF-8") from error
    if not rows:
        raise UserError(f"{table} has no lines below its head; list a file and a label on each")
    if any(value is None for row in rows for value in row.values()):
        raise UserError(f"{table} has a line with fewer fields than its head; complete it")
    return rows


def _column(row: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in row), None)
