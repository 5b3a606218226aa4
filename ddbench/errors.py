"""Errors for users, each one sentence that names the value received and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 2000
"""largest number of characters of a sentence; a value that it quotes may have megabytes"""


class UserError(ValueError):
    """Bad usage or bad input; the command prints the sentence and exits with code 2.

    The sentence may quote untrusted text, so it is made `printable`.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


def printable(text: str) -> str:
    """Return the text as one line that a terminal can show: white space as spaces, control characters escaped, the
    middle of a very long text left out.

    >>> printable("one\\ntwo \\x1b[2J")
    'one two \\\\x1b[2J'
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


class CannotWrite(UserError):
    """A file cannot be written: the disk is full, or the folder is not writable. The previous file is unchanged."""


class Stopped(BaseException):
    """The run was asked to stop; its state is kept. Not an `Exception`: a method that catches those lets it pass."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known name, or all of them.

    >>> suggestion("convent", ["convnet", "mlp"])
    "did you mean 'convnet'?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is registered"


def _escaped(sign: str) -> str:
    return " " if sign.isspace() else sign.encode("unicode_escape").decode()
