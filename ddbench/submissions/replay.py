"""Does a method make an artefact as good in as many steps as its record says?"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.board import Board
from ddbench.boards.jobs import Job
from ddbench.compute.device import resolve_device
from ddbench.compute.precision import precision
from ddbench.errors import UserError
from ddbench.evaluation.trainer import evaluate
from ddbench.io.atomic import digest
from ddbench.io.locks import claimed
from ddbench.records.cell import Budget, Cell
from ddbench.records.network_files import files_of
from ddbench.records.schema import COUNTED, Record, Score
from ddbench.records.source_digest import source_digest
from ddbench.registry import discover, find_method
from ddbench.runs.executors.local import Local
from ddbench.runs.plan import Event, Plan, artifact_of, plan_runs, run_jobs
from ddbench.submissions.claim import Claim
from ddbench.submissions.rescoring import evaluator_of, place_of
from ddbench.submissions.submit import add_record, held_records
from ddbench.submissions.verdict import LEAST_FURTHER, allowance, compare_by_spread
from ddbench.submissions.verify import Verification, examine
from ddbench.task.hyperparameters import make_method


def replay(
    record: str | Path,
    *,
    method: str | None = None,
    artifact: str | Path | None = None,
    dataset: str | None = None,
    noise: bool = False,
    device: str = "auto",
    out: str | Path | None = None,
    to: Path | None = None,
    on_start: Callable[[Plan], None] = lambda todo: None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_score: Callable[[Score], None] = lambda score: None,
) -> Verification:
    """Run a record's method again for as many steps, and compare what comes out with what the record claims.

    The same steps on the same kind of CPU give the same bytes, which is noted. On another machine they give another
    artefact, which has to score as well: at least five networks are trained on it, and the claimed mean may lie above
    theirs by half a point, or by what their spread allows at 99 % confidence. A replay resumes like a board.

    Args:
        record: in a run's folder, or in a folder of tables
        method: a registered name or a `.py` file; None takes the record's
        artifact: the record's, where it does not lie beside it or among the kept ones; it need not be at hand
        dataset: where the record's data set lies, when not under its name
        noise: lay a copy of the data set with noise for test data where a method would look for data; one that uses no
            test data makes the same bytes as without
        out: folder of the run; None is `runs/replay`, or `runs/replay-noise`
        to: a folder of tables, to file the replay as evidence of the record
        on_start: told what is to do
        on_event: told what happens, for a display
        on_score: told each network that is compared

    Raises:
        UserError: when the record, the method or the data set is not to be had.
    """
    discover()
    claim, wrong = examine(Path(record), Path(artifact) if artifact else None, dataset)
    if claim is None or wrong:
        return Verification(wrong)
    if to is not None:
        held_records(to)  # before anything is run
    job = _job(claim, method, dataset)
    folder = Path(out) if out is not None else Path("runs") / ("replay-noise" if noise else "replay")
    where = Local.named(_device(job.cell, device), 1)
    with claimed(folder), _decoys(job, noise) as prepared:
        todo = plan_runs([prepared], folder)
        if todo.changed:
            todo = plan_runs([prepared], folder, again=True)
        on_start(todo)
        again = run_jobs(todo, folder, executor=where, on_event=on_event)[-1]
        if again.result.status not in COUNTED:
            reason = f": {again.result.reason}" if again.result.reason else ""
            return Verification([f"{record}: its replay ended as {again.result.status}{reason}"])
        made = DistilledDataset.load(artifact_of(again, folder))
    place = place_of(again, where.device)
    networks = max(LEAST_FURTHER, job.cell.networks)
    if job.cell.pool is not None:
        networks = min(networks, job.cell.pool.held_out)
    with precision(place.device, job.cell.precision):
        scores = evaluate(made, evaluator_of(again, job.dataset, place), networks, on_score)
    ours, theirs = ([score.accuracy for score in found] for found in (claim.record.result.scores, scores))
    comparison = compare_by_spread("accuracy", "replayed", ours, theirs)
    same = None if claim.artifact is None else made.holds_what(DistilledDataset.load(claim.artifact))
    bound = allowance([comparison], statistics.fmean(score.accuracy for score in again.result.scores))
    changes = {"replays": digest(claim.content), "bound": bound, "same_bytes": same}
    filed = [] if to is None else add_record(again.model_copy(update=changes), to)
    elsewhere = differences(claim.record, again) if same is False else []
    return Verification(comparisons=[comparison], scores=scores, same_bytes=same, elsewhere=elsewhere, filed=filed)


def differences(record: Record, again: Record) -> list[str]:
    """Return in what the surroundings of two runs differ that may change bytes, a few words each."""
    theirs, ours = record.measured.environment, again.measured.environment
    sources = [] if record.method_source == again.method_source else ["the method's code"]
    return sources + [
        f"{name} {theirs.get(name)}, here {ours.get(name)}"
        for name in ("device", "torch", "git", "compiled", "threads")
        if theirs.get(name) != ours.get(name)
    ]


def _job(claim: Claim, method: str | None, dataset: str | None) -> Job:
    """The run of a record with its steps for a budget."""
    record, cell = claim.record, claim.record.result.cell
    if not record.result.scores:
        raise UserError(f"{claim.path} has no scores to compare with; its run ended as {record.result.status}")
    steps = sum(record.result.steps_done.values())
    if not steps and any(record.result.steps_planned.values()):
        raise UserError(f"{claim.path} is of a run whose budget left no step; there is nothing to replay")
    found = find_method(method or cell.method)
    if found.name != cell.method:
        raise UserError(f"{claim.path} is of {cell.method}, and {method} is of {found.name}; give its file")
    hyperparameters = dataclasses.asdict(make_method(found, cell.hyperparameters))
    budget = Budget(steps=steps or None, peak_bytes=cell.budget.peak_bytes)
    return Job(
        record.board,
        cell.model_copy(update={"budget": budget, "hyperparameters": hyperparameters}),
        record.result.seed,
        method=method or cell.method,
        method_source=source_digest(found),
        dataset=dataset or cell.dataset,
        snapshots=(),
        curve=False,
        compile=record.measured.environment.get("compiled") is True,
        checkpoint_seconds=Board.model_fields["checkpoint_seconds"].default,
        stall_seconds=None,
        network_files=files_of(cell.all_networks),
    )


def _device(cell: Cell, device: str) -> str:
    """The device of a replay, of the kind that the record names."""
    if device == "auto":
        return cell.device
    if resolve_device(device).type != cell.device:
        raise UserError(f"the record is of a run on {cell.device}, and not on {device}; leave out --device")
    return device


@contextmanager
def _decoys(job: Job, noise: bool) -> Iterator[Job]:
    """The job, whose process finds noise where it looks for test data, if that is wanted."""
    if not noise:
        yield job
        return
    with tempfile.TemporaryDirectory(prefix="ddbench-") as folder:
        job.modality.lay_noise(job.dataset, Path(folder))
        yield dataclasses.replace(job, decoys=folder)
