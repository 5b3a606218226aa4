"""Where methods come from: what records do not hold, and whoever renders them passes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ddbench.registry import METHODS, discover

CONTROL = "control"
"""the family of what is not distilled"""


@dataclass(frozen=True)
class Origin:
    family: str
    paper: str
    """a link"""


Origins = Mapping[str, Origin]
"""by the method's name"""


def origins() -> dict[str, Origin]:
    """Family and paper of the methods that ship; not of plugins: tables must not depend on which are installed."""
    discover()
    shipped = [METHODS.get(name) for name in METHODS if METHODS.get(name).__module__.startswith("methods.")]
    return {method.name: Origin(method.family, method.paper) for method in shipped}
