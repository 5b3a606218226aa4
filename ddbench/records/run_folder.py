"""Names of the files in a run's folder."""

from __future__ import annotations

RECORD = "record.json"
ARTIFACT = "artifact.safetensors"
TRACE = "error.txt"
"""traceback of a method that raised"""
OUTCOME = "distilled.partial"
"""file that says how a distillation ended, until the record is written"""
