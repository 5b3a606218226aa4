"""Methods that try to gain by other means than good images: each is refused, or shown as what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddbench.records.schema import COUNTED, Record
from ddbench.runs.outside import GRACE_SECONDS
from ddbench.runs.plan import Event, plan_runs, read_runs, run_jobs
from factories import by_method, outer, write_method
from processes import alive

pytestmark = pytest.mark.slow  # methods that work for seconds, in processes of their own; `.ci/run` carries them out

HELPERS = '''
import json, subprocess, tempfile, threading
import psutil
from dataclasses import replace

PROGRAM = "import time\\nwhile time.process_time() < 2.5: pass"

def burn(seconds):
    """Work, and do not sleep."""
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        sum(range(10_000))

def fork(work):
    """Leave work to a child that nobody waits for."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child

def until_it_has_worked(pid):
    """However busy the machine is."""
    while sum(psutil.Process(pid).cpu_times()[:2]) < 2.5:
        time.sleep(0.05)

def daemon():
    """Work beyond one's own end, in a session of one's own, without a parent."""
    source, sink = os.pipe()
    def second():
        os.setsid()
        os.write(sink, str(fork(lambda: burn(600))).encode())
    fork(second)
    worker = int(os.read(source, 20))
    Path(__file__).with_name("daemon").write_text(str(worker))
    until_it_has_worked(worker)

def aside():
    """Work in a child, and wait for it."""
    child = os.fork()
    if child == 0:
        burn(2.5)
        os._exit(0)
    os.waitpid(child, 0)

def ignored():
    """Work in a child whose time the system forgets."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    until_it_has_worked(fork(lambda: burn(600)))

def paused(meter):
    with meter.paused("thinking"):
        burn(2.5)

def patched(meter):
    meter.timer._clock = type("Still", (), {name: lambda self: 0.0 for name in ("tick", "settle", "helpers")})()
    burn(2.5)

def emptied(meter):
    burn(2.5)
    meter.timer._mark = time.process_time()

def seen(meter):
    """What the closure of a hook leads to."""
    held = [cell.cell_contents for cell in meter._hooks.snapshot.__closure__]
    context = next(thing for thing in held if hasattr(thing, "job"))
    job = context.job
    return job.modality.evaluator(job.cell, job.dataset, context.place)

class Other(DistilledDataset):
    pass
'''
REFUSED = {
    "loads_test_images": {"start": "from ddbench.data import load_dataset; load_dataset('digits')"},
    "returns_a_subclass": {"end": "return Other({'images': images, 'labels': labels})"},
    "stores_another_part": {
        "end": "return DistilledDataset({'images': images, 'labels': labels, 'notes': torch.ones(7)})"
    },
    "stores_a_long_recipe": {
        "end": "from ddbench import Recipe; order = torch.zeros(10_000, 1).long(); "
        "return replace(result(), recipe=Recipe(order=order))"
    },
    "stores_weights_where_none_belong": {
        "end": "return replace(result(), initial=task.initial(torch.Generator().manual_seed(0)))"
    },
    "asks_a_hook": {"start": "seen(meter)"},  # last: a board whose first runs fail alike is stopped
}
SAID = {
    "loads_test_images": "load_dataset is closed to it",
    "asks_a_hook": "load_dataset is closed to it",
    "returns_a_subclass": "TypeError: distill returned a Other; return a DistilledDataset",
    "stores_another_part": "ValueError: decoder 'pixels' reads images, labels, and not notes",
    "stores_a_long_recipe": "ValueError: the recipe takes 80000 bytes; 65536 are the most",
    "stores_weights_where_none_belong": "stores initial weights, and setting random with seed 0 has no use for them",
}
TIMES = {
    "works_aside": {"start": "aside()"},
    "works_in_a_program": {"start": "subprocess.run([sys.executable, '-c', PROGRAM])"},
    "works_unseen": {"start": "ignored()"},
    "works_as_a_daemon": {"start": "daemon()"},
    "works_in_a_pause": {"start": "paused(meter)"},
    "stops_the_clock": {"start": "patched(meter)"},
    "empties_the_ledger": {"start": "emptied(meter)"},
}
OVERDRAWN = {
    "takes_one_long_step": {"body": "step or burn(4)"},
    "works_after_the_last_step": {"end": "burn(4); return result()"},
}


def cheat(folder: Path, name: str, **lines: str) -> str:
    path = Path(write_method(folder, name, **lines))
    path.write_text(path.read_text().replace("@register_method", f"{HELPERS}\n@register_method", 1))
    return str(path)


def records_of(folder: Path, cheats: dict[str, dict[str, str]], **values: Any) -> dict[str, Record]:
    jobs = outer(*(cheat(folder, name, **lines) for name, lines in cheats.items()), **values)
    return by_method(run_jobs(plan_runs(jobs, folder / "out"), folder / "out", workers=2))


@pytest.mark.usefixtures("methods")
def test_what_is_no_distilled_set_of_the_run_is_refused(tmp_path: Path) -> None:
    found = records_of(tmp_path, REFUSED)
    assert {name: record.result.status for name, record in found.items()} == dict.fromkeys(REFUSED, "failed")
    for name, sentence in SAID.items():
        assert sentence in (found[name].result.reason or ""), name
    assert not any(record.result.scores or record.result.artifact for record in found.values())


@pytest.mark.usefixtures("methods")
def test_weights_of_ones_own_do_not_pass_for_those_of_the_seed(tmp_path: Path) -> None:
    trained = "return replace(result(), initial={name: 2 * weight for name, weight in task.initial().items()})"
    found = records_of(tmp_path, {"trains_them": {"end": trained}, "honest": {}}, setting="fixed")
    assert (found["honest"].result.status, found["honest"].stored_bytes["initial"] > 0) == ("ok", True)
    assert found["trains_them"].result.status == "failed"
    said = "its initial weights are not those of setting fixed with seed 0"
    assert said in (found["trains_them"].result.reason or "")


@pytest.mark.usefixtures("methods")
def test_time_is_counted_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GRACE_SECONDS, "cpu", 1.5)
    found = records_of(tmp_path, {**TIMES, "honest": {"body": "burn(0.1)"}})
    said = {name: (record.result.status, record.result.reason) for name, record in found.items()}
    assert said.pop("honest") == ("ok", None)
    status, reason = said.pop("stops_the_clock")
    assert (status, reason) == (
        "failed",
        "it says of seconds.distil: input should be greater than or equal to 0",
    )
    del found["stops_the_clock"]
    assert {name: status for name, (status, _) in said.items()} == dict.fromkeys(said, "unaccounted"), said
    for record in found.values():
        assert record.result.scores, "they are shown, and do not count"
        assert (record.accuracy is None) == (record.result.status not in COUNTED)
        assert record.measured.outside_seconds is not None
    assert not alive(int((tmp_path / "daemon").read_text())), "helpers end with the run"


@pytest.mark.usefixtures("methods")
def test_more_work_than_the_budget_is_said(tmp_path: Path) -> None:
    found = records_of(tmp_path, OVERDRAWN, budget="1s")
    assert {name: record.result.status for name, record in found.items()} == dict.fromkeys(OVERDRAWN, "overdrawn")
    for record in found.values():
        assert record.charged_seconds > 3.5
        assert (record.result.reason or "").endswith("were charged to a budget of 1 s")
        assert record.result.scores
        assert record.accuracy is None


@pytest.mark.usefixtures("methods")
def test_scores_come_from_the_file_alone(tmp_path: Path) -> None:
    forged = (
        "import ddbench.evaluation.trainer as t; t.share = lambda marks: 1.0; "
        "t.ImageEvaluator.score = lambda *a, **k: 1 / 0"
    )
    found = records_of(tmp_path, {"patches_the_evaluator": {"start": forged}, "honest": {}})
    assert found["patches_the_evaluator"].result.scores == found["honest"].result.scores


@pytest.mark.usefixtures("methods")
def test_a_seed_leaves_the_next_one_no_temporary_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    looks = (
        "mark = Path(tempfile.gettempdir(), 'mark'); "
        f"open({str(log)!r}, 'a').write(f'{{mark.exists()}} '); mark.touch()"
    )
    found = outer(cheat(tmp_path, "shares", start=looks), seeds=2)
    run_jobs(plan_runs(found, tmp_path / "out"), tmp_path / "out")
    assert log.read_text() == "False False "


@pytest.mark.usefixtures("methods")
@pytest.mark.parametrize("harm", ["rewrites", "removes"])
def test_the_record_of_another_run_is_put_back(tmp_path: Path, harm: str) -> None:
    out, events = tmp_path / "out", list[Event]()
    lines = {
        "rewrites": f"[p.write_text('{{}}') for p in Path({str(out)!r}).glob('a/*/record.json')]",
        "removes": f"import shutil; shutil.rmtree({str(out / 'a')!r})",
    }
    jobs = outer(cheat(tmp_path, "a"), cheat(tmp_path, "b", start=lines[harm]))
    first, second = run_jobs(plan_runs(jobs, out), out, on_event=events.append)
    warnings = [event.stage for event in events if event.kind == "warning"]
    (kept,) = [record for record in read_runs(out) if record.result.cell.method == "a"]
    assert second.result.status == "ok"
    assert kept == first
    if harm == "rewrites":
        assert [text.endswith("was changed or removed meanwhile; it was put back") for text in warnings] == [True]
        assert kept.result.status == "ok"
    else:
        assert [text.endswith("the same command makes the run again") for text in warnings] == [True]
        assert kept.result.status == "crashed"
        again = plan_runs(jobs, out)
        assert [job.cell.method for job, _ in again.jobs] == ["a"]
        assert {record.result.status for record in run_jobs(again, out)} == {"ok"}


def test_a_training_file_that_was_changed_is_not_learned_from(tmp_path: Path, write: Callable[..., str]) -> None:
    out = tmp_path / "out"
    spoils = f"[p.write_bytes(p.read_bytes()[:-1] + b'x') for p in Path({str(out)!r}).glob('cache/training/*/*')]"
    jobs = outer(write("spoils", start=spoils), write("honest"))
    spoiler, honest = run_jobs(plan_runs(jobs, out), out)
    assert (spoiler.result.status, honest.result.status) == ("ok", "crashed")
    assert (honest.result.reason or "").endswith("was changed after it was written; run the command again")
    assert {record.result.status for record in run_jobs(plan_runs(jobs, out), out)} == {"ok"}


def test_a_run_holds_no_test_images(tmp_path: Path, write: Callable[..., str]) -> None:
    """No tensor of the process, and no file that it was given, has the pixels of a test image."""
    out = tmp_path / "out"
    counts = (
        "import gc; shapes = sorted({tuple(t.shape) for t in gc.get_objects() if isinstance(t, torch.Tensor) "
        f"and t.ndim == 4 and len(t) > 100}}); Path({str(tmp_path / 'shapes')!r}).write_text(str(shapes)); "
        f"Path({str(tmp_path / 'data')!r}).write_text(str(os.environ.get('DDBENCH_DATA')))"
    )
    (record,) = run_jobs(plan_runs(outer(write("looks", start=counts)), out), out)
    assert record.result.status == "ok"
    assert (tmp_path / "shapes").read_text() == "[(1438, 1, 8, 8)]"
    assert (tmp_path / "data").read_text() == "None"
