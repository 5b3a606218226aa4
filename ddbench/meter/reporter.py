"""When a run says how far it is."""

from __future__ import annotations

import time

PROGRESS_SECONDS = 0.2


class Reporter:
    """Decides when it is time to report: at the start of a loop, and then every `PROGRESS_SECONDS` at most."""

    def __init__(self) -> None:
        self._loop, self._reported = "", 0.0

    def is_due(self, loop: str) -> bool:
        """Return whether to report now, which is then taken as done."""
        now = time.monotonic()
        if loop == self._loop and now - self._reported < PROGRESS_SECONDS:
            return False
        self._loop, self._reported = loop, now
        return True
