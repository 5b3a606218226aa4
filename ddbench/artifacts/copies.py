"""What an artefact's header copies from its data set, compared with the data set itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ddbench.artifacts.class_names import checked_names
from ddbench.data import Dataset, Preprocessing
from ddbench.data.preprocess import PINNED

ROUNDING = 2e-4
"""statistics have four decimals, and machines may round the last one differently"""


def names_doubt(provenance: Mapping[str, Any], data: Dataset) -> str | None:
    """Say how the class names of a header differ from the data set's; None where they do not, or there are none."""
    names = checked_names(provenance, "the header")
    if names is None or names == data.classes:
        return None
    if len(names) != len(data.classes):
        return f"its header names {len(names)} classes, and {data.name!r} has {len(data.classes)}"
    index = next(i for i, (said, own) in enumerate(zip(names, data.classes, strict=True)) if said != own)
    return f"its header names class {index} {names[index]!r}, and {data.name!r} names it {data.classes[index]!r}"


def preprocessing_doubt(description: Mapping[str, Any], data: Dataset, kind: str | None = None) -> str | None:
    """Say how the preprocessing of a header differs from that of the data set; None where it does not.

    Args:
        data: the split that the artefact was distilled from, under the name that the artefact gives it, by which
            constants go
        kind: the preprocessing that it has to be; None takes the header's
    """
    said = Preprocessing.from_description(description)
    own = Preprocessing.for_dataset(data, kind or said.kind)
    if said.kind == own.kind and _close(said, own):
        return None
    return (
        f"its header says that its images went through {_numbers(said)}, and for {data.name!r} that is {_numbers(own)}"
    )


def is_published(description: Mapping[str, Any]) -> bool:
    """Return whether images were normalised by constants of the field, which authors use for other data sets, too."""
    said = Preprocessing.from_description(description)
    return said.kind == "normalize" and (said.mean, said.std) in PINNED.values()


def _close(one: Preprocessing, other: Preprocessing) -> bool:
    left, right = ((*each.mean, *each.std, each.eps) for each in (one, other))
    return len(left) == len(right) and all(
        math.isclose(a, b, rel_tol=0, abs_tol=ROUNDING) for a, b in zip(left, right, strict=True)
    )


def _numbers(preprocessing: Preprocessing) -> str:
    numbers = f"mean {list(preprocessing.mean)}, std {list(preprocessing.std)}"
    return f"{preprocessing.kind!r} ({numbers}, eps {preprocessing.eps:g})"
