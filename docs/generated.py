"""Pages that follow from code and tables: commands' help, public names, methods with pictures, a row of a board."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import ddbench
from ddbench.cli.app import command
from ddbench.registry import METHODS, discover
from ddbench.site.docs import citation, prose

ROOT = Path(__file__).resolve().parent.parent
ARTEFACTS = ROOT / "leaderboards" / "artifacts"
PICTURED = ("cpu/{}/mnist-ipc1-*", "*/{}/mnist-ipc1-*", "*/{}/*-ipc1-*", "*/{}/*-ipc10-*")
"""artefacts of which a method's picture is made, the first that there is"""
TOPICS = {
    "Run and score": ("evaluate", "plan", "distill", "score", "tune", "race"),
    "Artefacts": (
        "DistilledDataset", "DistilledImages", "load", "show", "export", "convert", "card", "get", "push", "Recipe",
    ),
    "Write a method": (
        "register_method", "Method", "Task", "Meter", "State", "Weights", "check_method", "Decoder", "LogRange",
        "IntegerRange", "Choice",
    ),
    "Data and protocols": ("load_dataset", "Protocol", "register_protocol", "discover"),
    "Beyond accuracy": (
        "analyze", "Analysis", "Subject", "Findings", "Measure", "Series", "Metric", "register_analysis", "study",
        "register_study",
    ),
}  # fmt: skip
"""where a public name stands; those that are nowhere stand under the last heading"""
LAST = "Records and submissions"


def write(docs: Path) -> None:
    """Write the pages into `generated/` of a folder, anew."""
    folder = docs / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    discover()
    (folder / "commands.md").write_text("\n".join(commands()))
    (folder / "api.md").write_text("\n".join(api()))
    (folder / "methods.md").write_text("\n".join(methods(folder / "pictures")))
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    (folder / "contributing.md").write_text(contributing.replace("](docs/", "](../"))
    board = (ROOT / "leaderboards" / "cpu.md").read_text().splitlines()
    (folder / "row.md").write_text("\n".join(two_rows(board)))
    (folder / "columns.md").write_text("\n".join(line for line in board if line.startswith("- **")))


def commands() -> Iterator[str]:
    """Yield a page with the help of every command, as it is printed."""
    yield "# Commands\n\nEvery command's help, as `ddbench COMMAND --help` prints it.\n"
    for name in ("", *command().commands):
        title = f"ddbench {name}".strip()
        yield f"## {title}\n\n```text\n{help_of(name)}\n```\n"


def help_of(name: str) -> str:
    """Return what a command prints for `--help`, 84 signs wide and without colours."""
    plain = {**os.environ, "COLUMNS": "84", "TERM": "dumb", "NO_COLOR": "1"}
    line = [sys.executable, "-m", "ddbench", *([name] if name else []), "--help"]
    text = subprocess.run(line, env=plain, capture_output=True, text=True, check=True).stdout
    return "\n".join(row.rstrip() for row in text.strip("\n").splitlines())


def api() -> Iterator[str]:
    """Yield a page with the docstring of every public name."""
    yield "# From Python\n\nEverything that `import ddbench` offers; names are imported when they are first used.\n"
    placed = {name for names in TOPICS.values() for name in names}
    rest = tuple(name for name in ddbench.__all__ if name not in placed)
    for topic, names in {**TOPICS, LAST: rest}.items():
        yield f"## {topic}\n"
        for name in names:
            yield entry(name, getattr(ddbench, name))


def entry(name: str, thing: Any) -> str:
    """Return what Sphinx makes a name's documentation of."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return f"**`ddbench.{name}`**: names of what is registered, and the things themselves.\n"
    kind = "class" if inspect.isclass(thing) else "function"
    members = "\n   :members:" if kind == "class" else ""
    return f"```{{eval-rst}}\n.. auto{kind}:: ddbench.{name}{members}\n```\n"


def methods(pictures: Path) -> Iterator[str]:
    """Yield a page with a card for each method, by family."""
    yield (
        "# Methods\n\nWhat each method does, its paper, and what it makes: the images of one committed artefact,\n"
        "mostly MNIST at one image a class after two minutes of one core. Their rows stand on the leaderboard.\n"
    )
    known = sorted((METHODS.get(name) for name in METHODS), key=lambda cls: (cls.family == "control", cls.family))
    for family, members in groupby(known, key=lambda cls: cls.family):
        yield f"## {family[:1].upper()}{family[1:]}\n"
        for cls in members:
            yield from card(cls, pictures)


def card(cls: type[Any], pictures: Path) -> Iterator[str]:
    """Yield what is said of a method, with a picture where an artefact of it is committed."""
    yield f"### {cls.name}\n\n{prose(cls)}\n"
    yield f"[{' '.join(citation(cls).split()) or 'Paper'}]({cls.paper})\n"
    artefact = next((path for pattern in PICTURED for path in sorted(ARTEFACTS.glob(pattern.format(cls.name)))), None)
    if artefact is not None:
        ddbench.show(artefact, pictures / f"{cls.name}.png")
        yield f"![images of {cls.name}](pictures/{cls.name}.png)\n"


def two_rows(board: list[str]) -> Iterator[str]:
    """Yield the head of a board's first table, its first row, and that of random real images."""
    table = [re.sub(r"\[(\w+)\](?!\()", r"`\1`", line) for line in board if line.startswith("|")]
    yield from table[:3]
    yield next(line for line in table if "`random_real`" in line)
