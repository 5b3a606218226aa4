"""What a run's folder holds."""

from __future__ import annotations

RECORD = "record.json"
ARTIFACT = "artifact.safetensors"
TRACE = "error.txt"
"""of a method that raised"""
OUTCOME = "distilled.partial"
"""how a distillation ended, until the record is written"""
