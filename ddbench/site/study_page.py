"""The page of studies."""

from __future__ import annotations

from typing import Any

from ddbench.leaderboard.studies import NOTE, study_question, study_tables
from ddbench.registry import STUDIES
from ddbench.site.content import Content
from ddbench.site.study_charts import study_charts

PAGE = "studies.html"


def study_values(content: Content) -> dict[str, Any]:
    """Return the values that the template `studies.html` shows."""
    tables = study_tables(content.studies)
    names = dict.fromkeys(table.study for table in tables)
    studies = [
        (
            name,
            study_question(name),
            STUDIES.get(name).caption,
            [(table, study_charts(table)) for table in tables if table.study == name],
        )
        for name in names
    ]
    return {"note": NOTE, "studies": studies}
