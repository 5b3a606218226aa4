"""A page for each data set and number of images a class: every board's rows and every published figure on one axis."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.leaderboard.answers import Answer, answers
from ddbench.leaderboard.columns import CONDITIONS, budgets, varying
from ddbench.leaderboard.published import Figure
from ddbench.leaderboard.rows import Row
from ddbench.records.cell import CEILING
from ddbench.site.axis import Axis, Whisker
from ddbench.site.charts import Chart, chart
from ddbench.site.content import BoardContent, Content, RecordEntry
from ddbench.site.families import legend, look
from ddbench.site.format import slug
from ddbench.site.method_pages import Shown
from ddbench.site.tables import Table, TableLine
from ddbench.stats import student_quantile

FIRST = ("cifar10", "cifar100", "mnist", "fashion_mnist")
"""data sets that come first; others follow by name"""
MOST_SEEDS = 30
"""largest number of seeds that a page compares in pairs"""
FOLDER = "answers"

Tables = Mapping[str, Sequence[Table]]
"""tables by board"""


@dataclass(frozen=True)
class Line:
    """A row on the page's axis."""

    line: TableLine
    whisker: Whisker | None
    marks: tuple[tuple[float, Figure], ...]
    """published figures of its cell, and where they lie on the axis"""
    entry: RecordEntry
    """the median one of its runs with scores, or the first where none has scores"""

    @property
    def seeds(self) -> str:
        """Accuracies in percent by seed, for comparisons: `0:92.14 1:92.31`."""
        scored = [run for run in self.line.row.runs if run.accuracy is not None]
        return " ".join(f"{run.result.seed}:{100 * (run.accuracy or 0):.2f}" for run in scored)


@dataclass(frozen=True)
class Part:
    """The rows of one table of a board."""

    board: BoardContent
    table: Table
    number: int
    conditions: str
    """what it does not share with the other parts of the page"""
    answers: tuple[Answer, ...]

    @property
    def rows(self) -> Sequence[Row]:
        return self.table.group.rows

    @property
    def protocol(self) -> str:
        return self.rows[0].protocol

    @property
    def transfers(self) -> bool:
        """True if artefacts were scored in further ways, which the board's page compares."""
        return any(row.cell.also for row in self.rows)

    @property
    def chart(self) -> Chart | None:
        """Curves, where there are several to compare."""
        made = chart(self.table.group)
        return made if made and len(made.lines) > 1 else None

    @property
    def breadth(self) -> tuple[int, int]:
        """How much it compares: numbers of methods and of runs."""
        return len({row.method for row in self.rows}), sum(len(row.runs) for row in self.rows)


@dataclass(frozen=True)
class Question:
    """Which distilled set is best for a data set and a number of images a class?"""

    dataset: str
    ipc: int
    parts: tuple[Part, ...]
    """the broadest first"""

    @property
    def page(self) -> str:
        return f"{FOLDER}/{slug(f'{self.dataset}-{self.ipc}')}.html"

    @property
    def answer(self) -> tuple[Part, Answer] | None:
        """The first answer of the broadest part that has one."""
        return next(((part, answer) for part in self.parts for answer in part.answers), None)


def questions(content: Content, tables: Tables) -> list[Question]:
    """Return what tables on test images ask: CIFAR-10 first, then by data set and images a class."""
    found: dict[tuple[str, int], list[tuple[BoardContent, Table]]] = {}
    for board in content.boards:
        for table in tables[board.name]:
            first = table.group.rows[0]
            if first.split == "test" and first.cell.peek is None and first.cell.attack is None:
                found.setdefault((first.dataset, first.ipc), []).append((board, table))
    return [Question(*key, _parts(found[key])) for key in sorted(found, key=_place)]


def answer_values(question: Question, content: Content, shown: Mapping[str, Shown]) -> dict[str, Any]:
    """Return the values that the template `answer.html` shows.

    Args:
        shown: pictures of artefacts by the `place` of their record
    """
    rows = [row for part in question.parts for row in part.rows]
    figures = [
        figure for figure in content.published.entries
        if (figure.dataset, figure.ipc) == (question.dataset, question.ipc) and not figure.miscopied
    ]  # fmt: skip
    axis = Axis.around([row.accuracy for row in rows], [figure.accuracy / 100 for figure in figures]).widened
    lines = [(part, [_line(part.board, line, axis) for line in part.table.lines]) for part in question.parts]
    beside = {id(figure) for row in rows for figure in row.published}
    return {
        "question": question,
        "axis": axis,
        "parts": lines,
        "elsewhere": [(axis.at(figure.accuracy / 100), look(figure.method), figure)
                      for figure in sorted(figures, key=lambda each: -each.accuracy) if id(figure) not in beside],
        "families": legend(row.method for row in rows),
        "gallery": list(_gallery(lines, shown)),
        "protocols": sorted({row.protocol for row in rows}),
        "budgets": budgets(rows),
        "boards": list(dict.fromkeys(part.board.name for part in question.parts)),
        "quantiles": " ".join(f"{student_quantile(pairs - 1):.3f}" for pairs in range(2, MOST_SEEDS + 1)),
        "sources": content.published.sources,
    }  # fmt: skip


def _place(key: tuple[str, int]) -> tuple[int, str, int]:
    dataset, ipc = key
    return FIRST.index(dataset) if dataset in FIRST else len(FIRST), dataset, ipc


def _parts(found: Sequence[tuple[BoardContent, Table]]) -> tuple[Part, ...]:
    telling = [*dict.fromkeys(["protocol", *varying([row for _, table in found for row in table.group.rows])])]
    made = [
        Part(
            board,
            table,
            number,
            ", ".join(CONDITIONS[name](table.group.rows[0]) for name in telling),
            tuple(answers(table.group, board.rows)),
        )
        for number, (board, table) in enumerate(found)
    ]
    return tuple(sorted(made, key=lambda part: part.breadth, reverse=True))


def _line(board: BoardContent, line: TableLine, axis: Axis) -> Line:
    marks = tuple((axis.at(figure.accuracy / 100), figure) for figure in line.row.published)
    return Line(line, axis.whisker(line.row.accuracy), marks, _median(board.runs(line.row)))


def _median(entries: Sequence[RecordEntry]) -> RecordEntry:
    scored = {entry.place: entry.record.accuracy for entry in entries if entry.record.accuracy is not None}
    if not scored:
        return entries[0]
    middle = statistics.median_low(scored.values())
    return next(entry for entry in entries if scored.get(entry.place) == middle)


def _gallery(
    lines: Sequence[tuple[Part, Sequence[Line]]], shown: Mapping[str, Shown]
) -> Iterator[tuple[Part, Line, Shown]]:
    """Yield the pictures of the best row of each method, the best first within the broadest part."""
    seen = set[str]()
    for part, members in lines:
        for line in members:
            row = line.line.row
            if row.accuracy and line.entry.place in shown and row.method not in seen | {CEILING}:
                seen.add(row.method)
                yield part, line, shown[line.entry.place]
