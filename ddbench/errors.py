"""What a user did wrong, in one sentence that names the value and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad usage or bad input; the command prints the sentence and exits with code 2."""


class CannotWrite(UserError):
    """A file cannot be written: the disk is full, or the folder closed. What was there before is still there."""


class Stopped(BaseException):
    """The run was asked to stop; its state is kept. Not an `Exception`: a method that catches those lets it pass."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The tail of an unknown-name message: the nearest known name, or all of them.

    >>> suggestion("convent", ["convnet", "mlp"])
    "did you mean 'convnet'?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is registered"
