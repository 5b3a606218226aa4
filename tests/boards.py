"""Methods and boards that several tests of runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ddbench.boards.board import make_board
from ddbench.boards.jobs import Job, resolve
from ddbench.records.schema import Record

METHOD = '''
import ctypes, errno, math, os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import torch
from ddbench import DistilledDataset, State, UserError, register_method

@register_method("{name}")
@dataclass(frozen=True)
class Method:
    """Adds noise to real images."""

    family: ClassVar[str] = "test"
    paper: ClassVar[str] = "none"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed")
    tiny: ClassVar[dict[str, object]] = {{}}
    iterations: int = 8

    def distill(self, task, meter):
        images, labels = task.real_init()
        state = State(images=images)
        def result():
            return DistilledDataset.pixels(state.images, labels, initial=task.fixed_initial)
        for step in meter.steps(self.iterations, state, result):
            state.images += 0.01 * torch.rand(images.shape, generator=task.generator("noise"))
            meter.log(loss=1.0 / (step + 1))
            {body}
        {end}
'''


def write_method(folder: Path, name: str, body: str = "pass", end: str = "return result()") -> str:
    """Write a method's file and give its path.

    Args:
        body: a line at the end of every step
        end: the line after the loop
    """
    path = folder / f"{name}.py"
    path.write_text(METHOD.format(name=name, body=body, end=end))
    return str(path)


def jobs_of(*methods: str, **values: Any) -> list[Job]:
    """Small runs on digits, by a protocol that this process alone knows (the fixture `short`)."""
    content = {
        "board": "b",
        "datasets": "digits",
        "ipc": 1,
        "network": "convnet,depth=1,width=8",
        "protocol": "short-3@1",
        "networks": 2,
        "checkpoint_seconds": 0,
        "entries": [{"methods": [method]} for method in methods],
    }
    return resolve(make_board({**content, **values}), "cpu")


def outer(*methods: str, **values: Any) -> list[Job]:
    """Runs that other processes can carry out: of a protocol that ships."""
    return jobs_of(*methods, **{"protocol": "quick-300@1", "networks": 1, "curve_seeds": 0, **values})


def by_method(records: list[Record]) -> dict[str, Record]:
    return {record.result.cell.method: record for record in records}
