"""Results as a frame of pandas, for notebooks and papers' own figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json
from ddbench.leaderboard.committed import boards
from ddbench.leaderboard.grouping import runs_by_cell
from ddbench.leaderboard.plain import plain_rows
from ddbench.leaderboard.published import published_beside
from ddbench.leaderboard.rows import describe_budget
from ddbench.leaderboard.summaries import gain
from ddbench.records.schema import Record

if TYPE_CHECKING:
    import pandas


def results(folder: str | Path = "leaderboards", *, runs: bool = False) -> pandas.DataFrame:
    """Return the results below a folder as a frame, a line for each cell of each board, best first within its table.

    The columns are those of the boards' CSV files, see `docs/read-a-row.md`; accuracies are in [0, 1], and what is a
    list or a dictionary is one.

    >>> ddbench.results().query("dataset == 'mnist' and ipc == 1")[["method", "accuracy"]]  # doctest: +SKIP

    Args:
        folder: a folder of records, such as `leaderboards` or `runs/BOARD`
        runs: a line for each run instead, with its seed, accuracy and record

    Raises:
        UserError: when pandas is not installed, there are no records, or one of them is not valid.
    """
    from ddbench.boards.chosen import origins_beside

    folder = Path(folder)
    published, origins = published_beside(folder), origins_beside(folder)
    found = [
        line
        for records in boards(folder).values()
        for line in (_runs(records) if runs else plain_rows(records, published, origins))
    ]
    frame: pandas.DataFrame = _pandas().DataFrame.from_records(found)
    return frame


def write_results(folder: Path, out: Path, *, runs: bool = False) -> Path:
    """Write `results` as a Parquet or a CSV file, as its name ends; lists and dictionaries become JSON.

    Raises:
        UserError: as `results` does, and for another ending.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise UserError(f"{out} ends in neither .parquet nor .csv; name one of the two")
    frame = results(folder, runs=runs).map(_flat)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(out, index=False) if out.suffix == ".csv" else frame.to_parquet(out, index=False)
    except ImportError as error:
        raise UserError("Parquet files need pyarrow; pip install 'ddbench[frames]'") from error
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; name another file") from error
    return out


def _runs(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield the newest attempt of each run."""
    for run in (run for runs in runs_by_cell(records).values() for run in runs):
        cell, result = run.result.cell, run.result
        yield {
            "board": run.board,
            "method": cell.method,
            "dataset": cell.dataset,
            "ipc": cell.ipc,
            "network": str(cell.network),
            "setting": cell.setting,
            "protocol": cell.protocol,
            "split": cell.split,
            "budget": describe_budget(cell.budget),
            "hyperparameters": cell.distinguishing,
            "seed": result.seed,
            "status": result.status,
            "accuracy": run.accuracy,
            "accuracies": [score.accuracy for score in result.scores],
            "gain": gain(run),
            "seconds": sum(run.measured.seconds.values()),
            "label_source": run.labels,
            "device": cell.device,
            "finished": run.measured.finished,
            "artifact": result.artifact,
            "key": run.key,
        }


def _flat(value: Any) -> Any:
    return canonical_json(value).decode() if isinstance(value, list | dict) else value


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise UserError("results as a frame need pandas; pip install 'ddbench[frames]'") from error
    return pandas
