"""Render rows as Markdown, CSV and terminal tables: the same records in any order give the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from ddbench.leaderboard.against_selection import HEADING, against_selection, sentences
from ddbench.leaderboard.columns import Group, Lines, Strong, escape, groups, reaching, summary
from ddbench.leaderboard.cross_architecture import comparison_sections
from ddbench.leaderboard.fields import fields_of
from ddbench.leaderboard.origins import Origins
from ddbench.leaderboard.published import Published, footnotes
from ddbench.leaderboard.rows import Row, rows
from ddbench.leaderboard.sections import anytime, budgets, cost, storage
from ddbench.leaderboard.summaries import ENDINGS
from ddbench.records.schema import Record
from ddbench.records.states import State

LEFT = ("method", "family", "chosen", "charged seconds", "not charged", "machine", "labels", "state", "status")
STATUS_WIDTH = 10
TERMINAL_OMITS = (
    "family",
    "stored kB",
    "gap closed %",
    "vs start",
    "std %",
    "before %",
    "ours - paper",
    "labels",
    "state",
)
"""columns left out on a terminal, so that a line fits into 80 characters"""

READING = {
    "chosen": (
        "how the board says that settings were chosen: `paper`, as published; `tuned(n)`, the best of n trials of "
        "`ddbench tune` on held-out training images, as many for every method; `hand`."
    ),
    "rank": (
        "1 + how many rows of the table whose labels have the same source are significantly better, so rows that "
        "cannot be told apart share one: Welch's t-test of every two such rows, two-sided, at a false discovery rate "
        "of 5 % (Benjamini and Hochberg). No row ranks before one with a higher mean, so a wide spread gains nothing. "
        "A dash where one seed, or no other such row, leaves nothing to test."
    ),
    "accuracy %": (
        "mean over n distillation seeds with scores, each the mean over its evaluation networks at the last step; ± "
        "its 95 % interval, written by its ends where it would leave the range of accuracies."
    ),
    "std %": (
        "standard deviation over the evaluation networks of a run, pooled over runs: what papers write behind ±. For "
        "runs with ten networks or more."
    ),
    "paper %": "published figures of the same cell, listed below with their sources.",
    "n": (
        "distillation seeds with scores; networks, where every seed gives the same images: the spread is then that of "
        "networks trained on them."
    ),
    "vs start": "accuracy beyond that of what each run started from, by the same networks: what it has learned.",
    "vs random": (
        "difference to `random_real` stored in the same way (by the same decoder where the board has it, else as whole "
        "images), paired by seed; bold: its interval excludes 0."
    ),
    "gap closed %": (
        "share of the way from random images, stored whole, to `full_data`: networks trained on all training images, "
        "under that row's own protocol."
    ),
    "seconds": (
        "device seconds charged to the budget (core-seconds on a CPU); like steps (done/planned), memory and bytes, "
        "the median over runs."
    ),
    "load": "share of the machine's cores in use during a run, by it and others; crowded core-seconds do less.",
    "machine": "seconds of different kinds of machines, or of compiled and eager runs, are no equal budgets.",
    "stored kB": "images, labels, learned recipe and initial weights together.",
    "labels": (
        "what labels the distilled images: `hard`, the class of each; `static`, soft labels stored with them, whose "
        "bytes count as stored. Ranks compare rows of one source."
    ),
    "state": (
        "what others have measured of the runs with scores, derived from records. `claimed`: nothing that agrees; "
        "`verified`: networks trained on the artefacts again in another environment; `replayed`: the same steps run "
        "again in another environment, with as good scores."
    ),
    "status": "`budget used`: {budget used}. `barely begun`: {barely begun}.".format_map(ENDINGS),
    HEADING: (
        "the question below each table that has distilled sets and controls of real images as they are, selected sets. "
        "Those compared fill the storage of as many images, have labels of the same source, and were charged no more "
        "than the budget. Best is the highest mean, chosen on the scores that are compared, which flatters the side "
        "with more rows. ±: 95 % interval of the difference by Welch's approximation. Significant: Welch's t-test of "
        "every distilled set against the best selected one, two-sided, at a false discovery rate of 5 %."
    ),
    "in hand %": (
        "area under the accuracy in hand against charged seconds, divided by the budget (without one, by the longest "
        "run): what a run would have given, stopped at any moment. In hand is the newest snapshot, nothing (0 %) "
        "before the first. Snapshots are scored with one network and the protocol's short form, so these are no "
        "headline accuracies; finished artefacts count where the short form is the whole protocol."
    ),
    "seconds to 90 %": "when the accuracy in hand first was 90 % of the best that any row had in hand at its end.",
    "effective ipc": "images of a class that all stored bytes would hold: labels, recipes and weights count too.",
    "on the front": "no row of this data set, whatever its ipc, stores as little and is better, or less and as good.",
}
"""explanations of columns, printed where a table has them"""


def markdown(
    records: Iterable[Record], title: str, published: Published | None = None, origins: Origins | None = None
) -> str:
    """Render a heading, how to read, the tables of each data set, ipc and other conditions, and sources of figures.

    Args:
        published: figures to show beside the measured ones
        origins: family and paper of the methods, by name
    """
    made = rows(records, published, origins)
    if not made:
        return f"# {escape(title)}\n\nNo records yet.\n"
    found = groups(made)
    tables = _tables(found)
    shown = {column for _, lines in tables for column in (lines[0][1] if lines else ())}
    if any(map(against_selection, found)):
        shown.add(HEADING)
    if not any(ending in ENDINGS for row in made for ending in row.endings):
        shown.discard("status")
    reading = [f"- **{column}**: {text}" for column, text in READING.items() if column in shown]
    parts = [f"# {escape(title)}", summary(made), "How to read:", "\n".join([*_protocols(made), *reading])]
    for heading, lines in tables:
        parts += [heading, pipe_table(lines)] if lines else [heading]
    figures = [figure for row in made for figure in (*row.published, *row.published_across)]
    if published and figures:
        parts += ["## Published figures", "\n".join(f"- {escape(line)}" for line in footnotes(figures, published))]
    if links := link_definitions(made):
        parts.append(links)
    return "\n\n".join(parts) + "\n"


def _protocols(made: Iterable[Row]) -> list[str]:
    """Describe how networks were trained, in the words of each protocol that records name."""
    runs = [run for row in made for run in row.runs]
    said = [one for run in runs for one in (run.protocol, *run.also_protocols.values()) if "source" in one]
    found = {str(one.get("name")): str(one["source"]) for one in said}
    return [f"- **{escape(name)}**: {escape(source)}." for name, source in sorted(found.items())]


def _tables(found: Sequence[Group]) -> list[tuple[str, Lines]]:
    """Return headings with the lines of the table below each."""
    tables: list[tuple[str, Lines]] = []
    for group in found:
        tables.append((f"## {escape(group.heading)}", group.lines))
        tables += [(sentence, []) for sentence in _against_selection(group)]
        parts = {"Cost": cost(group), "Anytime": anytime(group), "By budget, accuracy %": budgets(group)}
        tables += [(f"### {heading}", lines) for heading, lines in parts.items() if lines]
    stored = storage(found)
    if stored:
        tables.append(("## Equal storage", []))
    tables += [(f"### {escape(heading)}", lines) for heading, lines in stored]
    for section in comparison_sections(found):
        tables.append((f"## {section.title}\n\n{section.note}", []))
        tables += [(f"### {escape(caption)}", lines) for caption, lines in section.tables]
    return tables


def _against_selection(group: Group) -> list[str]:
    return sentences(group, lambda row: _markup(row, "method", group.label(row)), lambda text: f"**{text}**")


def csv_table(records: Iterable[Record], published: Published | None = None, origins: Origins | None = None) -> str:
    """Render one line a cell with every field: accuracy in [0, 1], seconds, bytes; dictionaries and lists as JSON."""
    text = io.StringIO()
    lines = fields_of(rows(records, published, origins))
    if lines:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()


def rich_table(
    records: Iterable[Record],
    published: Published | None = None,
    least: State = "claimed",
    origins: Origins | None = None,
) -> list[Table]:
    """Render groups as tables for a terminal, without the columns that a line of 80 characters has no room for.

    Args:
        least: state that each run with scores of a row has reached; ranks are among all rows nevertheless
        origins: family of the methods, by name, which tells distilled sets from selected ones
    """
    made = rows(records, published, origins)
    return [_rich_table(group) for group in groups(reaching(made, least))]


def pipe_table(lines: Lines) -> str:
    """Render a Markdown table; `link_definitions` gives the targets of its links."""
    columns = list(lines[0][1])
    written = [[_markup(row, column, texts[column]) for column in columns] for row, texts in lines]
    alignment = [_alignment(column) for column in columns]
    return tabulate(
        written, [escape(column) for column in columns], tablefmt="pipe", colalign=alignment, disable_numparse=True
    )


def link_definitions(made: Iterable[Row]) -> str:
    """Return the definitions of the links from methods to their papers, a line each."""
    papers = {row.method: row.origin.paper for row in made if row.origin}
    return "\n".join(f"[{method}]: {papers[method]}" for method in sorted(papers))


def _markup(row: Row, column: str, text: str) -> str:
    if column == "method" and row.origin:
        return f"[{row.method}]{escape(text.removeprefix(row.method))}"
    return f"**{escape(text)}**" if isinstance(text, Strong) else escape(text)


def _alignment(column: str) -> Literal["left", "right"]:
    return "left" if column in LEFT else "right"


def _rich_table(group: Group) -> Table:
    table = Table(title=Text(group.heading, style="bold"), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    lines = [(row, {column: texts[column] for column in texts if column not in TERMINAL_OMITS})
             for row, texts in group.lines]  # fmt: skip
    for column in lines[0][1]:
        table.add_column(
            column, justify=_alignment(column), min_width=_least_width(column, [line for _, line in lines])
        )
    for row, line in lines:
        # Text, not str: a reason such as "[1, 10] expected" must not be read as markup.
        texts = {column: Text(text, style="bold" if isinstance(text, Strong) else "") for column, text in line.items()}
        if row.accuracy is None:
            texts["status"].stylize("red")
        table.add_row(*texts.values())
    if said := sentences(group, group.label):
        table.caption, table.caption_justify = Text("\n".join(said)), "left"
    return table


def _least_width(column: str, lines: list[dict[str, str]]) -> int:
    """Return a column's least width: numbers stay whole; the settings behind a method's name and reasons may wrap."""
    if column == "status":
        return STATUS_WIDTH
    return max(len(line[column].partition(" (")[0] if column == "method" else line[column]) for line in lines)
