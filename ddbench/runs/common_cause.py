"""A board whose runs all fail for one reason is stopped early, and the reason is said once."""

from __future__ import annotations

from collections.abc import Iterable

from ddbench.records.schema import Record


class CommonCause(Exception):
    """Whatever has run failed for the same reason; nothing else would fare better."""


class FirstFailures:
    """Watches the first runs of a board as they finish.

    Args:
        methods: names of the methods that the board runs
    """

    def __init__(self, methods: Iterable[str]) -> None:
        self._enough = min(2, len(set(methods)))
        self._reasons, self._failing, self._count = set[str | None](), set[str](), 0

    def note(self, record: Record) -> None:
        """Take in a finished run.

        Raises:
            CommonCause: when two runs or more, of two methods if the board has them, failed alike and none did better.
        """
        self._count += 1
        self._reasons.add(record.result.reason if record.result.status == "failed" else None)
        self._failing.add(record.result.cell.method)
        alike = len(self._reasons) == 1 and None not in self._reasons
        if alike and self._count > 1 and len(self._failing) >= self._enough:
            raise CommonCause
