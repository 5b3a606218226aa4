"""The loops of a run, as its record tells them."""

from __future__ import annotations

from ddbench.records.schema import Record

DEFAULT = "distil"
"""the name of a loop, and of a phase, that the method did not name"""


def main_loop(record: Record) -> str | None:
    """Return the name of the loop that makes the artefact and has snapshots; None if the run got to no such loop."""
    planned = record.result.steps_planned
    if DEFAULT in planned:
        return DEFAULT
    if not record.result.curve and record.measured.flops_per_step is None:
        return None  # operations are counted in the first step of a loop that has snapshots
    # What is computed once for several runs, such as experts, is charged to a phase of its loop's name.
    own = [name for name in sorted(planned) if name not in record.measured.seconds]
    return max(own, key=lambda name: planned[name], default=None)
