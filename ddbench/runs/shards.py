"""Shares of a board that several commands carry out at once, as the jobs of an array, and what they leave."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from ddbench.boards.jobs import Job
from ddbench.errors import UserError
from ddbench.io.locks import claimed
from ddbench.records.run_folder import RECORD

FOLDER = "shards"
SHARD = re.compile(r"(\d{1,5})/(\d{1,5})")


def parse_shard(text: str) -> tuple[int, int]:
    """Return number and count of a share written as `2/4`.

    Raises:
        UserError: when it is not written so, or the number lies outside.
    """
    found = SHARD.fullmatch(text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"shard {text!r} is not one of 1/N to N/N; give 1/4 for the first quarter of the runs")
    return number, count


def share_of(jobs: list[Job], shard: tuple[int, int]) -> list[Job]:
    """Return every count-th run, from the numbered one on, so that each share has some of every method."""
    number, count = shard
    return jobs[number - 1 :: count]


def shard_folder(out: Path, shard: tuple[int, int]) -> Path:
    """Return the folder of a share, below the board's."""
    return out / FOLDER / f"{shard[0]}-of-{shard[1]}"


def gather(out: Path, say: Callable[[str], None]) -> None:
    """Move the finished runs of all shares into the board's folder; a share that is at work is left alone.

    Args:
        say: told which ones are
    """
    for folder in sorted((out / FOLDER).glob("*-of-*")):
        try:
            with claimed(folder):
                _take(folder, out)
        except UserError:
            say(f"shard {folder.name} is still at work; its runs are not taken yet")
            continue
        if not any(folder.glob("*/*/")):
            shutil.rmtree(folder)


def _take(folder: Path, out: Path) -> None:
    for record in sorted(folder.glob(f"*/*/{RECORD}")):
        target = out / record.parent.relative_to(folder)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            record.parent.rename(target)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    for method in folder.iterdir():
        if method.is_dir() and not any(method.iterdir()):
            method.rmdir()
