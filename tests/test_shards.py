"""Shares of a board, carried out by commands of their own, and gathered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ddbench
from ddbench.io.locks import claimed
from ddbench.runs.shards import gather, parse_shard, share_of

BOARD: dict[str, Any] = {
    "methods": ["random_real", "class_mean"], "ipc": 1, "network": "convnet,depth=1,width=8", "networks": 1, "seeds": 2,
    "compile": False,
}  # fmt: skip


def runs(folder: Path) -> dict[str, int]:
    return {str(path.parent.relative_to(folder)): path.stat().st_mtime_ns for path in folder.glob("*/*/record.json")}


@pytest.mark.slow  # a board, and its shares; `.ci/run` carries it out beside the default run
def test_shares_are_gathered_and_nothing_is_made_again(tmp_path: Path) -> None:
    whole = ddbench.evaluate(BOARD, tmp_path / "whole")
    shared = tmp_path / "shared"
    made: dict[str, int] = {}
    for number in (1, 2, 3):
        ddbench.evaluate(BOARD, shared, shard=(number, 3))
        made |= runs(shared / "shards" / f"{number}-of-3")
    assert len(made) == 4
    gathered = ddbench.evaluate(BOARD, shared)
    assert runs(shared) == made
    assert {record.key: record.result for record in gathered} == {record.key: record.result for record in whole}
    assert list((shared / "shards").iterdir()) == []


def finished(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "record.json").write_text(name)


def test_what_shares_have_finished_is_moved_and_what_is_there_stays(tmp_path: Path) -> None:
    finished(tmp_path, "dm/seed0")
    finished(tmp_path / "shards" / "1-of-2", "dm/seed1", "dc/seed0")
    finished(tmp_path / "shards" / "2-of-2", "dc/seed1")
    (tmp_path / "shards" / "2-of-2" / "dm" / "seed2").mkdir(parents=True)  # interrupted: its share goes on from here
    (tmp_path / "shards" / "1-of-2" / "cache").mkdir()
    gather(tmp_path, lambda sentence: None)
    assert set(runs(tmp_path)) == {"dm/seed0", "dm/seed1", "dc/seed0", "dc/seed1"}
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["2-of-2"]
    assert (tmp_path / "shards" / "2-of-2" / "dm" / "seed2").is_dir()


def test_a_share_at_work_is_left_alone(tmp_path: Path) -> None:
    finished(tmp_path / "shards" / "1-of-2", "dm/seed0")
    told: list[str] = []
    with claimed(tmp_path / "shards" / "1-of-2"):
        gather(tmp_path, told.append)
    assert told == ["shard 1-of-2 is still at work; its runs are not taken yet"]
    assert runs(tmp_path) == {}


def test_every_run_is_in_one_share() -> None:
    jobs: list[Any] = list(range(10))
    assert sorted(job for number in range(1, 5) for job in share_of(jobs, (number, 4))) == jobs


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ddbench.UserError, match="is not one of 1/N to N/N; give 1/4 for the first quarter of the runs"):
        parse_shard(text)
