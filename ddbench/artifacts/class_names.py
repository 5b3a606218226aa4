"""The names of an artefact's classes in its header, checked since a file may be a stranger's."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ddbench.errors import UserError
from ddbench.io.atomic import LONGEST_NAME

FIELD = "classes"
"""key of the provenance that lists the names by class index; files from before have none"""
MOST_BYTES = 2**18
"""largest size of all names together in a header, which may have 2^20 bytes"""


def names_for_header(classes: Sequence[str]) -> dict[str, list[str]]:
    """Return the header's field with the names of a data set's classes; nothing where they would fill the header."""
    return {FIELD: list(classes)} if len(json.dumps(list(classes))) <= MOST_BYTES else {}


def checked_names(provenance: Mapping[str, Any], file: object) -> tuple[str, ...] | None:
    """Return the names that a header lists; None where it lists none.

    Raises:
        UserError: when they are no list of short printable lines.
    """
    given = provenance.get(FIELD)
    if given is None:
        return None
    if not isinstance(given, list) or not given or not all(map(_is_class_name, given)):
        raise UserError(
            f"{file} says of its classes: {reprlib.repr(given)}; a list of printable names is needed, "
            f"each of at most {LONGEST_NAME} characters"
        )
    return tuple(given)


def class_names(provenance: Mapping[str, Any], labels: Tensor, file: object) -> tuple[str, ...] | None:
    """Return the names that a header lists, one for each class of the labels; None where it lists none.

    Args:
        labels: (N,) class indices or (N, K) soft labels

    Raises:
        UserError: when they are no names, or fewer or more than the classes.
    """
    names = checked_names(provenance, file)
    if names is None:
        return None
    count, spare = count_classes(labels), 0
    if labels.ndim == 1 and provenance.get("attack") is not None:
        spare = 1  # the class that an attack maps to another may have no images
    if not count <= len(names) <= count + spare:
        raise UserError(f"{file} names {len(names)} classes and its labels have {count}; write it again")
    return names


def numbered_names(labels: Tensor) -> tuple[str, ...]:
    """Return "0", "1", ... for the classes of labels, (N,) or (N, K), that have no other names."""
    return tuple(map(str, range(count_classes(labels))))


def count_classes(labels: Tensor) -> int:
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


def _is_class_name(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME
