"""The JSON file that an analysis of an artefact leaves, beside the records: what it found, of what, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ddbench.io.atomic import key_of
from ddbench.records.cell import NetworkSpec
from ddbench.records.fields import Digest, Line, Name, Seconds, Strict, Word
from ddbench.stats import bootstrapped_mean, interval

MOST_VALUES = 10_000
"""largest number of replicates of a measure"""
MOST_ROWS = 2000
"""largest number of rows of a series"""
FLOOR = "_floor"
"""end of the name of a measure that has what real data give in place of the artefact, for the one without it"""
IMAGES_PER_CLASS = "images_per_class"
"""measure that has the number of images that an artefact decodes to, by class"""
FILE_NAME = re.compile(r"(?:(?P<run>.+)-)?(?P<analysis>[a-z][a-z0-9_]*@[1-9][0-9]*)-(?P<key>[0-9a-f]{16})\.json")
"""names of such files: in tables they begin with the name of a run"""

Number = Annotated[float, Field(ge=-1e300, le=1e300)]
AnalysisName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*@[1-9][0-9]*$", max_length=100)]


class Measure(Strict):
    """One number of an analysis, measured in several replicates."""

    values: Annotated[list[Number], Field(min_length=1, max_length=MOST_VALUES)]
    """one a replicate"""
    of: Word
    """what the replicates are: `networks`, `images`, `draws`"""
    low: Number | None = None
    high: Number | None = None
    """ends of a 95 % interval of the mean, or of the estimate that `values` has alone; None where nothing shows it"""

    @model_validator(mode="after")
    def _ends(self) -> Measure:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends; give both or neither")
        if self.low is not None and self.high is not None and not self.low <= self.mean <= self.high:
            raise ValueError(f"the mean {self.mean:g} lies outside its interval, {self.low:g} to {self.high:g}")
        return self

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @classmethod
    def over(cls, values: list[float], of: str = "networks") -> Measure:
        """Return a measure with Student's t interval over its replicates."""
        found = interval(values)
        if found.half_width is None:
            return cls(values=values, of=of)
        mean = sum(values) / len(values)
        return cls(values=values, of=of, low=mean - found.half_width, high=mean + found.half_width)

    @classmethod
    def resampled(cls, values: list[float], of: str) -> Measure:
        """Return a measure with a bootstrap interval over replicates that are no sample of a normal distribution."""
        if len(values) == 1:
            return cls(values=values, of=of)
        mean, (low, high) = sum(values) / len(values), bootstrapped_mean(values)
        return cls(values=values, of=of, low=min(low, mean), high=max(high, mean))


class Series(Strict):
    """Named columns of equal length: what a figure shows."""

    columns: Annotated[dict[Word, list[Number] | list[Line]], Field(min_length=1, max_length=40)]

    @field_validator("columns")
    @classmethod
    def _rectangular(cls, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"its columns have {', '.join(f'{count} ({n})' for n, count in lengths.items())} rows")
        if max(lengths.values()) > MOST_ROWS:
            raise ValueError(f"it has {max(lengths.values())} rows; {MOST_ROWS} are the most")
        return columns


@dataclass(frozen=True)
class Figure:
    """What the figure of an analysis shows: a line an artefact, through columns of one of its series."""

    series: str
    x: str
    """column of the places; rows that share one are one point, at their mean"""
    y: str
    x_label: str
    y_label: str
    scattered: bool = False
    """true for a mark a row of the series and a picture an artefact, in place of lines"""
    logarithmic: bool = False
    """true for logarithmic axes"""

    def points(self, findings: Findings) -> dict[float, float]:
        """Return a line's heights by place, ascending; nothing where the findings lack the series or a column."""
        return {x: sum(ys) / len(ys) for x, ys in self._heights(findings).items()}

    def bands(self, findings: Findings) -> dict[float, tuple[float, float]]:
        """Return the least and the greatest height by place, ascending."""
        return {x: (min(ys), max(ys)) for x, ys in self._heights(findings).items()}

    def marks(self, findings: Findings) -> list[tuple[float, float]]:
        """Return place and height of each row of the series."""
        drawn = findings.series.get(self.series)
        if drawn is None or not {self.x, self.y} <= drawn.columns.keys():
            return []
        rows = zip(drawn.columns[self.x], drawn.columns[self.y], strict=True)
        return [(x, y) for x, y in rows if isinstance(x, float) and isinstance(y, float)]

    def _heights(self, findings: Findings) -> dict[float, list[float]]:
        found: dict[float, list[float]] = {}
        for x, y in sorted(self.marks(findings), key=lambda mark: mark[0]):
            found.setdefault(x, []).append(y)
        return found


class Findings(Strict):
    """What an analysis found: measures and figures, or why it does not apply."""

    metrics: Annotated[dict[Word, Measure], Field(max_length=100)] = {}
    series: Annotated[dict[Word, Series], Field(max_length=20)] = {}
    not_applicable: Line | None = None
    """a sentence: `ipc 1: leaving an image out removes its class`"""

    @model_validator(mode="after")
    def _something(self) -> Findings:
        if bool(self.metrics) == (self.not_applicable is not None):
            raise ValueError("findings have metrics, or say why they are not applicable, one of the two")
        return self


class AnalysisRecord(Strict):
    """One analysis of one artefact, sealed as a record is."""

    schema_version: Literal[1] = 1
    key: str
    """hash of what decides it: the analysis, its settings, the artefact, the data, and how networks were trained"""
    analysis: AnalysisName
    settings: dict[Word, Any]
    """every field of the analysis, defaults included"""
    artifact: Digest
    """digest of the artefact's file"""
    dataset: Name
    dataset_digest: Digest
    network: NetworkSpec
    protocol: dict[str, Any]
    """the protocol as resolved, that networks were trained under"""
    networks: Annotated[int, Field(gt=0)]
    """how many were trained on the artefact"""
    findings: Findings
    seconds: Seconds
    """device seconds, those of networks included that no analysis before had trained"""
    finished: Line
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of its file without that of a run."""
        return f"{self.analysis}-{self.key}.json"

    def expected_key(self) -> str:
        """Return the key that its content gives."""
        way = self.network, str(self.protocol.get("name")), self.networks
        return analysis_key(self.analysis, self.settings, self.artifact, self.dataset_digest, way)


def analysis_key(
    analysis: str, settings: dict[str, Any], artifact: str, dataset_digest: str, way: tuple[NetworkSpec, str, int]
) -> str:
    """Return 16 hexadecimal digits that name an analysis of an artefact.

    Args:
        way: the network, the protocol's name, and how many networks are trained
    """
    network, protocol, networks = way
    return key_of([analysis, settings, artifact, dataset_digest, str(network), protocol, networks])


def is_finding(path: Path) -> bool:
    """Return whether a file is, by its name, one of an analysis."""
    return FILE_NAME.fullmatch(path.name) is not None
