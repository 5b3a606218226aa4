"""A study carried out: its runs distilled under equal seconds, and what is measured over them kept in sealed files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.compute.device import resolve_device
from ddbench.data import load_dataset
from ddbench.data.builtin import Size
from ddbench.io.atomic import set_aside
from ddbench.io.locks import claimed
from ddbench.records.run_folder import ARTIFACT
from ddbench.records.schema import COUNTED, Record
from ddbench.records.studies import StudyRecord
from ddbench.records.study_files import check_study, write_study
from ddbench.registry import discover
from ddbench.runs.executors.local import Local
from ddbench.runs.forecast import duration, scoring_seconds
from ddbench.runs.plan import Event, Plan, identity_of, plan_runs, run_jobs
from ddbench.runs.remaining import forecast_left
from ddbench.runs.speeds import Speeds, threads
from ddbench.studies.board import make_study_board
from ddbench.studies.measuring import Made, Measurement, record_of
from ddbench.studies.rows import Row, resolve_rows
from ddbench.studies.study import Study, Training

MEASURED = "measured"
"""folder of what was measured of single seeds, in that of a study"""


@dataclass(frozen=True)
class Watcher:
    """Who watches a study: functions that are told how far it is."""

    on_start: Callable[[Plan, str], None] = lambda todo, forecast: None
    """told what is left to distil, and in words how long all of it will take"""
    on_event: Callable[[Event], None] = lambda event: None
    """told what happens to runs"""
    report: Callable[[str, float], None] = lambda stage, share: None
    """told which row is measured, and the share of it that is done"""
    on_found: Callable[[StudyRecord, Path], None] = lambda found, path: None
    """told each row as soon as it is known, and its file"""
    on_failure: Callable[[str], None] = lambda sentence: None
    """told a sentence for each row that has none"""


def study(
    name: str,
    board: Mapping[str, Any],
    out: str | Path | None = None,
    *,
    device: str = "auto",
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> list[StudyRecord]:
    """Distil several times on derived data, with equal seconds for each method, and measure what comes of it.

    Calling it again resumes what was interrupted and repeats nothing.

    >>> ddbench.study("continual", {"dataset": "mnist", "methods": ["dm"], "seconds": "2m"})  # doctest: +SKIP

    Args:
        name: the study, without a version the newest
        board: `methods`, `dataset`, `ipc`, `seconds`, `seeds` and more, see `ddbench.studies.board.StudyBoard`
        out: folder of runs, and of a file for each row; None is `runs/NAME`
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`
        workers: distillations side by side; None is one on a CPU, or one on each GPU
        watcher: told how far it is

    Returns:
        The rows that were measured; `watcher` is told why others were not.

    Raises:
        UserError: before anything is written, when a part of the board does not fit.
    """
    discover()
    said, where = make_study_board({"study": name, **board}), resolve_device(device)
    asked, rows = resolve_rows(said, device)
    folder = Path(out) if out is not None else Path("runs") / asked.name.partition("@")[0]
    work = _Work(asked, folder, where, watcher or Watcher())
    with claimed(folder), threads(said.threads):
        known = {row.label: work.known(row) for row in rows}
        left = [row for row in rows if known[row.label] is None]
        plan = plan_runs([job for row in left for seed in row.seeds for job in seed.jobs], folder)
        distil = str(forecast_left(plan, device, workers)) if plan.jobs else "nothing left to distil"
        work.watcher.on_start(plan, f"{distil}; {work.forecast(left)}" if left else "nothing left to do")
        records = run_jobs(plan, folder, executor=Local.named(device, workers), on_event=work.watcher.on_event)
        made = _made(records, folder)
        found = [known[row.label] or work.measure(row, made) for row in rows]
    return [record for record in found if record is not None]


@dataclass(frozen=True)
class _Work:
    study: Study
    out: Path
    device: torch.device
    watcher: Watcher

    def path(self, row: Row) -> Path:
        return self.out / record_of(self.study, row).name

    def known(self, row: Row) -> StudyRecord | None:
        """Return what is known of a row; a damaged file is set aside with a warning."""
        path = self.path(row)
        if not path.is_file():
            return None
        record, wrong = check_study(path)
        if wrong or record is None:
            warnings.warn(set_aside(path, wrong[0]), RuntimeWarning, stacklevel=3)
            return None
        self.watcher.on_found(record, path)
        return record

    def forecast(self, rows: Sequence[Row]) -> str:
        """Say how long networks are trained for what is left, by how fast this machine is."""
        data, speeds, seconds = load_dataset(rows[0].job.dataset), Speeds(self.device), 0.0
        size = Size(len(data.train_labels), len(data.test_labels), len(data.classes), data.shape)
        shared = list[Training]()
        for row in rows:
            for training in self.study.trainings(size, row.cell, row.variant):
                network, protocol = training.network or row.cell.network, training.protocol or row.job.protocol()
                once = training.count * scoring_seconds(row.cell, network, training.data, protocol, speeds)
                if not training.shared:
                    seconds += len(row.seeds) * row.cell.networks * once
                elif training not in shared:
                    shared.append(training)
                    seconds += once
        return f"then networks are trained for about {duration(max(1.0, seconds))}"

    def measure(self, row: Row, made: Made) -> StudyRecord | None:
        """Measure a row, and keep what is found; None where a run of it left nothing that counts."""
        lacking = [job for seed in row.seeds for job in seed.jobs if identity_of(job.cell, job.seed) not in made]
        if lacking:
            which = f"{lacking[0].cell.split} at seed {lacking[0].seed}"
            self.watcher.on_failure(
                f"{row.label} is not measured: {len(lacking)} of its runs left no artefact that counts, the first "
                f"{which}; the same command tries again those that were ended from outside"
            )
            return None
        report = partial(self.watcher.report, row.label)
        record = Measurement(self.study, row, made, self.device, self.out / MEASURED, report).record()
        write_study(self.path(row), record)
        self.watcher.on_found(record, self.path(row))
        return record


def _made(records: Iterable[Record], out: Path) -> Made:
    """Return the runs whose artefacts count, the newest of each."""
    files = {file_digest(path): path for path in out.glob(f"*/*/{ARTIFACT}")}
    counted = [record for record in records if record.result.status in COUNTED and record.result.artifact in files]
    return {
        identity_of(record.result.cell, record.result.seed): (record, files[str(record.result.artifact)])
        for record in sorted(counted, key=lambda record: record.measured.finished)
    }
