"""Family and paper of methods, which records do not hold and callers that render records pass in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ddbench.registry import METHODS, discover


@dataclass(frozen=True)
class Origin:
    family: str
    paper: str
    """link to the paper"""


Origins = Mapping[str, Origin]
"""family and paper by the method's name"""


def origins() -> dict[str, Origin]:
    """Return family and paper of the methods that ship; tables must not depend on which plugins are installed."""
    discover()
    shipped = [METHODS.get(name) for name in METHODS if METHODS.get(name).__module__.startswith("methods.")]
    return {method.name: Origin(method.family, method.paper) for method in shipped}
