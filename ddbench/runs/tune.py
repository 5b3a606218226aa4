"""Tune methods equally: as many trials and seconds for each, on held-out training images, and a board of the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ddbench.boards.board import MOST_BYTES, Board
from ddbench.boards.chosen import with_chosen
from ddbench.boards.command_line import board_of
from ddbench.boards.saved import board_text
from ddbench.boards.tuning import Search, Trial, searches_of
from ddbench.compute.device import resolve_device
from ddbench.compute.load import cores
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.io.documents import read_bytes
from ddbench.io.locks import claimed
from ddbench.leaderboard.rows import describe_budget
from ddbench.records.cell import Budget
from ddbench.records.network_files import CODE
from ddbench.records.schema import Record
from ddbench.registry import discover
from ddbench.runs.executors.local import Local
from ddbench.runs.plan import Event, Plan, identity_of, plan_runs, read_runs, run_jobs

HEADING = "# Written by `ddbench tune`: each method's best trial on held-out training images; paths start where it ran."
FILE = "tuned.yaml"
VALIDATION = 0.2
"""share of the training images on which trials are scored, where nothing says another"""
OF_TRIALS = ("board", "title", "entries", "validation", "peek")
"""fields of a board that the board of the best trials does not take over"""


@dataclass(frozen=True)
class Tried:
    """A trial and its score."""

    trial: Trial
    accuracy: float | None
    """mean over seeds, in [0, 1], on the held-out training images; None where a run of it has no scores that count"""
    status: str
    """how its runs ended, the first that did not end well where one did not"""


@dataclass(frozen=True)
class Tuned:
    """What tuning found for a method on a data set at an ipc."""

    search: Search
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried | None:
        """The most accurate trial, the earliest of equal ones; None where none has a score."""
        scored = [one for one in self.tried if one.accuracy is not None]
        return max(scored, key=lambda one: (one.accuracy, -one.trial.number)) if scored else None

    @property
    def shipped(self) -> Tried:
        """The trial with the settings that the method ships with, or that the board gives."""
        return self.tried[0]

    @property
    def chosen(self) -> str:
        """How the best settings were chosen, as a board says it."""
        return f"tuned({len(self.tried)})"


@dataclass(frozen=True)
class Tuning:
    """What `tune` found, and where it wrote it."""

    found: tuple[Tuned, ...]
    folder: Path
    """folder of the runs"""
    board: Path | None
    """file of the board with the best settings; None where no trial has a score"""


def tune(
    board: Board | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    trials: int = 8,
    validation: float | None = None,
    device: str = "auto",
    workers: int | None = None,
    save_board: str | Path | None = None,
    on_start: Callable[[Plan], None] = lambda todo: None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_warning: Callable[[str], None] = lambda sentence: None,
) -> Tuning:
    """Try settings of each method of a board, as many and for as long as of any other, and write a board of the best.

    A trial is an ordinary run on a validation split; calling it again resumes what was interrupted and repeats nothing.

    >>> ddbench.tune({"methods": ["dm", "dc"], "ipc": 10, "budget": "30s"}, trials=8)  # doctest: +SKIP

    Args:
        board: as of `evaluate`; its entries name methods, and settings that are not to be searched
        out: folder of the runs; None is `runs/BOARD-tuning`
        trials: of each method, data set and ipc, the first with the settings that it ships with
        validation: share of the training images on which trials are scored; None takes the board's, or a fifth
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`
        workers: runs side by side; None is one on each core, or on each GPU
        save_board: file of the board of the best; None is `tuned.yaml` in `out`
        on_start: told what is left to do
        on_event: told what happens, for a display
        on_warning: told a sentence for each method that has fewer different settings than trials

    Raises:
        UserError: before anything is written, when a part does not fit, a method declares no search range, or methods
            would be tuned under different budgets.
    """
    from ddbench.leaderboard import render

    discover()
    chosen = board_of(board)
    if trials < 2:
        raise UserError(f"{trials} trials leave nothing to choose from; give two or more")
    folder = Path(out) if out is not None else Path("runs") / f"{chosen.board}-tuning"
    file = Path(save_board) if save_board is not None else folder / FILE
    _check_file(file)
    searches = searches_of(chosen, trials, _share(chosen, validation), device)
    for search in searches:
        if len(search.trials) < trials:
            on_warning(
                f"{search.method} has {len(search.trials)} different settings in its ranges for {search.dataset} at "
                f"ipc {search.ipc}, which are its trials, of {trials}"
            )
    jobs = [job for search in searches for trial in search.trials for job in trial.jobs]
    with claimed(folder):
        _check_same_budget(jobs[0].cell.budget, read_runs(folder), folder)
        plan = plan_runs(jobs, folder)
        on_start(plan)
        executor = Local.named(device, workers or _side_by_side(device, chosen.threads))
        records = run_jobs(plan, folder, executor=executor, on_event=on_event)
        render(read_runs(folder), folder, f"Trials of {chosen.title or chosen.board}", with_chosen(jobs))
        found = tuple(_tuned(search, records) for search in searches)
        return Tuning(found, folder, _write(chosen, found, file))


def _share(board: Board, validation: float | None) -> float:
    share = validation if validation is not None else board.validation or VALIDATION
    if not 0 < share < 1:
        raise UserError(f"cannot hold out a share of {share:g} of the training images; choose one above 0 and below 1")
    return share


def _side_by_side(device: str, threads: int) -> int | None:
    """Return as many runs as keep every core of a CPU at work; None leaves GPUs to the executor."""
    return max(1, cores() // threads) if resolve_device(device).type == "cpu" else None


def _check_file(file: Path) -> None:
    if file.suffix != ".yaml":
        raise UserError(f"{str(file)!r} does not end in .yaml; boards do")
    if file.exists() and not read_bytes(file, MOST_BYTES).startswith(HEADING.encode()):
        raise UserError(f"{file} exists, and `ddbench tune` has not written it; choose another --save-board")


def _check_same_budget(budget: Budget, there: Iterable[Record], folder: Path) -> None:
    """Refuse trials beside others that had another budget."""
    for record in there:
        theirs = record.result.cell.budget
        if theirs != budget:
            raise UserError(
                f"{folder} has trials of {describe_budget(theirs)}, and these would have {describe_budget(budget)}: "
                "methods are tuned under one budget; choose another --out, or that budget"
            )


def _tuned(search: Search, records: Iterable[Record]) -> Tuned:
    ordered = sorted(records, key=lambda record: record.measured.finished)
    newest = {identity_of(record.result.cell, record.result.seed): record for record in ordered}
    return Tuned(search, tuple(_tried(trial, newest) for trial in search.trials))


def _tried(trial: Trial, newest: Mapping[str, Record]) -> Tried:
    runs = [newest.get(identity_of(job.cell, job.seed)) for job in trial.jobs]
    scores = [run.accuracy for run in runs if run is not None and run.accuracy is not None]
    wrong = [run.result.status if run else "not run" for run in runs if run is None or run.accuracy is None]
    ended = [run.result.status for run in runs if run is not None]
    return Tried(trial, None if wrong else fmean(scores), [*wrong, *ended][0])


def _write(board: Board, found: Sequence[Tuned], file: Path) -> Path | None:
    """Write the board of the best settings, where there are any."""
    entries = [
        {
            "methods": [one.search.method],
            "datasets": [one.search.dataset],
            "ipc": [one.search.ipc],
            "chosen": one.chosen,
            "set": one.best.trial.settings,
        }
        for one in found
        if one.best is not None
    ]
    if not entries:
        return None
    fields = board.model_dump(mode="json", exclude_unset=True, exclude=set(OF_TRIALS))
    network = fields.get("network", {})
    if CODE not in network.get("parameters", {}):
        fields["network"] = {"name": board.network.name, **board.network.parameters}
    write_atomically(file, board_text({"board": file.stem, **fields, "entries": entries}, HEADING).encode())
    return file
