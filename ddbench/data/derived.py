"""Parts of a data set that studies distil, each named by the end of its digest, as validation splits are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from ddbench.data.audit import NAMED, audited
from ddbench.data.dataset import Dataset
from ddbench.data.options import with_classes

ONLY = re.compile(r"only\((?P<classes>\d{1,6}(?:,\d{1,6})*)\)")


def only(classes: Iterable[int]) -> str:
    """Return the name of the part that has these classes alone, numbered anew in ascending order.

    >>> only([5, 3])
    'only(3,5)'
    """
    return f"only({','.join(map(str, sorted(classes)))})"


def is_part(split: str) -> bool:
    """Return whether a cell's split is a part that a study names, and neither the test set nor a validation split."""
    return any(pattern.fullmatch(split) for pattern in _PARTS)


def derived(data: Dataset, digest: str) -> Dataset:
    """Return what a digest names: the data set, a validation split of it, or a part of it that a study distils.

    Name and channel statistics stay those of the whole data set.

    Raises:
        UserError: where the digest names nothing known, or what the data set lacks.
    """
    name = digest.partition("+")[2]
    for pattern, make in _PARTS.items():
        found = pattern.fullmatch(name)
        if found is not None:
            return replace(make(data, found), given_digest=f"{data.digest}+{name}")
    return data.split(digest)


def _only(data: Dataset, named: re.Match[str]) -> Dataset:
    return with_classes(data, tuple(map(int, named["classes"].split(","))))


_PARTS: dict[re.Pattern[str], Callable[[Dataset, re.Match[str]], Dataset]] = {
    ONLY: _only,
    NAMED: audited,
}
