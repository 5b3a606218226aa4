"""Race methods and controls on somebody's data, within a time: the winner's set, and what it is worth."""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddbench.boards.board import Board
from ddbench.boards.chosen import with_chosen
from ddbench.boards.command_line import board_of
from ddbench.boards.jobs import Job
from ddbench.boards.racing import VALIDATION, Candidate, Conditions, candidates_of, round_jobs, round_sizes
from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json, digest, write_atomically
from ddbench.io.locks import claimed
from ddbench.leaderboard.rows import describe_budget
from ddbench.records.files import write_record
from ddbench.records.notation import make_network, parse_seconds
from ddbench.records.run_folder import record_beside
from ddbench.records.schema import Record
from ddbench.registry import discover
from ddbench.runs.executors.local import Local
from ddbench.runs.plan import Event, Plan, artifact_of, identity_of, plan_runs, read_runs, run_jobs
from ddbench.runs.race_result import Race, Round, Standing
from ddbench.runs.race_time import START_SECONDS, RaceTime
from ddbench.runs.remaining import forecast_left

BOARD = "race"
"""board of the candidates, where none is named"""
NETWORKS = 5
"""networks that are trained on the final sets"""
ENDLESS = 1e6
"""seconds of a budget that no control uses up"""
STATE, WINNER = "race.state", "winner.safetensors"


@dataclass(frozen=True)
class RaceWatcher:
    """Who watches a race: functions that are told how far it is."""

    on_round: Callable[[str], None] = lambda sentence: None
    """told what is run next, in a sentence"""
    on_start: Callable[[Plan], None] = lambda todo: None
    """told what is left to do of a round"""
    on_event: Callable[[Event], None] = lambda event: None
    """told what happens, for a display"""
    on_warning: Callable[[str], None] = lambda sentence: None
    """told a sentence for each candidate that is left out"""


def race(
    dataset: str,
    out: str | Path | None = None,
    *,
    ipc: int = 1,
    time: str | float | None = None,
    steps: int | None = None,
    candidates: Board | Mapping[str, Any] | str | Path | None = None,
    network: str | None = None,
    protocol: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    watcher: RaceWatcher | None = None,
) -> Race:
    """Find the best distilled set of somebody's data within a time, and say what it is worth.

    Methods run against each other by successive halving, scored on a fifth of the training images that they do not see:
    half of them go on, with twice the seconds. In the last round the controls join, which learn no images. The best is
    then made of all training images in the time that is left, and tested beside the best of the other kind. No test
    image has a part in the choice. Calling it again resumes what was interrupted and repeats nothing.

    >>> print(ddbench.race("./photos", ipc=10, time="30m").sentence)  # doctest: +SKIP

    Args:
        dataset: a name, an `.npz` file or a folder of class folders
        out: folder of the runs, tables and `winner.safetensors`; None is `runs/race-DATASET-ipcN`
        time: what the race takes by the wall: `10m`, `1h`, or seconds
        steps: in its place, steps of a run of the first round
        candidates: a board whose methods and settings run, its network and protocol taken; None is the board `race`
        network: in place of the board's, `convnet,width=64`
        protocol: in place of the board's
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`
        workers: runs side by side; None is one on a CPU, or one on each GPU

    Raises:
        UserError: before anything runs, when a part does not fit or the time is too short.
    """
    discover()
    watching, board = watcher or RaceWatcher(), board_of(BOARD if candidates is None else candidates)
    changes = {"network": make_network(network)} if network is not None else {}
    board = board.model_copy(update={**changes, **({"protocol": protocol} if protocol is not None else {})})
    limit = _limit(time, steps)
    fielded = candidates_of(board, dataset, ipc, device, watching.on_warning)
    (job,) = round_jobs(board, dataset, ipc, [fielded[0].entry], Conditions(None, 1, None, 1), device)
    stem = Path(job.cell.dataset).stem.partition("[")[0]
    folder = Path(out) if out is not None else Path("runs") / f"race-{stem}-ipc{ipc}"
    asked = [job.cell.dataset_digest, ipc, limit, steps, str(board.network), board.protocol]
    asked += [[one.label, one.entry.set] for one in fielded]
    with claimed(folder):
        executor = Local.named(device, workers)
        clock = RaceTime(folder / STATE, digest(canonical_json(asked)), limit or 0.0, len(executor.devices))
        running = _Running(board, dataset, ipc, device, folder, executor, clock, steps, watching)
        return running.carry_out(fielded)


def _limit(time: str | float | None, steps: int | None) -> float | None:
    if (time is None) == (steps is None):
        raise UserError("say how long the race may take, --time 30m, or what a run of its first round may, --steps 100")
    if steps is not None and steps < 1:
        raise UserError(f"{steps} steps are none; give one or more")
    try:
        seconds = parse_seconds(time)
    except ValueError as error:
        raise UserError(f"time: {error}") from error
    if isinstance(seconds, int | float) and not 0 < seconds < float("inf"):
        raise UserError(f"a race of {seconds:g} s has no time; give --time 10m or more")
    return None if seconds is None else float(seconds)  # type: ignore[arg-type]  # `parse_seconds` gives a number


@dataclass
class _Running:
    """A race under way."""

    board: Board
    dataset: str
    ipc: int
    device: str
    folder: Path
    executor: Local
    clock: RaceTime
    steps: int | None
    watcher: RaceWatcher
    jobs: list[Job] = field(default_factory=list)
    """every run so far"""

    def carry_out(self, fielded: Sequence[Candidate]) -> Race:
        methods = [one for one in fielded if not one.control]
        controls = [one for one in fielded if one.control]
        rounds, left, sizes = list[Round](), methods, round_sizes(len(methods))
        aside, unknown = self._aside(controls)
        for place, size in enumerate(sizes):
            left = _ordered(rounds[-1])[:size] if rounds else left
            running = [*left, *(controls if place + 1 == len(sizes) else [])]
            counts = [*sizes[place:-1], sizes[-1] + unknown, 1]
            rounds.append(self._round(place, running, counts, VALIDATION, aside))
        method, control = rounds[-1].best(False), rounds[-1].best(True)
        ahead = [one for one in (method, control) if one is not None]
        ahead.sort(key=lambda one: -(one.accuracy or 0.0))  # the method first where both are equal
        winner, other = ([one.candidate for one in ahead] + [None, None])[:2]
        finalists = [one.candidate for one in ahead]
        again = self._again(control) if control else 0.0
        test = self._round(len(sizes), finalists, [1], None, again) if finalists else Round("", ())
        return self._finish(tuple(rounds), winner, other, test)

    def _round(
        self,
        place: int,
        running: Sequence[Candidate],
        counts: Sequence[int],
        validation: float | None,
        aside: float,
    ) -> Round:
        """Carry out a round, as far as it is not done.

        Args:
            counts: number of runs of it and of each later one, without controls whose time is known
            validation: share of the training images to score on; None makes the final sets
            aside: seconds of these controls, in the last round or in the final one
        """
        networks = NETWORKS if validation is None else self.board.networks
        seconds, steps, scoring = None, None, 0.0
        if self.steps is not None:
            steps = self.steps * 2**place
        else:
            forecasts = self._scoring(running, counts, validation)
            scoring, seconds = forecasts[0], self.clock.budget(place, counts, forecasts, aside)
        conditions = Conditions(seconds, steps, validation, networks)
        jobs = self._jobs(running, conditions)
        if not jobs:
            return Round("", ())
        spent, names = describe_budget(jobs[0].cell.budget), ", ".join(one.label for one in running)
        what = "the final sets, of all training images" if validation is None else f"round {place + 1}"
        self.watcher.on_round(f"{what}, {spent} a run: {names}")
        records = self._run(jobs, scoring)
        found = {identity_of(record.result.cell, record.result.seed): record for record in records}
        standings = [Standing(one, found.get(identity_of(job.cell, 0))) for one, job in zip(running, jobs, strict=True)]
        return Round(spent, tuple(standings))

    def _aside(self, controls: Sequence[Candidate]) -> tuple[float, int]:
        """Forecast the seconds of the controls, side by side, from records of like ones; and count those without any.

        They end by themselves, long before a method's budget.
        """
        if self.steps is not None or not controls:
            return 0.0, 0
        jobs = self._jobs(controls, Conditions(ENDLESS, None, VALIDATION, self.board.networks))
        cells = forecast_left(Plan([(job, self.folder) for job in jobs], [], [], []), self.device).cells
        known = [cell.distil + cell.evaluate for cell in cells if cell.distil is not None and cell.distil < ENDLESS]
        return sum(known, START_SECONDS * len(known)) / len(self.executor.devices), len(cells) - len(known)

    def _again(self, control: Standing) -> float:
        """Return the seconds that a control takes with all training images, after the last round."""
        assert control.record is not None  # it has a score
        measured = control.record.measured
        scoring = measured.uncharged_seconds.get("evaluation", 0.0) * NETWORKS / len(control.record.result.scores)
        return START_SECONDS + scoring + control.record.charged_seconds / (1 - VALIDATION)

    def _run(self, jobs: list[Job], scoring: float) -> list[Record]:
        plan, began = plan_runs(jobs, self.folder), clocks.monotonic()
        self.watcher.on_start(plan)

        def listen(event: Event) -> None:
            if event.kind == "finished":
                self.clock.keep()
            self.watcher.on_event(event)

        try:
            records = run_jobs(plan, self.folder, executor=self.executor, on_event=listen)
        finally:
            self.clock.keep()
        new = {job.key for job, _ in plan.jobs}
        self.clock.learn([one for one in records if one.key in new], clocks.monotonic() - began, scoring)
        self.jobs += jobs
        return sorted(records, key=lambda record: record.measured.finished)

    def _jobs(self, running: Sequence[Candidate], conditions: Conditions) -> list[Job]:
        entries = [one.entry for one in running]
        return round_jobs(self.board, self.dataset, self.ipc, entries, conditions, self.device) if entries else []

    def _scoring(self, running: Sequence[Candidate], counts: Sequence[int], validation: float | None) -> list[float]:
        """Forecast the seconds of scoring a run of a round, and of each later one; the last has the final sets."""
        ways = [(VALIDATION, self.board.networks)] * (len(counts) - 1) + [(None, NETWORKS)]
        if not running:
            return [0.0] * len(counts)
        known = dict[Any, float]()
        for share, networks in dict.fromkeys(ways):
            jobs = self._jobs(running[:1], Conditions(1.0, None, share, networks))
            todo = Plan([(job, self.folder) for job in jobs], [], [], [])
            known[share, networks] = forecast_left(todo, self.device).cells[0].evaluate
        return [known[way] for way in ways]

    def _finish(
        self, rounds: tuple[Round, ...], winner: Candidate | None, other: Candidate | None, test: Round
    ) -> Race:
        """Write the tables and the winner's set."""
        from ddbench.leaderboard import render

        records = read_runs(self.folder)
        title = f"A race on {Path(self.dataset).name}, ipc {self.ipc}"
        if records:
            render(records, self.folder, title, with_chosen(self.jobs))
        size, ours = self.jobs[-1].size() if self.jobs else None, test.of(winner)
        file = None
        if ours is not None and ours.record is not None and ours.record.result.artifact is not None:
            file = self.folder / WINNER
            write_record(record_beside(file), ours.record)
            write_atomically(file, artifact_of(ours.record, self.folder).read_bytes())
        return Race(self.folder, rounds, winner, other, test, size.test if size else 0, file)


def _ordered(finished: Round) -> list[Candidate]:
    """Return the methods of a round that have a score, the most accurate first."""
    scored = [one for one in finished.standings if one.accuracy is not None and not one.candidate.control]
    return [one.candidate for one in sorted(scored, key=lambda one: -(one.accuracy or 0.0))]
