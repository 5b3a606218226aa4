"""How boards say that settings were chosen, for the tables: records do not hold it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ddbench.boards.board import Board, load_board
from ddbench.boards.jobs import Job
from ddbench.leaderboard.origins import BoardOrigins, origins, settings_key
from ddbench.registry import METHODS
from ddbench.task.hyperparameters import make_method, settings_of


def with_chosen(jobs: Iterable[Job]) -> BoardOrigins:
    """Return family and paper of the methods that ship, and how the settings of a board's runs were chosen."""
    said = {
        settings_key(job.board, job.cell.method, job.cell.dataset, job.cell.ipc, job.cell.hyperparameters): job.chosen
        for job in jobs
    }
    return BoardOrigins(origins(), {key: chosen for key, chosen in said.items() if chosen is not None})


def origins_beside(folder: Path) -> BoardOrigins:
    """Return the same for the tables in a folder of records, from the boards in `configs/` beside it.

    An entry counts where it names a method that ships: its settings are known without running a file.

    Raises:
        UserError: when such a board cannot be read, or does not fit its methods.
    """
    known, said = origins(), dict[str, str]()
    for kept in sorted((folder / "records").glob("*/")):
        file = folder.parent / "configs" / f"{kept.name}.yaml"
        if file.is_file() and b"chosen" in file.read_bytes():
            said.update(_said(load_board(file)))
    return BoardOrigins(known, said)


def _said(board: Board) -> Iterator[tuple[str, str]]:
    for cell in board.cells():
        method = METHODS.find(cell.method)
        if cell.chosen is not None and method is not None:
            made = make_method(METHODS.get(method), cell.set)
            yield settings_key(board.board, method, cell.dataset, cell.ipc, settings_of(made)), cell.chosen
