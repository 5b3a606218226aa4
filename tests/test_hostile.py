"""Files and surroundings that strangers, other releases and full disks leave: a sentence each, at once, and no harm."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.releases import read_release
from ddbench.boards.board import make_board
from ddbench.data import load_npz, make_dataset, resized
from ddbench.data import resize as resizing
from ddbench.decoders import make_decoder
from ddbench.errors import CannotWrite, UserError
from ddbench.io.atomic import canonical_json, digest, write_sealed
from ddbench.io.documents import parse_json, parse_yaml
from ddbench.records.contradictions import MOST_SECONDS, MOST_SHARE, contradictions
from ddbench.records.files import problems, write_record
from ddbench.records.schema import Record
from ddbench.runs.api import evaluate
from ddbench.runs.executors import process
from ddbench.runs.executors.process import Process
from ddbench.runs.plan import plan_runs, run_jobs
from ddbench.site.pictures import picture
from ddbench.task.weight_files import describe
from factories import (
    jobs_of,
    make_record,
    outer,
    rewrite_artifact,
    run_here,
    toy,
    toy_arrays,
    write_board,
)
from processes import console, start, watchdog

# -- files ------------------------------------------------------------------------------------------------------------


def seven_hallucinators_with_weights_of_one(path: Path) -> None:
    """What passes where only shapes are looked at."""
    decoder = make_decoder("hallucinators", {"count": 1, "channels": 1})
    generator = torch.Generator().manual_seed(0)
    parts = decoder.start(lambda n: torch.zeros(2 * n, 1, 8, 8), (1, 8, 8), 2, 10, generator)
    DistilledDataset(parts, decoder).save(path)
    rewrite_artifact(path, lambda header, tensors: header["decoder_settings"].update(count=7))


def images_without_pixels(path: Path) -> None:
    DistilledDataset.pixels(torch.zeros(2, 1, 4, 4), torch.arange(2)).save(path)
    rewrite_artifact(path, lambda header, tensors: tensors.update({"parts.images": torch.zeros(2, 1, 0, 0)}))


@pytest.mark.parametrize(
    ("make", "said"),
    [(seven_hallucinators_with_weights_of_one, "Given groups=7"), (images_without_pixels, "have no pixels")],
)
def test_an_artefact_that_only_seems_to_decode_is_refused_and_a_page_goes_without_it(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "a.safetensors"
    make(path)
    with pytest.raises(UserError, match="is no sound artefact") as caught:
        DistilledDataset.load(path)
    assert said in str(caught.value)
    assert picture(path) is None


def test_a_split_with_a_seed_beyond_numpy_is_refused() -> None:
    data = toy()
    with pytest.raises(UserError, match=r"has a seed above 4294967295; choose a smaller one"):
        data.split(f"{data.digest}+validation(0.2, seed={2**32})")


def test_a_step_size_of_a_pool_has_a_bound() -> None:
    entry = {"methods": "backprop", "setting": "pretrained", "pool": {"dataset": "digits", "lr": 1e308}}
    with pytest.raises(UserError, match=r"lr.*less than or equal to 1000000"):
        make_board({"board": "b", "datasets": "digits", "ipc": 1, "entries": [entry]})


def save_with(path: Path, field: str, array: Any, old: bytes, new: bytes) -> None:
    """Write a data set whose array `field` has other bytes in its file."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in (toy_arrays() | {field: array}).items():
            file = io.BytesIO()
            np.save(file, value)
            content = file.getvalue()
            assert name != field or content.count(old) == 1
            archive.writestr(f"{name}.npy", content.replace(old, new) if name == field else content)


def test_a_shape_of_truth_values_is_no_shape(tmp_path: Path) -> None:
    save_with(tmp_path / "x.npz", "train_labels", np.zeros((1, 20), np.int64), b"(1, 20), ", b"(True,20)")
    with pytest.raises(UserError, match=r"train_labels is (damaged|no array)"):
        load_npz(tmp_path / "x.npz")


def test_class_names_beyond_unicode_are_refused(tmp_path: Path) -> None:
    names = np.array(["a", "b", "c"])
    save_with(tmp_path / "x.npz", "classes", names, names[:1].tobytes(), (0x110000).to_bytes(4, "little"))
    with pytest.raises(UserError, match=r"classes hold what is no text"):
        load_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["pipe", "/dev/ptmx"])
def test_what_may_never_end_is_not_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    for read in (lambda: describe(str(path)), lambda: read_release(path, "dc")):
        with watchdog(), pytest.raises(UserError):
            read()


def test_the_watchdog_of_these_tests_ends_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TimeoutError, match=r"no end after 0\.1 s"), watchdog(0.1):
        (tmp_path / "pipe").read_bytes()


def test_margins_take_memory_for_a_few_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = toy_arrays()
    arrays |= {name: np.repeat(arrays[name], 8, 0) for name in ("train_images", "train_labels")}
    data = make_dataset("toy", **arrays)
    sizes = list[int]()
    whole = resized(data, (3, 4, 4), margin=20).train_images
    monkeypatch.setattr(resizing, "CHUNK_NUMBERS", 50_000)
    pad = resizing.F.pad
    monkeypatch.setattr(resizing.F, "pad", lambda *a, **k: sizes.append(pad(*a, **k).numel()) or pad(*a, **k))
    assert torch.equal(resized(data, (3, 4, 4), margin=20).train_images, whole)
    assert max(sizes) <= 50_000


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["distilled.partial", "scores.partial", "outside.partial"])
def test_a_leftover_of_another_release_is_set_aside(tmp_path: Path, write: Callable[..., str], name: str) -> None:
    (job,) = jobs_of(write("mine"))
    folder = tmp_path / "run"
    folder.mkdir()
    write_sealed(folder / name, b'{"of": "the future"}')
    if name == "outside.partial":
        assert run_here(job, folder).result.status == "ok"
        return
    with pytest.warns(RuntimeWarning, match="another release wrote it"):
        assert run_here(job, folder).result.status == "ok"
    assert (folder / f"{name}.damaged").exists()


@pytest.mark.usefixtures("short")
def test_a_folder_where_a_checkpoint_belongs_is_set_aside(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"))
    (tmp_path / "run" / "checkpoint.pt").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="it is a folder"):
        assert run_here(job, tmp_path / "run").result.status == "ok"


# -- records ----------------------------------------------------------------------------------------------------------


def said_of(path: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """The complaints about a sound record that was changed and sealed again."""
    write_record(path, make_record(steps=(5, 8)))
    content = json.loads(path.read_bytes())
    del content["checksum"]
    change(content)
    content["checksum"] = digest(canonical_json(content))
    path.write_text(json.dumps(content))
    return " ".join(problems(path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["measured"]["seconds"].update(distil=800.0), "800 s charged to a budget of 120 s, and status ok"),
        (lambda c: c["result"]["steps_done"].update(distil=100), "100 steps of distil where 8 were planned"),
        (lambda c: c["result"]["steps_done"].update(distil=-1), "greater than or equal to 0"),
        (lambda c: c["measured"].update(peak_bytes=-1), "greater than or equal to 0"),
        (lambda c: c["measured"].update(attempts=0), "greater than or equal to 1"),
        (lambda c: c["result"]["scores"][0].update(accuracy="0.5"), "accuracy"),
        (lambda c: c["result"]["scores"][0].update(accuracy=True), "accuracy"),
        (lambda c: c["measured"].update(finished="9999-01-01T00:00:00+00:00"), "which is too early or too late"),
    ],
)
def test_a_record_that_no_run_leaves_is_not_valid(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    assert sentence in said_of(tmp_path / "record.json", change)


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="it says 'a' twice"):
        parse_json('{"a": 1, "b": {"a": 2}, "a": 3}')
    with pytest.raises(ValueError, match="it says 'ipc' twice"):
        parse_yaml("board: x\nentries: [{ipc: 1, ipc: 2}]\n")
    assert parse_yaml("a: &one {b: 1}\nc: *one\nd: *one\n") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1}}


NUMBERS = st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False))


@given(seconds=NUMBERS, done=NUMBERS, planned=NUMBERS, peak=NUMBERS, curve=NUMBERS)
def test_whatever_numbers_a_record_has_it_is_valid_or_refused(
    tmp_path: Path, seconds: Any, done: Any, planned: Any, peak: Any, curve: Any
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["measured"]["seconds"] = {"distil": seconds}
        content["measured"]["peak_bytes"] = peak
        content["result"]["steps_done"] = {"distil": done}
        content["result"]["steps_planned"] = {"distil": planned}
        content["measured"]["uncharged_seconds"] = {"evaluation": curve}

    with watchdog():
        said = said_of(tmp_path / "record.json", change)
    sound = all(isinstance(count, int) and count >= 0 for count in (done, planned, peak))
    sound = sound and 0 <= curve <= 1e12 and done <= planned
    most = 120 * (1 + MOST_SHARE) + MOST_SECONDS
    assert (said == "") == (sound and 0 <= seconds <= most), said


def test_a_sound_record_has_no_contradiction() -> None:
    record = make_record(steps=(5, 8))
    assert list(contradictions(record)) == []
    assert Record.model_validate_json(record.model_dump_json(), strict=True) == record


# -- surroundings -----------------------------------------------------------------------------------------------------


@pytest.mark.slow  # several processes; `.ci/run` carries it out
def test_a_server_that_is_killed_over_and_over_costs_one_run(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be gone at each of the moments at which it is asked for a process."""

    def refused(self: Any) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(process, "WAIT_SECONDS", 0.0)
    jobs = outer(write("first"), write("second"))
    out, todo = tmp_path / "out", plan_runs(jobs, tmp_path / "out")
    begun = list[int]()
    sound = Process.__init__

    def flaky(self: Process, *arguments: Any) -> None:
        begun.append(1)
        with monkeypatch.context() as patch:
            if len(begun) == 2:  # of the first run, after the worker that scores
                patch.setattr("multiprocessing.context.ForkServerProcess.start", refused)
            sound(self, *arguments)

    monkeypatch.setattr(Process, "__init__", flaky)
    found = run_jobs(todo, out)
    assert [record.result.status for record in found] == ["crashed", "ok"]
    assert "Connection refused" in (found[0].result.reason or "")
    assert [job.cell.method for job, _ in plan_runs(jobs, out).jobs] == ["first"]


@pytest.mark.slow  # as Control-C in `test_kill.py`; `.ci/run` carries it out beside the default run
def test_a_hung_up_terminal_leaves_a_checkpoint(tmp_path: Path, write: Callable[..., str]) -> None:
    mark = tmp_path / "mark"
    entry = {"methods": write("slow", f"time.sleep(0.05); Path({str(mark)!r}).touch()"), "set": {"iterations": 200}}
    write_board(tmp_path, checkpoint_seconds=1e6, entries=[entry])
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and inherited as such
    command = start(tmp_path / "board.yaml", tmp_path / "out")
    signal.signal(signal.SIGHUP, before)
    try:
        deadline = time.monotonic() + 120
        while not mark.exists():
            assert command.poll() is None, (tmp_path / "out.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(command.pid, signal.SIGHUP)
        assert command.wait(60) == 130
    finally:
        command.kill()
        command.wait()
    assert "Traceback" not in (tmp_path / "out.log").read_text()
    assert list((tmp_path / "out").glob("slow/*/checkpoint.pt"))


@pytest.mark.slow  # two commands in processes of their own; `.ci/run` carries it out beside the default run
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", "from ddbench.cli import main; main()", "list", "boards"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        said = "ddbench: what was to be printed could not be written (No space left on device); all else is done\n"
        assert done.stderr == said
        done = subprocess.run([*command[:3], "prepare", "nothing"], stdout=full, stderr=full, check=False)
        assert done.returncode == 2


def test_a_folder_whose_name_is_no_utf_8_is_refused_before_the_work(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(CannotWrite, match=r"is no UTF-8; choose another folder with --out"):
        evaluate({"methods": ["random_real"], "ipc": 1, "budget": "5s"}, out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # several processes; `.ci/run` carries it out
def test_what_a_command_starts_is_gone_when_it_ends(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    done = console(tmp_path / "here", "list", "boards") if (tmp_path / "here").mkdir() is None else None
    assert done is not None
    assert done.returncode == 0
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
