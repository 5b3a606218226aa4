"""The commands that reproduce a record's numbers."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

from ddbench.compute.compiling import worth_compiling
from ddbench.compute.precision import PRECISIONS
from ddbench.records.cell import Budget, Cell, NetworkSpec
from ddbench.records.network_files import CODE
from ddbench.records.notation import parse_settings
from ddbench.records.packages import PACKAGES, VERSION
from ddbench.records.schema import Record, Result
from ddbench.site.content import shipped

WORD = re.compile(r"[A-Za-z][\w,=.-]*")
DISTILLED = "distilled.safetensors"
REVISION = re.compile(r"[0-9a-f]{7,40}")
"""name of a commit, without the sign of uncommitted changes"""
LINE_LENGTH = 70
"""number of characters after which a command continues on another line"""


def of_run(record: Record) -> list[str] | None:
    """Return commands that distil one run to the same step and score it; None where options cannot name its cell."""
    cell, result = record.result.cell, record.result
    if not _sayable(cell):
        return None
    distil: list[object] = ["distill", cell.method, "-d", cell.dataset, "--ipc", cell.ipc, "--seed", result.seed]
    distil += ["--network", _network(cell.network), *_length(result), *_settings(cell)]
    if cell.setting != "random":
        distil += ["--setting", cell.setting]
    if cell.precision != PRECISIONS[cell.device][0]:
        distil += ["--precision", cell.precision]
    distil += ["--capture"] if cell.capture else _compiled(record)
    score = ["score", DISTILLED, "--protocol", cell.protocol, "--count", cell.networks]
    return [_command([*distil, "--device", cell.device, "--out", DISTILLED]), _command(score)]


def of_board(board: str) -> str:
    """Return the command that runs every cell of a board again."""
    return _command(["evaluate", f"configs/{board}.yaml"])


def of_cell(board: str, cell: Cell) -> str:
    """Return the command that runs a cell of a board again, on its budget and with all its seeds."""
    chosen = ["--method", cell.method, "--dataset", cell.dataset, "--ipc", cell.ipc]
    return _command(["evaluate", f"configs/{board}.yaml", *chosen])


def of_doubt(record: Record, path: str) -> list[str]:
    """Return commands for a clone that check a committed record: its networks anew, and its steps by the code of then.

    Args:
        path: of the record below the folder of tables, `records/BOARD/METHOD/RUN.json`; of other files nothing is said
    """
    if not path.startswith("records/") or record.result.artifact is None or not record.result.scores:
        return []
    revision = str(record.measured.environment.get("git"))
    then = [f"git checkout {revision} -- ddbench methods"] if REVISION.fullmatch(revision) else []
    return [_command(["verify", f"leaderboards/{path}"]), *then]


def _sayable(cell: Cell) -> bool:
    plain = cell.preprocessing == "normalize" and cell.split == "test" and cell.threads == 1
    further = cell.pool, cell.budget.peak_bytes, cell.peek, cell.also
    return plain and all(each is None for each in further)


def _length(result: Result) -> list[object]:
    """Limit steps where the budget ended the run, so that a faster machine stops there too; else give the budget."""
    if result.status == "truncated" and result.steps_done:
        return ["--steps", sum(result.steps_done.values())]
    return _budget(result.cell.budget)


def _compiled(record: Record) -> list[object]:
    """Return `--compile` or `--no-compile` where the command's number of steps would choose the other."""
    compiled, steps = record.measured.environment.get("compiled"), sum(record.result.steps_done.values())
    if record.result.status != "truncated" or compiled in (None, worth_compiling(None, steps)):
        return []
    return ["--compile" if compiled else "--no-compile"]


def _budget(budget: Budget) -> list[object]:
    seconds: list[object] = ["--budget", f"{budget.seconds:g}s"] if budget.seconds is not None else []
    return seconds + (["--steps", budget.steps] if budget.steps is not None else [])


def _settings(cell: Cell) -> list[object]:
    """Return `--set` for each hyper-parameter that differs from the default of this ddbench or is unknown to it."""
    cls = shipped(cell.method)
    defaults = {field.name: field.default for field in dataclasses.fields(cls)} if cls else {}
    return [
        part
        for name, value in sorted(cell.hyperparameters.items())
        if not cls or defaults.get(name) != value
        for part in ("--set", f"{name}={_yaml(value)}")
    ]


def _network(network: NetworkSpec) -> str:
    """Return the text of `--network`: a file is looked for in the current folder, a package's version is left out."""
    name, settings = network.name, dict(network.parameters)
    if settings.pop(CODE, None) is not None:
        stem, _, cls = name.rpartition(".")
        name = f"./{stem}.py:{cls}"
    if name in PACKAGES:
        settings.pop(VERSION, None)
    return ",".join([name, *(f"{key}={_yaml(value)}" for key, value in sorted(settings.items()))])


def _yaml(value: Any) -> str:
    """Write a value so that `--set` reads it back: words as they are, unless YAML reads them as something else."""
    word = isinstance(value, str) and WORD.fullmatch(value) and parse_settings([f"it={value}"]) == {"it": value}
    return str(value) if word else json.dumps(value)


def _command(words: Sequence[object]) -> str:
    """Join words to a shell command; a long one continues on further lines, where an option begins."""
    lines = ["ddbench"]
    for word in map(shlex.quote, map(str, words)):
        if word.startswith("-") and len(lines[-1]) > LINE_LENGTH:
            lines.append(f" {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n ".join(lines)
