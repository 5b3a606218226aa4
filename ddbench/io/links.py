"""Links of a clone: where a system has no symbolic links, git writes them as files that hold the way."""

from __future__ import annotations

from pathlib import Path

LONGEST = 200
"""bytes of the longest way"""


def followed(link: Path) -> Path:
    """Return what a link leads to, also where it is a file that holds the way; other paths lead to themselves."""
    if link.is_file() and link.stat().st_size <= LONGEST:
        there = link.parent / link.read_text("utf-8").strip()
        if there.exists():
            return there.resolve()
    return link.resolve()
