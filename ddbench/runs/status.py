"""How a run ended, as a status and a sentence."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from ddbench.compute.memory import out_of_memory
from ddbench.errors import CannotWrite, UserError
from ddbench.io.atomic import FULL
from ddbench.meter.log import Diverged
from ddbench.records.schema import Status

LIKELY = {
    "SIGKILL": ", most likely because the machine ran out of memory",
    "SIGTERM": ", from outside",
}
"""why a signal ended a process, by its name: not every system has each"""


@dataclass(frozen=True)
class Outcome:
    status: Status
    reason: str


def of_error(error: BaseException) -> Outcome:
    """The ending of a run that raised."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    if isinstance(error, Diverged | FloatingPointError):
        return Outcome("diverged", line)
    if out_of_memory(error):
        return Outcome("out_of_memory", line)
    if isinstance(error, CannotWrite) or (isinstance(error, OSError) and error.errno in FULL):
        return Outcome("crashed", line)
    if isinstance(error, UserError):
        return Outcome("failed", line)
    if isinstance(error, SystemExit):
        return Outcome("failed", f"it exited by sys.exit({error.code!r})")
    return Outcome("failed", f"{type(error).__name__}: {line}")


def of_surroundings(error: BaseException) -> Outcome:
    """The ending of a run that was broken off around its method, where it may go better the next time."""
    ending = of_error(error)
    if isinstance(error, UserError):
        return Outcome("crashed", ending.reason)
    if ending.status == "out_of_memory":
        return Outcome("crashed", f"no memory was left to prepare or to score it ({ending.reason})")
    return ending


def of_exit(code: int | None) -> Outcome:
    """The ending of a run whose process is gone without a word.

    Args:
        code: the process's exit code, or the negative number of the signal that ended it; None where it is not known
    """
    if code is None or code >= 0:
        return Outcome("crashed", f"the process ended by itself with exit code {code}")
    number = -code
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        name = f"signal {number}"
    meaning = (signal.strsignal(number) or "unknown").lower()
    return Outcome("crashed", f"the process was ended by {name} ({meaning}){LIKELY.get(name, '')}")
