"""What came of a submission."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Submission:
    """What came of it. Where there are complaints, nothing was written."""

    complaints: list[str] = field(default_factory=list)
    """what is wrong, a sentence each"""
    notes: list[str] = field(default_factory=list)
    """what the pull request should say or bring along"""
    written: list[Path] = field(default_factory=list)
    """records, artefacts, findings of analyses, rows of studies, sources of methods"""
    tables: list[Path] = field(default_factory=list)
