"""The tables of a board: rows with their links and with what the page draws beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ddbench.leaderboard import sections
from ddbench.leaderboard.against_selection import sentences
from ddbench.leaderboard.columns import Group, Lines
from ddbench.leaderboard.cross_architecture import comparison_sections
from ddbench.leaderboard.evaluations import ways
from ddbench.leaderboard.rows import Row
from ddbench.site.axis import Axis, Whisker
from ddbench.site.content import BoardContent, family, shipped
from ddbench.site.families import look
from ddbench.site.format import slug

ARXIV = "https://arxiv.org/abs/"
PARTS: dict[str, Callable[[Group], Lines]] = {
    "Cost": sections.cost,
    "Anytime": sections.anytime,
    "By budget": sections.budgets,
}
"""tables below the table of a group, by heading"""


@dataclass(frozen=True)
class TableLine:
    row: Row
    index: int
    """index of the row in its table"""
    variant: str
    """settings that distinguish it from other rows of the method in the table"""
    family: str
    look: int
    paper: str
    """link to the paper; empty for none"""
    paper_name: str
    whisker: Whisker | None
    anchor: str
    """anchor of its runs on the method's page"""

    @property
    def leading(self) -> bool:
        return self.row.rank == 1


@dataclass(frozen=True)
class Part:
    """A table of texts about rows of other tables."""

    heading: str
    columns: tuple[str, ...]
    """names of the columns after the method's"""
    titles: tuple[str, ...]
    """titles of the columns"""
    words: frozenset[str]
    """columns that do not begin with a number"""
    lines: tuple[tuple[TableLine, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Section:
    """Tables about rows of several groups."""

    title: str
    note: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Table:
    group: Group
    number: int
    """its place in the board, from 1"""
    lines: tuple[TableLine, ...]
    parts: tuple[Part, ...]

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns of the group that are not empty for all rows."""
        rows = [line.row for line in self.lines]
        ranked = any(row.rank is not None for row in rows)
        silent = {"rank": not ranked, "vs random": not any(row.versus_random for row in rows)}
        return frozenset(column for column in self.group.lines[0][1] if not silent.get(column))

    @property
    def against_selection(self) -> list[str]:
        """Sentences on the best distilled and the best selected set; none where there are not both."""
        return sentences(self.group, self.group.label)


def tables_of(board: BoardContent) -> list[Table]:
    return [_table(group, slug(board.name), number) for number, group in enumerate(board.groups)]


def storage(tables: Sequence[Table]) -> list[Part]:
    """Return rows of every ipc by what they store; none where all of them store the same."""
    return _parts(sections.storage([table.group for table in tables]), _by_row(tables))


def beyond_headlines(tables: Sequence[Table]) -> list[Section]:
    """Return the sections about artefacts that were scored in further ways; none where they were not."""
    known = _by_row(tables)
    found = comparison_sections([table.group for table in tables])
    return [Section(each.title, each.note, tuple(_parts(each.tables, known))) for each in found]


def variant(group: Group, row: Row) -> str:
    """Return a row's label without its method."""
    return group.label(row).removeprefix(row.method).strip().removeprefix("(").removesuffix(")")


def paper(method: str) -> str:
    """Return the link to a method's paper; empty where it has none, or one that is not https."""
    link = str(getattr(shipped(method), "paper", ""))
    return link if link.startswith("https://") else ""


def paper_name(method: str) -> str:
    """Return the number of an arXiv paper, or the link without its scheme."""
    return paper(method).removeprefix(ARXIV).removeprefix("https://")


def _table(group: Group, board: str, number: int) -> Table:
    axis = Axis.around(row.accuracy for row in group.rows)
    lines = tuple(
        TableLine(
            row=row,
            index=index,
            variant=variant(group, row),
            family=family(row.method),
            look=look(row.method),
            paper=paper(row.method),
            paper_name=paper_name(row.method),
            whisker=axis.whisker(row.accuracy),
            anchor=f"{board}-{number}-{index}",
        )
        for index, row in enumerate(group.rows)
    )
    made = [(heading, found) for heading, make in PARTS.items() if (found := make(group))]
    return Table(group, number + 1, lines, tuple(_parts(made, {id(line.row): line for line in lines})))


def _by_row(tables: Iterable[Table]) -> dict[int, TableLine]:
    return {id(line.row): line for table in tables for line in table.lines}


def _parts(made: Iterable[tuple[str, Lines]], known: Mapping[int, TableLine]) -> list[Part]:
    return [_part(heading, found, known) for heading, found in made]


def _part(heading: str, found: Lines, known: Mapping[int, TableLine]) -> Part:
    columns = [column for column in found[0][1] if column != "method"]
    names = {name for row, _ in found for protocol, networks in ways(row).items() for name in (protocol, *networks)}
    titles = tuple(column if column in names else column[:1].upper() + column[1:] for column in columns)
    lines = tuple((known[id(row)], tuple(texts[column] for column in columns)) for row, texts in found)
    words = {column for _, texts in found for column in columns if texts[column][:1].isalpha()}
    return Part(heading, tuple(columns), titles, frozenset(words), lines)
