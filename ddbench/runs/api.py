"""Distil: the runs of a board, or one artefact."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.boards.board import Board, make_board
from ddbench.boards.command_line import board_of
from ddbench.boards.jobs import Job, Selection, not_forecast, resolve, without_effect
from ddbench.compute.device import resolve_device
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.io.locks import claimed
from ddbench.records.files import check_record, write_record
from ddbench.records.run_folder import ARTIFACT, TRACE, record_beside
from ddbench.records.schema import UNFINISHED, Record, Records
from ddbench.registry import MODALITIES, discover
from ddbench.runs.device_bytes import too_large
from ddbench.runs.executors import make_executor
from ddbench.runs.forecast import Forecast
from ddbench.runs.log_hook import LogHook, with_log
from ddbench.runs.plan import Event, Plan, artifact_of, plan_runs, read_runs, run_jobs
from ddbench.runs.remaining import forecast_left
from ddbench.runs.shards import gather, shard_folder, share_of
from ddbench.studies.conduct import Watcher
from ddbench.studies.of_board import carry_out, check_studies


def evaluate(
    board: Board | Mapping[str, Any] | str | Path | None = None,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    workers: int | None = None,
    executor: str = "local",
    again: bool = False,
    selection: Selection | None = None,
    shard: tuple[int, int] | None = None,
    on_start: Callable[[Plan], None] = lambda todo: None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_log: LogHook = lambda run, logged: None,
    on_warning: Callable[[str], None] = lambda sentence: None,
    watcher: Watcher | None = None,
) -> Records:
    """Distil, evaluate and record every cell of a board, then write its tables, curves and pictures into `out`.

    The studies that a board names follow, each in a folder of its own beside `out`, unless a part of it is asked for.

    Calling it again resumes what was interrupted and repeats nothing.

    >>> ddbench.evaluate({"methods": ["dm", "random_real"], "ipc": 1, "budget": "5s"})  # doctest: +SKIP

    Args:
        board: a board, the path of its file, or a mapping of what `ddbench evaluate` takes as options; None is the
            quickstart
        out: None is `runs/BOARD`
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`
        workers: runs side by side on this machine; None is one on a CPU, or one on each GPU
        executor: `local`, or `ray` for a cluster, see `ddbench.runs.executors.ray`
        again: run anew what is done; older records stay
        selection: a part of the board; the tables hold whatever `out` has records of
        shard: number and count of a share of the runs, such as (2, 4), which other commands may carry out at the same
            time, each in a folder below `out`; without one, what shares have finished is gathered first
        on_start: told what is left to do
        on_event: told what happens, for a display
        on_log: told what the methods log, see `ddbench.runs.log_hook`
        on_warning: told what is left out, or asked for in vain, a sentence each
        watcher: told how far the board's studies are

    Raises:
        UserError: before anything is written, when a part of the board does not fit.
    """
    from ddbench.boards.chosen import with_chosen
    from ddbench.leaderboard import render

    discover()
    chosen, where = board_of(board), make_executor(executor, device, workers)
    folder = Path(out) if out is not None else Path("runs") / chosen.board
    jobs = resolve(chosen, where.device, selection)
    if shard is not None:
        jobs, folder = share_of(jobs, shard), shard_folder(folder, shard)
    check_studies(chosen, where.device.type)
    for sentence in (*without_effect(chosen, where.device.type), *not_forecast(chosen)):
        on_warning(sentence)
    with claimed(folder):
        gather(folder, on_warning)
        plan = plan_runs(jobs, folder, again)
        on_start(plan)
        records = run_jobs(plan, folder, executor=where, on_event=with_log(on_event, on_log))
        render(read_runs(folder), folder, chosen.title or chosen.board, with_chosen(jobs))
        _draw_first_seeds(records, folder, {job.cell.dataset_digest: job.dataset for job in jobs})
    if selection in (None, Selection()) and shard is None:
        carry_out(chosen, folder, device, workers, watcher)
    return Records(records)


def plan(
    board: Board | Mapping[str, Any] | str | Path | None = None,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    workers: int | None = None,
    selection: Selection | None = None,
    on_warning: Callable[[str], None] = lambda sentence: None,
) -> Forecast:
    """Say what `evaluate` with the same arguments has left to do, and how long that will take on this machine.

    >>> print(ddbench.plan("cpu", workers=2))  # doctest: +SKIP

    Args:
        on_warning: told of what is asked for in vain, of each cell that does not fit into the memory of a GPU, and of
            each damaged file, which is set aside as `evaluate` would

    Raises:
        UserError: when a part of the board does not fit, or a command is at work in `out`.
    """
    discover()
    chosen = board_of(board)
    folder = Path(out) if out is not None else Path("runs") / chosen.board
    jobs = resolve(chosen, device, selection)
    check_studies(chosen, jobs[0].cell.device)
    large = too_large(jobs, resolve_device(device))
    for sentence in (*without_effect(chosen, jobs[0].cell.device), *large, *not_forecast(chosen)):
        on_warning(sentence)
    if not folder.is_dir():
        return forecast_left(Plan([(job, folder) for job in jobs], [], [], []), device, workers)
    with claimed(folder):
        todo = plan_runs(jobs, folder)
        for sentence in todo.damaged:
            on_warning(sentence)
        return forecast_left(todo, device, workers)


def distill(
    method: str,
    dataset: str,
    out: str | Path,
    *,
    ipc: int = 1,
    seed: int = 0,
    network: str = "convnet",
    budget: str | None = None,
    steps: int | None = None,
    setting: str = "random",
    settings: Mapping[str, Any] | None = None,
    compile: bool | None = None,
    precision: str | None = None,
    capture: bool = False,
    device: str = "auto",
    score: bool = True,
    force: bool = False,
    on_start: Callable[[Plan], None] = lambda todo: None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_log: LogHook = lambda run, logged: None,
    on_warning: Callable[[str], None] = lambda sentence: None,
) -> Record:
    """Distil one artefact into the file `out`, and return its record, with one network's score; resumes like a board.

    The record is kept beside the file. What is done already is returned, and nothing repeated.

    >>> ddbench.distill("dm", "digits", "dm.safetensors", on_log=lambda run, logged: print(logged))  # doctest: +SKIP

    Args:
        method: a registered name, or a `.py` file that registers one
        dataset: a name, an `.npz` file or a folder of class folders
        network: `convnet,width=32` sets parameters
        budget: `60s`, `2m`, `1h`; None takes every planned step
        settings: hyper-parameters
        compile: what the run repeats; None decides by its length, see `compiling.worth_compiling`
        precision: `float32`, `tf32` or `bfloat16`; None takes the device's
        capture: compile steps and capture them as graphs of launches; on devices other than CUDA's without effect
        score: False leaves it unscored, as the record then says; `ddbench.score` can score the file later
        force: replace what another run has left at `out`, once this one is done
        on_start: told what is left to do
        on_event: told what happens, for a display
        on_log: told what the method logs, see `ddbench.runs.log_hook`
        on_warning: told what is asked for in vain, a sentence each

    Raises:
        UserError: for a part that does not fit, or where `out` is another run's file.
    """
    discover()
    out = Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{str(out)!r} does not end in .safetensors; artefacts do")
    board = make_board(
        {
            "board": "distill",
            "datasets": [dataset],
            "ipc": [ipc],
            "network": network,
            "setting": setting,
            "protocol": "quick-300@1",
            "networks": 1,
            "snapshots": [],
            "budget": budget,
            "steps": steps,
            "compile": compile,
            "precision": precision,
            "capture": capture,
            "entries": [{"methods": [method], "set": dict(settings or {})}],
        },
        where="distill",
    )
    jobs = [replace(job, seed=seed, score=score) for job in resolve(board, device)]
    for sentence in without_effect(board, jobs[0].cell.device):
        on_warning(sentence)
    done = _done_already(out, jobs[0], force)
    if done is not None:
        return done
    work = out.with_name(f".{out.name}.work")
    with claimed(work):
        todo = plan_runs(jobs, work)
        on_start(todo)
        record = run_jobs(todo, work, workers=1, device=device, on_event=with_log(on_event, on_log))[-1]
        if record.result.artifact is not None:
            made = artifact_of(record, work).read_bytes()
            write_record(record_beside(out), record)  # first: after an interruption the same command goes on
            write_atomically(out, made)
        trace_of(out).unlink(missing_ok=True)
        if record.result.status not in UNFINISHED:
            for trace in work.glob(f"*/*/{TRACE}"):
                write_atomically(trace_of(out), trace.read_bytes())
            shutil.rmtree(work, ignore_errors=sys.platform == "win32")  # its lock, which is held, stays there
    if sys.platform == "win32":
        with suppress(OSError):
            work.rmdir()
    return record


def _done_already(out: Path, job: Job, force: bool) -> Record | None:
    """Return the record of the run where it has made the file; None where it is to make it.

    Raises:
        UserError: where another run has left a file or a record there that is not to be replaced.
    """
    beside = record_beside(out)
    record, wrong = check_record(beside) if beside.is_file() else (None, [])
    ours = record if record is not None and not wrong and record.key == job.key else None
    if ours is not None and out.is_file() and ours.result.artifact == file_digest(out):
        return ours
    other = out if out.exists() or ours is not None else beside
    if other.exists() and not force:
        raise UserError(
            f"{other} exists, and it is not what this command makes; choose another --out, or replace it with --force"
        )
    return None


def trace_of(out: Path) -> Path:
    """Return the path at which `distill` leaves the traceback of a method that raised."""
    return out.with_name(f"{out.name}.{TRACE}")


def _draw_first_seeds(records: Iterable[Record], out: Path, datasets: Mapping[str, str]) -> None:
    """A picture for each cell's first seed, under `pictures/`.

    Args:
        datasets: names or paths, by digest
    """
    for record in records:
        cell = record.result.cell
        artifacts = sorted(out.glob(f"{cell.method}/*{record.key}*/{ARTIFACT}"))
        if record.result.seed == 0 and artifacts and record.result.artifact:
            name = f"{cell.method}-{Path(cell.dataset).stem}-ipc{cell.ipc}-{record.key[:6]}.png"
            picture = out / "pictures" / name
            if not picture.exists():
                MODALITIES.get(cell.modality).show(artifacts[-1], picture, datasets[cell.dataset_digest])
