"""The look of each family: one colour and one shape, in tables and in plots."""

from __future__ import annotations

from collections.abc import Iterable

from ddbench.registry import CONTROL
from ddbench.site.content import family

FAMILIES = ("backprop through optimisation", "distribution matching", "gradient matching", "trajectory matching")
"""those that have a look of their own, by its number"""
OF_CONTROLS, OF_OTHERS = 4, 5
"""numbers of the other looks"""


def look(method: str) -> int:
    """Return the number of the method's look: style.css has its colour, the templates its shape."""
    own = family(method)
    if own == CONTROL:
        return OF_CONTROLS
    return FAMILIES.index(own) if own in FAMILIES else OF_OTHERS


def legend(methods: Iterable[str]) -> list[tuple[int, str]]:
    """Return looks with the names of their families."""
    return sorted({(look(method), family(method)) for method in methods})


def by_family(methods: Iterable[str]) -> dict[str, list[str]]:
    """Return methods by family, in the order of the looks."""
    found: dict[str, list[str]] = {}
    for method in sorted(methods, key=lambda name: (look(name), family(name), name)):
        found.setdefault(family(method), []).append(method)
    return found
