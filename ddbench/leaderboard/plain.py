"""Rows as plain values, for programs: the fields of the CSV tables, numbers as numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ddbench.leaderboard.columns import reaching
from ddbench.leaderboard.fields import fields_of
from ddbench.leaderboard.origins import Origins
from ddbench.leaderboard.published import Published
from ddbench.leaderboard.rows import rows
from ddbench.records.schema import Record
from ddbench.records.states import State

TEXTS = {
    "board", "method", "family", "paper", "dataset", "dataset_digest", "preprocessing", "network", "setting",
    "protocol", "split", "device", "precision", "machines", "budget", "steps", "label_source",
}  # fmt: skip
"""fields that are words, also where one looks like a number"""


def plain_rows(
    records: Iterable[Record],
    published: Published | None = None,
    origins: Origins | None = None,
    least: State = "claimed",
) -> list[dict[str, Any]]:
    """Return a row a cell, in the order of the table; None stands for what is not known.

    Args:
        least: state that each run with scores of a row has reached; ranks are among all rows nevertheless
    """
    shown = reaching(rows(records, published, origins), least)
    return [{name: _plain(name, value) for name, value in fields.items()} for fields in fields_of(shown)]


def _plain(name: str, value: Any) -> Any:
    if value == "":
        return None
    return json.loads(value) if isinstance(value, str) and name not in TEXTS else value
