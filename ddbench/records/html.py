"""Tables as a notebook shows them; what stands in them may be untrusted."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence


def html_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as an HTML table, its columns those of the first row; columns that are empty in all are left out."""
    columns = [name for name in (rows[0] if rows else {}) if any(row[name] for row in rows)]
    lines = [_line("td", (row[name] for name in columns)) for row in rows]
    return f"<table><thead>{_line('th', columns)}</thead><tbody>{''.join(lines)}</tbody></table>"


def _line(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"
