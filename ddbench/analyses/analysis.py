"""An analysis: a versioned question about an artefact, answered with named measures and the columns of figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ddbench.errors import UserError
from ddbench.records.findings import Figure, Findings
from ddbench.records.metrics import Metric
from ddbench.registry import find_analysis
from ddbench.task.hyperparameters import make_method

if TYPE_CHECKING:
    from ddbench.analyses.subject import Subject


class Analysis(Protocol):
    """What `@register_analysis` takes: a frozen dataclass whose fields are settings, which the record names."""

    name: ClassVar[str]
    """with its version; the decorator sets it"""
    measures: ClassVar[tuple[Metric, ...]]
    """what it may measure: meaning, range and direction of each"""
    headline: ClassVar[tuple[str, ...]]
    """measures that tables show"""
    figure: ClassVar[Figure | None]
    """what the figure beside a table shows; an analysis without it has none"""

    def analyse(self, subject: Subject) -> Findings:
        """Answer the question; where it makes no sense, say so in `not_applicable`."""
        ...


def make_analysis(name: str, settings: Mapping[str, Any] | None = None) -> Analysis:
    """An analysis by its name, without a version the newest, with these settings.

    Raises:
        UserError: for an unknown name or setting, or a value out of its range.
    """
    found: Analysis = make_method(find_analysis(name), settings or {}, "setting")
    return found


def analysis_of(named: str | Mapping[str, Any]) -> Analysis:
    """An analysis from its name, or from a mapping of `name` and settings.

    Raises:
        UserError: as `make_analysis`, or where there is no name.
    """
    if isinstance(named, str):
        return make_analysis(named)
    settings = dict(named)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"analysis {dict(named)!r} has no name; give one, such as {{name: calibration@1}}")
    return make_analysis(name, settings)
