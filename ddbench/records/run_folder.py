"""Names of the files in a run's folder."""

from __future__ import annotations

from pathlib import Path

RECORD = "record.json"
ARTIFACT = "artifact.safetensors"
TRACE = "error.txt"
"""traceback of a method that raised"""
OUTCOME = "distilled.partial"
"""file that says how a distillation ended, until the record is written"""
TRAINING = "training"
"""folder of the files that runs learn from, in a board's cache while it runs"""
OUTSIDE = "outside.partial"
"""file that says what time it took, as its parent saw it, until then"""
SCORES = "scores.partial"
"""scores known so far, until then"""
CHECKPOINT = "checkpoint.pt"
REMAINS = (CHECKPOINT, OUTCOME, OUTSIDE, SCORES)
"""what a folder has no use for once its record is written"""

BESIDE = ".record.json"
"""ending of the record that `ddbench distill` keeps beside an artefact"""


def record_beside(artifact: Path) -> Path:
    """Return where `ddbench distill` keeps the record of the run that made a file: `digits.record.json`."""
    return artifact.with_name(f"{artifact.stem}{BESIDE}")


def artifact_beside(record: Path) -> Path | None:
    """Return where the artefact of a record lies, in a run's folder or as `ddbench distill` leaves it."""
    if record.name == RECORD:
        return record.with_name(ARTIFACT)
    if record.name.endswith(BESIDE):
        return record.with_name(f"{record.name.removesuffix(BESIDE)}.safetensors")
    return None
