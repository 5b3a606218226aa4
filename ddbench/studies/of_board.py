"""The studies that a board names, carried out after its cells."""

from __future__ import annotations

from pathlib import Path

from ddbench.boards.board import Board
from ddbench.errors import UserError
from ddbench.records.studies import StudyRecord
from ddbench.studies.board import make_study_board
from ddbench.studies.conduct import Watcher, study
from ddbench.studies.rows import resolve_rows


def check_studies(board: Board, device: str) -> None:
    """Resolve every study of a board, before anything runs.

    Raises:
        UserError: where a part of one does not fit; the message has its place in the board's file.
    """
    for index, content in enumerate(board.studies):
        try:
            resolve_rows(make_study_board(content), device)
        except UserError as error:
            raise UserError(f"{board.place_of('studies', index)}{error}") from error


def carry_out(
    board: Board, out: Path, device: str, workers: int | None, watcher: Watcher | None = None
) -> list[StudyRecord]:
    """Carry out the studies of a board, each in a folder beside the board's, `OUT-NAME`; resume what is there.

    Two of one name share a folder, and the runs that both need.
    """
    found = list[StudyRecord]()
    for content in board.studies:
        name, rest = content["study"], {field: value for field, value in content.items() if field != "study"}
        folder = out.with_name(f"{out.name}-{name.partition('@')[0]}")
        found += study(name, rest, folder, device=device, workers=workers, watcher=watcher)
    return found
