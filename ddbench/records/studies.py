"""The JSON file that a study leaves of one of its rows: what was distilled, what was measured over it, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ddbench.io.atomic import key_of
from ddbench.records.cell import UNBRACKETED, Cell
from ddbench.records.fields import Count, Digest, Line, Name, Seconds, Strict, Word
from ddbench.records.findings import AnalysisName, Findings
from ddbench.records.schema import Status

MOST_PARTS = 10_000
"""largest number of distillations of a row"""


class StudyRun(Strict):
    """One distillation of a study."""

    split: Name
    """the data it saw: `test` for the whole training set, or a part of it, see `ddbench.data.derived`"""
    share: Annotated[float, Field(gt=0, le=1)]
    """its share of the seconds of a seed"""
    seed: Count
    key: Word
    """key of its run"""
    status: Status
    artifact: Digest
    """digest of the artefact's file"""
    seconds: Seconds
    """charged to its budget"""


class StudyRecord(Strict):
    """One row of a study, sealed as a record is."""

    schema_version: Literal[1] = 1
    key: str
    """hash of what decides it: the study, its settings, the cell, the variant, the seeds and the method's file"""
    study: AnalysisName
    settings: dict[Word, Any]
    """every field of the study, defaults included"""
    variant: Word | None = None
    """how the study uses the method, where that is not its usual way"""
    cell: Cell
    """method, data, network, protocol and budget; its split is what networks are tested on"""
    method_source: Digest
    protocol: dict[str, Any]
    """the protocol as resolved, that networks were trained under"""
    seeds: Annotated[int, Field(gt=0)]
    runs: Annotated[list[StudyRun], Field(max_length=MOST_PARTS)]
    """empty where nothing was distilled"""
    findings: Findings
    seconds: Seconds
    """device seconds of measuring, without those of `runs`"""
    finished: Line
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of its file."""
        variant = f"{self.variant}-" if self.variant else ""
        data = Path(self.cell.dataset).stem.translate(UNBRACKETED)
        return f"{variant}{self.cell.method}-{data}-ipc{self.cell.ipc}-{self.study}-{self.key}.json"

    @property
    def label(self) -> str:
        """Name of its row: the method, after its variant where it has one."""
        return f"{self.variant}:{self.cell.method}" if self.variant else self.cell.method

    @property
    def distil_seconds(self) -> float:
        """Seconds that were charged to the distillations of a seed, in the mean over seeds."""
        return sum(run.seconds for run in self.runs) / self.seeds

    def expected_key(self) -> str:
        """Return the key that its content gives."""
        said = [self.study, self.settings, self.variant, self.cell.model_dump(mode="json"), self.seeds]
        return key_of([*said, self.method_source])
