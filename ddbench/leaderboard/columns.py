"""Groups of rows that stand in one table, the labels of rows, and the texts of cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ddbench.compute.precision import PRECISIONS
from ddbench.errors import printable
from ddbench.leaderboard.grouping import conditions
from ddbench.leaderboard.published import Figure
from ddbench.leaderboard.rows import Row
from ddbench.leaderboard.summaries import ENDINGS, NOTHING
from ddbench.records.cell import NEUTRAL, Cell, Pool
from ddbench.records.states import State, reaches
from ddbench.stats import Interval


class Strong(str):
    """A text that tables set in bold."""


Column = Callable[[Row, str], str]
"""function from a row and its label to the text of a cell"""
Lines = list[tuple[Row, dict[str, str]]]
"""lines of a table: each row with its texts by column, the same columns in each"""

COLUMNS: dict[str, Column] = {
    "rank": lambda row, label: NOTHING if row.rank is None else str(row.rank),
    "method": lambda row, label: label,
    "family": lambda row, label: row.origin.family if row.origin else NOTHING,
    "chosen": lambda row, label: row.chosen or NOTHING,
    "accuracy %": lambda row, label: percent(row.accuracy),
    "std %": lambda row, label: NOTHING if row.spread is None else f"{100 * row.spread:.1f}",
    "before %": lambda row, label: percent(row.metrics.get("before")),
    "success %": lambda row, label: percent(row.metrics.get("success")),
    "n": lambda row, label: _count(row),
    "paper %": lambda row, label: _papers(row, lambda figure: f"{figure.accuracy:.1f}"),
    "ours - paper": lambda row, label: _papers(row, lambda figure: _difference(row, figure)),
    "vs start": lambda row, label: percent(row.gain, signed=True),
    "vs random": lambda row, label: _versus_random(row),
    "gap closed %": lambda row, label: NOTHING if row.gap_closed is None else f"{100 * row.gap_closed:.0f}",
    "seconds": lambda row, label: f"{row.seconds:.1f}",
    "stored kB": lambda row, label: kilobytes(row.total_bytes),
    "labels": lambda row, label: row.labels if row.accuracy else NOTHING,
    "state": lambda row, label: state(row),
    "status": lambda row, label: status(row),
}
"""columns that the table of a group can have"""
OPTIONAL: dict[str, Callable[[Row], bool]] = {
    "family": lambda row: row.origin is not None,
    "chosen": lambda row: row.chosen is not None,
    "std %": lambda row: row.spread is not None,
    "before %": lambda row: "before" in row.metrics,
    "success %": lambda row: "success" in row.metrics,
    "paper %": lambda row: bool(row.published),
    "ours - paper": lambda row: bool(row.published),
    "vs start": lambda row: row.gain is not None,
    "gap closed %": lambda row: row.gap_closed is not None,
    "labels": lambda row: row.labels != "hard",
}
"""columns that a table has only if this holds for one of its rows"""
REASON_LENGTH = 120

CONDITIONS: dict[str, Callable[[Row], str]] = {
    "network": lambda row: row.network,
    "protocol": lambda row: row.protocol,
    "networks": lambda row: f"{row.cell.networks} evaluation network{'s' * (row.cell.networks != 1)} a run",
    "setting": lambda row: f"setting {_setting(row.cell)}",
    "preprocessing": lambda row: f"preprocessing {row.cell.preprocessing}",
    "split": lambda row: f"{row.split} split{_held_out(row.cell)}",
    "threads": lambda row: f"{_device(row.cell)}, {row.cell.threads} thread{'s' * (row.cell.threads != 1)}",
    "digest": lambda row: f"data {row.cell.dataset_digest.removeprefix('sha256:')[:8]}",
}
"""texts of conditions, which headings name where tables differ in them"""


@dataclass(frozen=True)
class Group:
    """Rows measured under equal conditions, best first."""

    rows: tuple[Row, ...]
    special: tuple[str, ...] = ()
    """conditions that other groups do not share"""

    @property
    def heading(self) -> str:
        images = f"{self.rows[0].ipc} image{'s' * (self.rows[0].ipc != 1)} per class"
        return ", ".join([self.rows[0].dataset, images, *self.special])

    @property
    def heading_of_any_ipc(self) -> str:
        return ", ".join([self.rows[0].dataset, *self.special])

    def name(self, row: Row) -> str:
        """Return the method's name with the hyper-parameters that distinguish its rows in this group, and what
        is unusual in how it computes."""
        return _named(row, self._telling(row))

    def label(self, row: Row) -> str:
        """Return the method's name and what distinguishes the row: hyper-parameters, and the budget if it varies."""
        return _named(row, [*self._telling(row), *([row.budget] if len(self.budgets) > 1 else [])])

    @cached_property
    def budgets(self) -> list[str]:
        """Budgets of the group's rows, the smallest first."""
        return budgets(self.rows)

    @cached_property
    def lines(self) -> Lines:
        """Texts of each row in the columns of `COLUMNS` that this group shows."""
        shown = {
            column: text for column, text in COLUMNS.items()
            if column not in OPTIONAL or any(map(OPTIONAL[column], self.rows))
        }  # fmt: skip
        return self.texts(shown)

    def texts(self, columns: Mapping[str, Column], chosen: Iterable[Row] | None = None) -> Lines:
        """Return the texts of each row, or of the chosen rows, in the given columns."""
        labelled = ((row, self.label(row)) for row in (self.rows if chosen is None else chosen))
        return [(row, {column: text(row, label) for column, text in columns.items()}) for row, label in labelled]

    def _telling(self, row: Row) -> list[str]:
        namesakes = [peer for peer in self.rows if peer.method == row.method]
        names = sorted({name for peer in namesakes for name in peer.hyperparameters})
        settings = [
            f"{name}={row.hyperparameters.get(name, NEUTRAL.get(name))}"
            for name in names
            if len({repr(peer.hyperparameters.get(name)) for peer in namesakes}) > 1
        ]
        return settings + _arithmetic(row.cell)


def groups(made: Iterable[Row]) -> list[Group]:
    """Group rows by their conditions, sorted by data set and ipc; rows keep their order."""
    found: dict[tuple[str, int, str], list[Row]] = {}
    for row in made:
        found.setdefault((row.dataset, row.ipc, conditions(row.cell)), []).append(row)
    everything = [row for members in found.values() for row in members]
    several = varying(everything)
    if len({row.cell.dataset_digest for row in everything}) > len({row.dataset for row in everything}):
        several.append("digest")  # several data sets have the same name
    return [
        Group(tuple(members), tuple(CONDITIONS[name](members[0]) for name in several))
        for _, members in sorted(found.items())
    ]


def varying(made: Sequence[Row]) -> list[str]:
    """Return the names of the conditions in which rows differ."""
    return [name for name in CONDITIONS if name != "digest" and len(_values(made, name)) > 1]


def budgets(made: Iterable[Row]) -> list[str]:
    """Return the budgets of rows, the smallest first."""
    return list(dict.fromkeys(row.budget for row in sorted(made, key=_size)))


def summary(made: Sequence[Row]) -> str:
    """Say in one sentence what the tables hold."""
    common = [escape(next(iter(_values(made, name)))) for name in CONDITIONS if name not in ("protocol", "digest")
              and len(_values(made, name)) == 1]  # fmt: skip
    protocols = ", ".join(f"`{protocol}`" for protocol in sorted(_values(made, "protocol")))
    several = ", ".join(budgets(made))
    limit = "without a budget" if several == "unlimited" else f"with a budget of {several} a run"
    return f"Accuracy under {protocols} ({', '.join(common)}) {limit}."


def escape(text: str) -> str:
    """Escape a text for Markdown, on one line, so that a record's words make no table, link, picture or HTML."""
    text = printable(text)
    for sign in "\\|*<`[]":
        text = text.replace(sign, "\\" + sign)
    return text


def _named(row: Row, parts: Sequence[str]) -> str:
    return printable(f"{row.method} ({', '.join(parts)})" if parts else row.method)


def reaching(made: Sequence[Row], least: State) -> list[Row]:
    """Return the rows each of whose runs with scores has reached a state."""
    return [row for row in made if least == "claimed" or (row.state and reaches(row.state, least))]


def _device(cell: Cell) -> str:
    notes = {"mps": " (wall seconds)", "cuda": " (tf32 where a row says nothing else)"}
    return cell.device + notes.get(cell.device, "")


def _arithmetic(cell: Cell) -> list[str]:
    """Name the precision of a cell where it is not the one that its device takes by itself, and captured steps."""
    precision = [] if cell.precision == PRECISIONS[cell.device][0] else [cell.precision]
    return [*precision, *(["captured"] if cell.capture else [])]


def _setting(cell: Cell) -> str:
    """Name a setting: `random`, `pretrained on usps (20 + 20 networks, 2000 steps)`, `attack 0 for 1 on usps (...)`."""
    if cell.pool is None:
        return cell.setting
    mapped = f" {cell.attack.source} for {cell.attack.target}" if cell.attack else ""
    size = f"{cell.pool.train} + {cell.pool.held_out} networks"
    made = f", {cell.pool.steps} steps" if isinstance(cell.pool, Pool) else ""
    margin = f", margin {cell.pool.margin}" if isinstance(cell.pool, Pool) and cell.pool.margin else ""
    return f"{cell.setting}{mapped} on {cell.pool.name} ({size}{made}{margin})"


def _held_out(cell: Cell) -> str:
    return f", {100 * cell.peek:g} % of the training images held out" if cell.peek else ""


def percent(value: Interval | None, *, signed: bool = False) -> str:
    """Write a share in percent: `89.1 ± 0.8`, `+20.3 ± 3.1`, or `89.1` from a single seed.

    An interval of accuracies that would leave [0, 100] is written by its ends: `85.4 (63.7 to 100)`.
    """
    if value is None:
        return NOTHING
    mean = round(100 * value.mean, 1) + 0.0  # no "-0.0"
    text = f"{mean:+.1f}" if signed else f"{mean:.1f}"
    if value.half_width is None:
        return text
    if not signed and value.leaves_accuracies:
        low, high = (f"{round(100 * end, 1):g}" for end in value.within_accuracies)
        return f"{text} ({low} to {high})"
    return f"{text} ± {100 * value.half_width:.1f}"


def state(row: Row) -> str:
    """Return `claimed` if all runs with scores are, else counts: `2 verified, 1 claimed`."""
    if len(row.states) == 1:
        return next(iter(row.states))
    return ", ".join(f"{count} {name}" for name, count in reversed(row.states.items())) or NOTHING


def status(row: Row) -> str:
    """Return how all runs ended if that counts, else counts with reasons: `4 ok, 1 diverged (loss is NaN)`."""
    found = [
        (name, count, _reasons(row, "truncated" if name in ENDINGS else name)) for name, count in row.endings.items()
    ]
    if len(found) == 1 and found[0][0] in ("ok", *ENDINGS):
        text = found[0][0] + found[0][2]
    else:
        text = ", ".join(f"{count} {name}{why}" for name, count, why in found)
    return f"{text}; {row.below_start} of {len(row.runs)} below the start" if row.below_start else text


def _count(row: Row) -> str:
    """Return the seeds with scores, or `3 networks` where all seeds gave one set."""
    if row.accuracy is None:
        return "0"
    return f"{row.accuracy.n} networks" if row.one_set else str(row.accuracy.n)


def _versus_random(row: Row) -> str:
    text = percent(row.versus_random, signed=True)
    return Strong(text) if row.versus_random and row.versus_random.excludes_zero else text


def _papers(row: Row, text: Callable[[Figure], str]) -> str:
    return " or ".join(map(text, row.published)) or NOTHING


def _difference(row: Row, figure: Figure) -> str:
    return NOTHING if row.accuracy is None else f"{round(100 * row.accuracy.mean - figure.accuracy, 1) + 0.0:+.1f}"


def _reasons(row: Row, name: str) -> str:
    text = " ".join("; ".join(row.reasons.get(name, ())).split())
    if len(text) > REASON_LENGTH:
        text = text[: REASON_LENGTH - 1] + "…"
    return f" ({text})" if text else ""


def kilobytes(stored: int) -> str:
    """Write bytes in thousands."""
    return f"{stored / 1e3:.1f}" if stored else NOTHING


def _values(made: Iterable[Row], name: str) -> set[str]:
    return {CONDITIONS[name](row) for row in made}


def _size(row: Row) -> tuple[float, float, str]:
    budget = row.cell.budget
    return budget.seconds or float("inf"), budget.steps or float("inf"), row.budget
