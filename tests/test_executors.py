"""What keeps a run's process within its limits, and says how it ended."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from ddbench.errors import CannotWrite, UserError
from ddbench.meter.log import Diverged
from ddbench.records.cell import Budget
from ddbench.runs.executors import make_executor
from ddbench.runs.executors.interruption import Interruption
from ddbench.runs.executors.local import Local
from ddbench.runs.executors.watch import Watch
from ddbench.runs.status import Outcome, of_error, of_exit, of_surroundings

HOUR = 3600.0


@dataclass
class Run:
    """What a watch sees of a process that uses a share of a core, and reports or does not."""

    clock: Any
    watch: Watch
    share: float = 0.0
    reports: bool = False

    def seconds_until_ended(self, most: float = 1e5) -> tuple[float, Outcome | None]:
        begun = self.clock.now
        while (ending := self.watch.look(0, lambda: self.share * self.clock.now)) is None:
            if self.clock.now - begun >= most:
                return most, None
            self.clock.advance(1)
            if self.reports:
                self.watch.heard("distil 1/2")
        return self.clock.now - begun, ending


@pytest.mark.parametrize("share", [0.0, 0.004, 1.0, 7.5])
@pytest.mark.parametrize(
    ("budget", "stall", "patience"),
    [
        (Budget(seconds=60), None, 600),
        (Budget(seconds=1000), None, 1000),
        (Budget(steps=100), None, HOUR),
        (Budget(), None, HOUR),
        (Budget(seconds=1000), 40.0, 40),
    ],
    ids=str,
)
def test_a_silent_run_that_is_idle_or_busy_has_hung(
    clock: Any, budget: Budget, stall: float | None, patience: float, share: float
) -> None:
    watch = Watch(budget, stall, clock.tick)
    watch.heard("evaluate")
    seconds, ending = Run(clock, watch, share).seconds_until_ended()
    # from the first of its looks on; a share of exactly one core needs no more
    assert patience <= seconds <= 1.05 * patience + 2
    assert ending == Outcome("timeout", f"no step ended within {patience:g} s; last heard of at evaluate")


def test_a_silent_run_that_others_keep_from_working_is_given_time(clock: Any) -> None:
    seconds, ending = Run(clock, Watch(Budget(seconds=60), None, clock.tick), share=0.25).seconds_until_ended()
    assert 2400 <= seconds <= 2400 + 60  # 600 core-seconds
    assert ending is not None
    assert ending.status == "timeout"


def test_a_run_that_stops_working_has_hung_however_much_it_did_before(clock: Any) -> None:
    watch, worked = Watch(Budget(seconds=60), None, clock.tick), list[float]()

    def core_seconds() -> float:
        worked.append(min(clock.now, 500.0))
        return worked[-1]

    while watch.look(0, core_seconds) is None:
        clock.advance(1)
    assert 1100 <= clock.now <= 1100 + 60


def test_a_run_that_reports_is_let_alone_unless_it_spends_nothing(clock: Any) -> None:
    for budget, expected in ((Budget(), 1e5), (Budget(seconds=100), HOUR + 20 * 100)):
        run = Run(clock, Watch(budget, None, clock.tick), reports=True)
        assert run.seconds_until_ended()[0] == expected


def test_a_suspended_machine_is_not_the_runs_fault(clock: Any) -> None:
    watch = Watch(Budget(seconds=60), None, clock.tick)
    clock.advance(1e6)
    assert watch.look(0, lambda: 0.0) is None
    assert Run(clock, watch).seconds_until_ended()[0] >= 595  # of the gap, five seconds counted


def test_memory_is_watched_where_it_is_limited(clock: Any) -> None:
    watch = Watch(Budget(peak_bytes=2000), None, clock.tick)
    assert watch.look(2000, float) is None
    assert watch.look(2001, float) == Outcome("out_of_memory", "2,001 bytes in use, the budget allows 2,000")
    assert Watch(Budget(), None, clock.tick).look(2**60, float) is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "the process ended by itself with exit code 0"),
        (3, "the process ended by itself with exit code 3"),
        (-signal.SIGSEGV, "the process was ended by SIGSEGV (segmentation fault)"),
        (-signal.SIGABRT, "the process was ended by SIGABRT (aborted)"),
        (
            -signal.SIGKILL,
            "the process was ended by SIGKILL (killed), most likely because the machine ran out of memory",
        ),
        (-signal.SIGTERM, "the process was ended by SIGTERM (terminated), from outside"),
        (-(signal.SIGRTMIN + 3), f"the process was ended by signal {signal.SIGRTMIN + 3} (real-time signal 3)"),
    ],
)
def test_an_exit_code_is_put_into_words(code: int, reason: str) -> None:
    assert of_exit(code) == Outcome("crashed", reason)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Diverged("loss became nan"), "diverged", "loss became nan"),
        (FloatingPointError("not finite"), "diverged", "not finite"),
        (MemoryError(), "out_of_memory", "MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", "CUDA out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory", "DefaultCPUAllocator"),
        (CannotWrite("cannot write x"), "crashed", "cannot write x"),
        (OSError(errno.ENOSPC, "No space left"), "crashed", "[Errno 28] No space left"),
        (OSError(errno.ENOENT, "No such file"), "failed", "FileNotFoundError: [Errno 2] No such file"),
        (UserError("set it to 3"), "failed", "set it to 3"),
        (SystemExit("why"), "failed", "it exited by sys.exit('why')"),
        (IndexError("first\nsecond"), "failed", "IndexError: first"),
    ],
)
def test_an_error_is_put_into_words(error: BaseException, status: str, reason: str) -> None:
    ending = of_error(error)
    assert ending.status == status
    assert ending.reason.startswith(reason)
    assert "\n" not in ending.reason


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UserError("no such file"), "crashed", "no such file"),
        (CannotWrite("the disk is full"), "crashed", "the disk is full"),
        (MemoryError("full"), "crashed", "no memory was left to prepare or to score it (full)"),
        (torch.OutOfMemoryError("full"), "crashed", "no memory was left to prepare or to score it (full)"),
        (IndexError("seven"), "failed", "IndexError: seven"),
    ],
)
def test_what_goes_wrong_around_a_method_is_not_its_failure(error: Exception, status: str, reason: str) -> None:
    assert of_surroundings(error) == Outcome(status, reason)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interruption_is_noted_and_the_second_raised(number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)  # it may be ignored where the tests run aside
    noted = list[bool]()

    def interrupted() -> None:
        with Interruption() as interruption:
            noted.append(interruption.asked)
            os.kill(os.getpid(), number)
            noted.append(interruption.asked)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert noted == [False, True]
    assert signal.signal(number, before) is signal.default_int_handler


def test_without_an_interruption_nothing_is_raised() -> None:
    with Interruption() as interruption:
        pass
    assert not interruption.asked


def test_an_error_is_not_covered_by_an_interruption() -> None:
    def failed() -> None:
        with Interruption():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        failed()


def test_an_ignored_signal_stays_ignored() -> None:
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
        assert not interruption.asked
    finally:
        signal.signal(signal.SIGINT, former)


def test_in_another_thread_signals_come_as_they_are() -> None:
    former, seen = signal.getsignal(signal.SIGINT), list[Any]()

    def enter() -> None:
        with Interruption():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [former]


def test_executors_are_made_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_executor("local", "cpu", 3) == Local([torch.device("cpu")] * 3)
    assert make_executor("local", "cpu") == Local([torch.device("cpu")])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert make_executor("local", "cuda", 3) == Local([torch.device("cuda", index) for index in range(3)])
    assert make_executor("local", "cuda:2", 3) == Local([torch.device("cuda:2")])
    with pytest.raises(UserError, match=r"^unknown executor 'rai'; did you mean 'ray'\?$"):
        make_executor("rai", "cpu")
    with pytest.raises(UserError, match="--workers 2 with --executor ray: Ray runs what the cluster has room for"):
        make_executor("ray", "cpu", 2)


def test_ray_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"^--executor ray needs Ray; install it with `pip install -e '\.\[ray\]'`$"):
        make_executor("ray", "cpu")
