"""Tables below the table of a group: costs, anytime performance, accuracy by budget and by storage."""

from __future__ import annotations

from collections.abc import Sequence

from ddbench.leaderboard.columns import COLUMNS, Column, Group, Lines, kilobytes, percent
from ddbench.leaderboard.grouping import storage_conditions
from ddbench.leaderboard.rows import Row
from ddbench.leaderboard.summaries import NOTHING

LEAST_SECONDS = 0.05
"""shortest duration of a phase that is named"""

COST: dict[str, Column] = {
    "method": COLUMNS["method"],
    "charged seconds": lambda row, label: phases(row.seconds_by_phase),
    "not charged": lambda row, label: phases(row.uncharged_seconds),
    "peak MB": lambda row, label: f"{row.peak_bytes / 1e6:.0f}" if row.peak_bytes else NOTHING,
    "steps": lambda row, label: row.steps,
    "stored kB": lambda row, label: _stored(row.stored_bytes),
}
ANYTIME: dict[str, Column] = {
    "method": COLUMNS["method"],
    "in hand %": lambda row, label: percent(row.anytime.accuracy if row.anytime else None),
    "n": lambda row, label: str(row.anytime.accuracy.n if row.anytime else 0),
    "seconds to 90 %": lambda row, label: _seconds(row.anytime.seconds if row.anytime else None),
}


def cost(group: Group) -> Lines:
    """Tabulate what each row cost, and its machine where rows were measured on several kinds or in several ways."""
    mixed = len({row.machines for row in group.rows}) > 1
    columns = COST | ({"load": lambda row, label: _load(row)} if any(row.loads for row in group.rows) else {})
    return group.texts(columns | ({"machine": lambda row, label: row.machines} if mixed else {}))


def anytime(group: Group) -> Lines:
    """Tabulate the rows with known anytime performance, the largest area first."""
    known = [(row.anytime.accuracy.mean, row) for row in group.rows if row.anytime]
    return group.texts(ANYTIME, [row for _, row in sorted(known, key=lambda pair: -pair[0])])


def budgets(group: Group) -> Lines:
    """Tabulate each method's accuracy under each budget; no lines where no method ran under two."""
    by_name: dict[str, dict[str, Row]] = {}
    for row in group.rows:
        by_name.setdefault(group.name(row), {})[row.budget] = row
    return [
        (next(iter(under.values())), {"method": name} | {b: _accuracy(under.get(b)) for b in group.budgets})
        for name, under in by_name.items()
        if any(len(other) > 1 for other in by_name.values())
    ]


def storage(groups: Sequence[Group]) -> list[tuple[str, Lines]]:
    """Tabulate rows of every ipc by what they store, under headings; none where all of them store the same."""
    alike: dict[str, list[tuple[Group, Row]]] = {}
    for group in groups:
        for row in group.rows:
            if row.accuracy and row.total_bytes:
                alike.setdefault(storage_conditions(row.cell), []).append((group, row))
    found = []
    for members in alike.values():
        if len({row.total_bytes for _, row in members}) > 1:
            by_size = sorted(members, key=lambda member: member[1].total_bytes)
            image = max(row.stored_bytes.get("images", 0) / row.ipc for _, row in members)
            lines = [line for group, row in by_size for line in group.texts(_storage(image), [row])]
            found.append((members[0][0].heading_of_any_ipc, lines))
    return found


def _storage(image: float) -> dict[str, Column]:
    """Return the columns of a table by storage.

    Args:
        image: bytes of one image of each class
    """
    return {
        "stored kB": lambda row, label: f"{row.total_bytes / 1e3:.3f}",
        "ipc": lambda row, label: str(row.ipc),
        "effective ipc": lambda row, label: f"{row.total_bytes / image:.2f}" if image else NOTHING,
        "method": COLUMNS["method"],
        "accuracy %": COLUMNS["accuracy %"],
        "on the front": lambda row, label: "yes" if row.on_front else "",
    }


def phases(seconds: dict[str, float]) -> str:
    """Write seconds by phase, `distil 104.3 + experts 15.8`, without phases that round to 0."""
    named = [f"{name} {spent:.1f}" for name, spent in seconds.items() if spent >= LEAST_SECONDS]
    return " + ".join(named) or "0.0"


def _load(row: Row) -> str:
    if row.loads is None:
        return NOTHING
    least, most = (f"{100 * share:.0f}" for share in row.loads)
    return f"{least} %" if least == most else f"{least}-{most} %"


def _stored(stored: dict[str, int]) -> str:
    """Write kilobytes by part, `images 31.4 + labels 0.1`, without parts that are not stored."""
    return " + ".join(f"{name} {kilobytes(size)}" for name, size in stored.items() if size) or NOTHING


def _accuracy(row: Row | None) -> str:
    return percent(row.accuracy) if row else NOTHING


def _seconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds:.1f}"
