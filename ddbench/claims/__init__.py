"""Claims: records with their artefacts, checked, filed and measured again."""

from __future__ import annotations

from ddbench.claims.checks import complaints, held_out_data, recorded_data
from ddbench.claims.claim import Claim, read_claims
from ddbench.claims.filing import ARTIFACT_LIMIT, all_or_none, plan_filing
from ddbench.claims.membership import board_complaint, source_complaint
from ddbench.claims.rescoring import Rescoring, judge_of, rescore, rescored_record
from ddbench.claims.verdict import LEAST_FURTHER, Comparison, compare

__all__ = [
    "ARTIFACT_LIMIT",
    "LEAST_FURTHER",
    "Claim",
    "Comparison",
    "Rescoring",
    "all_or_none",
    "board_complaint",
    "compare",
    "complaints",
    "held_out_data",
    "judge_of",
    "plan_filing",
    "read_claims",
    "recorded_data",
    "rescore",
    "rescored_record",
    "source_complaint",
]
