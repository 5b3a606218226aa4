"""Many runs, each in a process of its own: what is done, what is left, and what becomes of the processes."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import os
import warnings
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import psutil
import pytest
import torch
from rich.console import Console

from ddbench.boards.board import make_board
from ddbench.cli.progress import Display, Gauge
from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json, digest
from ddbench.io.locks import claimed
from ddbench.records.files import problems, read_record
from ddbench.runs import api as boards
from ddbench.runs.executors import inside
from ddbench.runs.executors.inside import Line
from ddbench.runs.executors.lane import Lane
from ddbench.runs.plan import Event, Plan, plan_runs, run_jobs
from factories import jobs_of, outer, run, run_here

BOARD = {"board": "b", "datasets": ["digits"], "ipc": 1, "entries": [{"methods": "random_real"}]}


def test_a_worker_that_dies_is_recorded_and_the_others_go_on(tmp_path: Path, write: Callable[..., str]) -> None:
    jobs = outer(
        write("dies", "os._exit(7)"), write("mistaken", "raise UserError('set iterations to 3')"), write("sound")
    )
    events = list[Event]()
    out = tmp_path / "out"
    records = run_jobs(plan_runs(jobs, out), out, workers=1, device="cpu", on_event=events.append)
    found = {record.result.cell.method: record for record in records}
    assert list(found) == ["dies", "mistaken", "sound"]
    assert {name: record.result.status for name, record in found.items()} == {
        "dies": "crashed", "mistaken": "failed", "sound": "ok",
    }  # fmt: skip
    assert found["dies"].result.reason == "the process ended by itself with exit code 7"
    assert found["mistaken"].result.reason == "set iterations to 3"
    assert len(found["sound"].result.scores) == 1
    for job in jobs:
        folder = out / job.folder
        assert problems(folder / "record.json") == []
        assert read_record(folder / "record.json") == found[job.cell.method]
    kinds = [(event.job.cell.method, event.kind) for event in events if event.kind not in ("progress", "logged")]
    assert kinds == [(name, kind) for name in found for kind in ("started", "finished")]
    assert all(event.record is not None for event in events if event.kind == "finished")
    assert {event.job.cell.method for event in events if event.kind == "progress"} <= set(found)

    again = plan_runs(jobs[1:], out)
    assert again.jobs == []
    assert sorted(record.key for record in again.records) == sorted(job.key for job in jobs[1:])
    assert run_jobs(again, out, workers=1, device="cpu") == again.records


@pytest.mark.usefixtures("short")
def test_a_worker_whose_parent_is_gone_records_nothing(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Left(BaseException):
        """Stands for the end of the process."""

    def leave(code: int) -> None:
        raise Left

    (job,) = jobs_of(write("mine", "time.sleep(0.25)"))  # long enough for a report within the method
    monkeypatch.setattr(Line, "_heed", lambda line, lifeline: None)
    monkeypatch.setattr(inside.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(os, "_exit", leave)
    inbox, outbox = Pipe(duplex=False)
    inbox.close()
    with pytest.raises(Left), outbox:
        run(job, tmp_path / "run", tmp_path / "cache", torch.device("cpu"), Line(outbox, outbox).report)
    assert not (tmp_path / "run" / "distilled.partial").exists()
    assert not (tmp_path / "run" / "error.txt").exists()


def test_a_folder_in_use_is_refused_before_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other command finishes meanwhile would be made again, over its record."""
    out = tmp_path / "out"
    monkeypatch.setattr(boards, "plan_runs", lambda *_: pytest.fail("surveyed"))
    with (
        claimed(out),
        pytest.raises(UserError, match=f"{out} is in use by another ddbench; wait for it, or choose another --out"),
    ):
        boards.evaluate(make_board(BOARD), out, device="cpu")
    assert not list(out.glob("*/*"))
    with claimed(out):  # it was given back
        pass


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_run_whose_surroundings_were_not_right_is_made_again(tmp_path: Path, write: Callable[..., str]) -> None:
    path, out = write("mine"), tmp_path / "out"
    text = Path(path).read_text()
    todo = plan_runs(outer(path), out)
    Path(path).write_text(text + "EDITED = 1\n")
    (record,) = run_jobs(todo, out, workers=1, device="cpu")
    assert record.result.status == "crashed"
    assert (record.result.reason or "").endswith("has changed since the command began; run the command again")
    Path(path).write_text(text)
    (record,) = run_jobs(plan_runs(outer(path), out), out, workers=1, device="cpu")
    assert record.result.status == "ok"


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_the_memory_of_scoring_is_not_limited(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = outer(write("mine"), peak_bytes=4 * 10**9)
    lane = Lane(torch.device("cpu"), tmp_path / "cache", lambda event: None)
    limits = list[bool]()
    try:
        record = lane.start(job, tmp_path / "run")
        while record is None:
            if lane.process is not None and lane.process.watch is not None:
                limits.append(lane.process.watch.bounds_memory)
            record = lane.look()
    finally:
        lane.end()
    assert record.result.status == "ok"
    assert [limit for limit, _ in itertools.groupby(limits)] == [False, True, False]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    with pytest.raises(UserError, match=r"cannot write to .*/file/out \(Not a directory\); choose another folder"):
        boards.evaluate(make_board(BOARD), out, device="cpu")


@pytest.mark.usefixtures("short")
def test_survey_repeats_nothing_unless_asked(tmp_path: Path, write: Callable[..., str]) -> None:
    path, out = write("mine"), tmp_path / "out"
    jobs = jobs_of(path, seeds=2)
    first, second = plan_runs(jobs, out).jobs
    assert [folder for _, folder in (first, second)] == [out / job.folder for job in jobs]
    done = run_here(*first)
    assert plan_runs(jobs, out).jobs == [second]
    assert plan_runs(jobs, out).records == [done]

    again = plan_runs(jobs, out, again=True)
    assert [folder.name for _, folder in again.jobs] == [f"{first[1].name}-2", second[1].name]
    assert again.records == [done]

    Path(path).write_text(Path(path).read_text() + "CHANGED = 1\n")
    changed = plan_runs(jobs_of(path, seeds=2), out)
    assert [job.seed for job, _ in changed.jobs] == [1]
    assert (changed.records, changed.changed) == ([done], ["mine"])
    assert plan_runs(jobs, out).changed == []


@pytest.mark.usefixtures("short")
def test_a_record_of_the_old_rule_is_compared_by_it(tmp_path: Path, write: Callable[..., str]) -> None:
    """Its digest is that of the file's bytes."""
    path, out = Path(write("mine")), tmp_path / "out"
    (job,) = jobs_of(str(path))
    done = run_here(dataclasses.replace(job, method_source=digest(path.read_bytes())), out / job.folder)
    todo = plan_runs([job], out)
    assert (todo.jobs, todo.records, todo.changed) == ([], [done], [])
    path.write_text(path.read_text() + "# a comment\n")
    todo = plan_runs(jobs_of(str(path)), out)
    assert (todo.jobs, todo.records, todo.changed) == ([], [done], ["mine"])


@pytest.mark.usefixtures("short")
def test_a_run_that_a_board_names_twice_is_done_once(tmp_path: Path, write: Callable[..., str]) -> None:
    path = write("mine")
    jobs = jobs_of(path, path, ipc=[1, 1])
    ((job, folder),) = plan_runs(jobs, tmp_path / "out").jobs
    done = run_here(job, folder)
    todo = plan_runs(jobs, tmp_path / "out")
    assert (todo.jobs, todo.records) == ([], [done])


def spoil(path: Path) -> None:
    """Change one bit of a digit in the last number of a file, or near its end if it is none of text."""
    content = bytearray(path.read_bytes())
    digits = [place for place, byte in enumerate(content) if chr(byte) in "2468"]
    content[digits[-1]] ^= 1
    path.write_bytes(content)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("spoil_it", "reason"),
    [
        (spoil, "its checksum does not match"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "no readable JSON: "),
        (lambda path: path.write_bytes(b"[]"), "its checksum does not match"),
    ],
    ids=["bit", "torn", "list"],
)
def test_a_damaged_record_is_set_aside_and_made_anew(
    tmp_path: Path, write: Callable[..., str], spoil_it: Callable[[Path], object], reason: str
) -> None:
    (job,), out = jobs_of(write("mine")), tmp_path / "out"
    folder = out / job.folder
    done = run_here(job, folder)
    spoil_it(folder / "record.json")
    bad = (folder / "record.json").read_bytes()
    todo = plan_runs([job], out)
    (sentence,) = todo.damaged
    assert sentence.startswith(f"{folder / 'record.json'} is damaged ({reason}")
    assert sentence.endswith("; it is kept as record.json.damaged and made anew")
    assert (folder / "record.json.damaged").read_bytes() == bad
    assert (todo.jobs, todo.records) == ([(job, folder)], [])
    assert run_here(job, folder).result == done.result
    assert (plan_runs([job], out).jobs, plan_runs([job], out).damaged) == ([], [])


@pytest.mark.usefixtures("short")
def test_a_damaged_artefact_is_set_aside_and_its_run_made_anew(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,), out = jobs_of(write("mine")), tmp_path / "out"
    done = run_here(job, out / job.folder)
    path = out / job.folder / "artifact.safetensors"
    spoil(path)
    todo = plan_runs([job], out)
    assert todo.damaged == [
        f"{path} is damaged (its digest is not the one in its record); "
        "it is kept as artifact.safetensors.damaged and made anew"
    ]
    again = out / f"{job.folder}-2"
    assert (todo.jobs, todo.records) == ([(job, again)], [done])
    assert plan_runs([job], out).jobs == todo.jobs, "also when the command was interrupted in between"
    assert run_here(job, again).result == done.result
    assert plan_runs([job], out).jobs == []
    path.with_name("artifact.safetensors.damaged").unlink()
    (again / "artifact.safetensors").unlink()  # nobody needs it any more
    assert plan_runs([job], out).jobs == []


@pytest.mark.usefixtures("short")
def test_a_record_of_another_schema_stops_the_survey(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,), out = jobs_of(write("mine")), tmp_path / "out"
    run_here(job, out / job.folder)
    path = out / job.folder / "record.json"
    content = json.loads(path.read_bytes()) | {"schema_version": 2}
    del content["checksum"]
    path.write_text(json.dumps({**content, "checksum": digest(canonical_json(content))}))
    with pytest.raises(UserError, match="has schema version 2; this ddbench reads 1"):
        plan_runs([job], out)
    assert path.exists()


def test_what_writers_left_half_written_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "cache").mkdir(parents=True)
    (out / "cache" / ".experts.safetensors.1a2b.part").write_bytes(b"half")
    (out / "cache" / "experts.safetensors").write_bytes(b"whole")
    run_jobs(plan_runs([], out), out)
    assert [path.name for path in (out / "cache").iterdir()] == ["experts.safetensors"]


def test_a_live_display_reads_no_markup(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = outer(write("quiet"))
    job = dataclasses.replace(job, cell=job.cell.model_copy(update={"dataset": "my [/set]"}))
    shown = io.StringIO()
    with Display(Console(file=shown, width=200, markup=False, force_terminal=True)) as display:
        display.todo(Plan([(job, tmp_path)], [], [], []))
        display.event(Event(job, "started"))
        display.event(Event(job, "progress", "[/red] 1/2", 0.5))
    assert "quiet my [/set] ipc 1 seed 0" in shown.getvalue()
    assert "[/red] 1/2" in shown.getvalue()


def test_a_gauge_shows_the_stage_that_is_under_way() -> None:
    shown = io.StringIO()
    with Gauge(Console(file=shown, width=200, force_terminal=True)) as gauge:
        gauge("pool", 0.5)
        gauge("evaluate", 0.25)
    last = [line for line in shown.getvalue().splitlines() if " %" in line][-1]
    assert "evaluate" in last
    assert "25 %" in last
    assert "pool" not in last
    with Gauge(Console(file=(elsewhere := io.StringIO()))) as gauge:
        gauge("pool", 0.5)
    assert elsewhere.getvalue() == ""


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_warning_of_a_worker_is_shown_once(tmp_path: Path, write: Callable[..., str]) -> None:
    text = "import warnings; warnings.warn('slower [than] it could be')"
    jobs = outer(write("loud", text), write("louder", text))
    shown = io.StringIO()
    display = Display(Console(file=shown, width=200, markup=False))
    out = tmp_path / "out"
    todo = plan_runs(jobs, out)
    display.todo(todo)
    run_jobs(todo, out, workers=1, device="cpu", on_event=display.event)
    assert shown.getvalue().count("warning: slower [than] it could be\n") == 1


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_many_runs_leave_no_file_open(tmp_path: Path, write: Callable[..., str]) -> None:
    me, out = psutil.Process(), tmp_path / "out"
    (first, *others) = outer(write("mine", end="raise ValueError(str(images.sum()))"), seeds=11)
    run_jobs(plan_runs([first], out), out)  # starts the server that forks
    before = me.num_fds(), len(me.children())
    records = run_jobs(plan_runs(others, out), out, workers=2)
    assert [record.result.status for record in records] == ["failed"] * 10
    assert (me.num_fds(), len(me.children())) == before
