"""What rows are compared with: random images stored in the same way, and all training data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ddbench.leaderboard.grouping import conditions, oldest_first
from ddbench.records.cell import CEILING
from ddbench.records.schema import LabelSource, Record
from ddbench.registry import CONTROL

if TYPE_CHECKING:
    from ddbench.leaderboard.rows import Row

REFERENCE = "random_real"
"""control that every other method is compared with"""
AVERAGES = ("class_mean", "k_means")
"""controls whose images are means of real ones, and no selection of them"""
WHOLE = "pixels"
"""decoder that stores images as they are"""
HARD: LabelSource = "hard"
"""source of the labels that are classes"""


class References:
    """The accuracy of random images by seed, for each way of storing and labelling them; their budget does not matter.

    Args:
        cells: the runs of each cell
    """

    def __init__(self, cells: Iterable[list[Record]]) -> None:
        self._found: dict[tuple[str, str, LabelSource], dict[int, float]] = {}
        for record in oldest_first(run for runs in cells for run in runs if run.result.cell.method == REFERENCE):
            if record.accuracy is not None:
                key = conditions(record.result.cell), decoder(record), record.labels
                self._found.setdefault(key, {})[record.result.seed] = record.accuracy

    def of(self, run: Record) -> dict[int, float]:
        """Return those under a run's conditions: through its own decoder, else of whole images, else none.

        Those whose labels have the same source come first, then those with classes.
        """
        alike = conditions(run.result.cell)
        ways = [(alike, stored, source) for source in (run.labels, HARD) for stored in (decoder(run), WHOLE)]
        return next((self._found[way] for way in ways if way in self._found), {})


def decoder(record: Record) -> str:
    """Return the decoder of a run's images, as its method was asked for it."""
    return str(record.result.cell.hyperparameters.get("decoder", WHOLE))


def is_selection(row: Row) -> bool:
    """Return whether a row's images are real ones that were chosen, not learned."""
    control = row.origin is not None and row.origin.family == CONTROL
    return control and row.method not in (*AVERAGES, CEILING)


def is_learned(row: Row) -> bool:
    """Return whether a row's images or labels were learned; a method that is not known here counts as if so."""
    return row.origin is None or row.origin.family != CONTROL


def is_plain(record: Record) -> bool:
    """Return whether a run stores whole images, and was not asked for other labels than its method has of itself."""
    return decoder(record) == WHOLE and record.result.cell.hyperparameters.get("labels", HARD) == HARD


def is_reference(row: Row) -> bool:
    """Return whether a row is of random images that are stored whole, with their classes."""
    return row.method == REFERENCE and decoder(row.runs[0]) == WHOLE and row.labels == HARD


def gaps_closed(rows: Sequence[Row]) -> Iterator[float | None]:
    """Yield for each row how much of the way it has gone from random images, stored whole, to all training data."""
    tops = ceilings(rows)
    bottoms = {conditions(row.cell): row.accuracy.mean for row in rows if is_reference(row) and row.accuracy}
    for row in rows:
        top, bottom = tops.get(data_and_network(row)), bottoms.get(conditions(row.cell))
        between = row.method != CEILING and not is_reference(row)
        if between and row.accuracy and top and top.accuracy and bottom is not None and top.accuracy.mean > bottom:
            yield (row.accuracy.mean - bottom) / (top.accuracy.mean - bottom)
        else:
            yield None


def ceilings(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """Return the rows of all training data, by `data_and_network`."""
    return {data_and_network(row): row for row in rows if row.method == CEILING and row.accuracy}


def data_and_network(row: Row) -> tuple[str, str]:
    """Return what a row shares with the row of all training data that it is compared with."""
    return row.cell.dataset_digest, row.network
