"""A hook that is told what methods log, while they run.

It is called in the command's process with the run's name, such as `distribution_matching/digits-ipc1-seed0-KEY`, and
with the values that enter the run's record: those of every step at first, and a hundred each time the number of steps
has doubled (`ddbench.meter.log`). What is computed on a GPU arrives some steps late, since nothing waits for it; a run
that goes on from a checkpoint tells again what it has repeated.

It costs a run next to nothing: each of these values, some hundred in all, is sent to the command whether a hook listens
or not, in about twenty microseconds. What the hook itself does takes the command's time, and no run's.
"""

from __future__ import annotations

from collections.abc import Callable

from ddbench.meter.hooks import Logged
from ddbench.runs.executors import Event, Listener

LogHook = Callable[[str, Logged], None]
"""told a run's name and what it has logged"""


def with_log(on_event: Listener, on_log: LogHook) -> Listener:
    """Return a listener that gives to the hook what is logged, and to `on_event` everything else."""

    def tell(event: Event) -> None:
        if event.logged is not None:
            on_log(event.job.folder, event.logged)
        else:
            on_event(event)

    return tell
