"""The one JSON file that a run leaves; every table, plot and page is computed from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ddbench.records.cell import Cell, NetworkSpec, run_name
from ddbench.records.fields import LATER, Count, Digest, Line, Logged, Seconds, Strict, Word
from ddbench.records.html import html_table
from ddbench.records.metrics import METRICS

SCHEMA_VERSION = 1
Status = Literal[
    "ok", "truncated", "overdrawn", "unaccounted", "diverged", "out_of_memory", "timeout", "failed", "crashed"
]
"""how a run ended, see `STATUSES`"""
STATUSES: dict[Status, str] = {
    "ok": "every planned step was done",
    "truncated": "the budget ended before the planned steps; its scores count all the same",
    "overdrawn": "it spent more than its budget, by more than a usual step and a tenth; its scores do not count",
    "unaccounted": "its processes used more time than it was charged or excused for; its scores do not count",
    "diverged": "a logged value, or the artefact, was not finite, or a value exploded",
    "out_of_memory": "more was asked for than the device has, or than the budget of bytes allows",
    "timeout": "no step ended for a long time, or the run took far longer than its budget by the wall clock",
    "failed": "the method raised, exited, or returned something else than a distilled set",
    "crashed": "its process was ended from outside: by a signal, for its memory, by a full disk, or with its machine",
}
"""what each status of a run means"""
COUNTED: tuple[Status, ...] = ("ok", "truncated")
"""the scores of these count"""
SCORED: tuple[Status, ...] = (*COUNTED, "overdrawn", "unaccounted")
"""these have scores"""
UNFINISHED: tuple[Status, ...] = ("timeout", "crashed")
"""a run that ended so goes on from its last checkpoint when its board is run again; every other status is final for the
same code"""


LabelSource = Literal["hard", "static", "stored", "teacher"]
"""what labels a distilled image, see `LABELS`"""
LABELS: dict[LabelSource, str] = {
    "hard": "each image has a class",
    "static": "soft labels are stored with the images, the same in every epoch",
    "stored": "soft labels are stored for the augmented images of many epochs",
    "teacher": "a network that is stored with the images labels each batch as it is trained on",
}
"""what each source of labels means"""
MOST_OF_START = 5
"""networks that a run's start is scored with, at most"""
SOFT = {"lr_labels": None, "soft_labels": False}
"""hyper-parameters of the methods that stored soft labels before records named the source of labels, with the value of
each under which they did not"""


class Score(Strict):
    """One network trained once on the artefact."""

    network: NetworkSpec
    seed: int
    accuracy: float = Field(ge=0, le=1)
    """at the last step, in [0, 1]"""
    metrics: dict[str, float] = {}
    """further measures by name, each in its declared range, see `records.metrics`: `before` and `success` of settings,
    `held_out`, `validation` and `oracle` of a cell with `peek`"""

    @field_validator("metrics")
    @classmethod
    def _in_their_ranges(cls, metrics: dict[str, float]) -> dict[str, float]:
        for name, value in metrics.items():
            if name in METRICS and not METRICS[name].allows(value):
                low, high = METRICS[name].low, METRICS[name].high
                raise ValueError(f"metric {name!r} is {value:g}; it lies between {low:g} and {high:g}")
        return metrics

    def __repr__(self) -> str:
        further = "".join(f", {name} {value:.3g}" for name, value in self.metrics.items())
        return f"{type(self).__name__}({self.network}, seed {self.seed}: {100 * self.accuracy:.1f} %{further})"


class FurtherScore(Score):
    """One of the ways that `Cell.also` lists."""

    protocol: Word


class Selected(Strict):
    """Test accuracy in [0, 1] by rule of selection, of readings in the order of time."""

    last: float = Field(ge=0, le=1)
    validation: float = Field(ge=0, le=1)
    """at the reading that is best on held-out training images"""
    oracle: float = Field(ge=0, le=1)
    """the best: nobody who keeps the test set apart can report it"""


class CurvePoint(Strict):
    """A snapshot taken on the way, scored with one network and the protocol's short form."""

    step: Count
    accuracy: float = Field(ge=0, le=1)


class Result(Strict):
    """Equal between equal runs, byte for byte on a CPU."""

    cell: Cell
    seed: int = Field(ge=0)
    status: Status
    reason: Line | None = None
    """why a run has no scores, or what its budget left no step for"""
    steps_done: dict[str, Count] = {}
    steps_planned: dict[str, Count] = {}
    artifact: Digest | None = None
    """digest of the `.safetensors` file"""
    unscored: Annotated[bool, LATER] = False
    """true where the run was to be left without scores, as by `ddbench distill --no-score`"""
    scores: list[Score] = []
    start: Annotated[list[Score], LATER] = []
    """scores of the artefact before the first step of the main loop, of as many networks as `scores`, at most
    `MOST_OF_START`"""
    curve: list[CurvePoint] = []
    also: list[FurtherScore] = []
    """by the ways of `cell.also`, in its order"""
    snapshots: Selected | None = None
    """for a cell with `peek`, the selection over the snapshots of `curve` and the finished artefact, scored alike"""


class Measured(Strict):
    """What need not be equal between equal runs."""

    seconds: dict[str, Seconds] = {}
    """charged to the budget, by phase"""
    uncharged_seconds: dict[str, Seconds] = {}
    """snapshots, compilation and evaluation, by phase"""
    outside_seconds: Annotated[Seconds | None, LATER] = None
    """the distillation as the command saw it, over the attempts that it saw to their end: on a CPU core-seconds of the
    run's process and of whatever it started, on a GPU wall seconds; None where nobody looked"""
    load: Annotated[float | None, Field(ge=0, le=1), LATER] = None
    """share of the machine's processor time that was in use, by this run and others, while its last attempt distilled;
    None where nobody looked"""
    curve_seconds: list[Seconds] = []
    """charged seconds at each point of `result.curve`"""
    peak_bytes: Count = 0
    flops_per_step: Count | None = None
    started: Line
    finished: Line
    attempts: int = Field(default=1, ge=1)
    log: dict[str, list[tuple[Count, Logged]]] = {}
    environment: dict[str, Any]
    """the machine and versions of the run"""
    rescored_in: dict[str, Any] | None = None
    """the environment of the scores, where they were measured again"""


class Record(Strict):
    schema_version: Literal[1] = 1
    key: str
    """hash of the cell, the seed and the method's file"""
    board: Word
    method_source: Digest
    """digest of the method's file, and of the shared parts that it stands on"""
    protocol: dict[str, Any]
    """the protocol as resolved, so that a record can be read without the code"""
    also_protocols: dict[str, dict[str, Any]] = {}
    """likewise those that `result.cell.also` adds, by name"""
    stored_bytes: dict[str, Count] = {}
    """bytes of the artefact's images, labels, recipe and initial weights"""
    label_source: Annotated[LabelSource | None, LATER] = None
    """None where there is no artefact, and in records from before; see `labels`"""
    result: Result
    measured: Measured
    rescores: Digest | None = None
    """digest of the record file whose scores this one measured again, maybe elsewhere, from the same artefact; what the
    distillation took is copied from it"""
    replays: Annotated[Digest | None, LATER] = None
    """digest of the record file whose run this one repeats, with as many steps; its cell's budget is these steps"""
    bound: Annotated[float | None, Field(ge=-1, le=1), LATER] = None
    """how far the accuracy of the record that is measured again may lie above this one's, by the rules of `verify`;
    negative where networks that are not among these scores did worse"""
    same_bytes: Annotated[bool | None, LATER] = None
    """true if the replay's artefact holds what the first one's does, to the bit; None where that was not at hand"""

    def __repr__(self) -> str:
        cell, scored = self.result.cell, "" if self.accuracy is None else f", {100 * self.accuracy:.1f} %"
        where = f"{cell.method} on {cell.dataset}, ipc {cell.ipc}, seed {self.result.seed}"
        return f"Record({where}: {self.result.status}{scored})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Show the record in a notebook as a table of one row."""
        return html_table([self.row()])

    def row(self) -> dict[str, str]:
        """Return what a table of runs says of this one, by column."""
        result = self.result
        return {
            "method": result.cell.method,
            "data": result.cell.dataset,
            "ipc": str(result.cell.ipc),
            "seed": str(result.seed),
            "accuracy %": "" if self.accuracy is None else f"{100 * self.accuracy:.1f}",
            "networks": str(len(result.scores)),
            "status": result.status,
            "reason": result.reason or "",
        }

    @property
    def name(self) -> str:
        """The run's name as a file or folder."""
        return run_name(self.result.cell, self.result.seed, self.key)

    @property
    def accuracy(self) -> float | None:
        """Mean over the evaluation networks, in [0, 1]; None for a run without scores that count."""
        scores = self.result.scores if self.result.status in COUNTED else []
        return sum(score.accuracy for score in scores) / len(scores) if scores else None

    @property
    def labels(self) -> LabelSource:
        """What labels the artefact's images."""
        given = self.result.cell.hyperparameters
        soft = any(name in given and given[name] != hard for name, hard in SOFT.items())
        return self.label_source or ("static" if soft else "hard")

    @property
    def charged_seconds(self) -> float:
        return sum(self.measured.seconds.values())


class Records(list[Record]):
    """A list of records that shows one a line, and a table in a notebook."""

    def __repr__(self) -> str:
        return f"[{f',{chr(10)} '.join(map(repr, self))}]"

    def _repr_html_(self) -> str:
        return html_table([record.row() for record in self])
