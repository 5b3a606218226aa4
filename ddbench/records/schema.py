"""The one JSON file that a run leaves; every table, plot and page is computed from these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ddbench.io.atomic import canonical_json, digest
from ddbench.records.fields import Digest, Line, Logged, Name, Seconds, Word
from ddbench.records.fields import Strict as Strict  # who extends records needs it

SCHEMA_VERSION = 1
MOST_GIVEN = 10_000
"""networks of a pool; the seed paper gives 2000"""
MOST_STEPS = 10**6
"""of training one of them, and images of a batch"""
MOST_MARGIN = 256
DeviceKind = Literal["cpu", "cuda"]
Status = Literal["ok", "truncated", "diverged", "out_of_memory", "timeout", "failed", "crashed"]
"""How a run ended.

- `ok`, `truncated`: with scores; of the latter the budget ended before the planned iterations
- `diverged`, `out_of_memory`, `failed`: the method's doing, the same again for the same code; `failed` raised or exited
- `timeout`, `crashed`: its process was ended, as hung, by a signal, by a full disk, with its node
"""
UNFINISHED: tuple[Status, ...] = ("timeout", "crashed")
"""a run that ended so goes on from its last checkpoint when its board is run again"""


class NetworkSpec(Strict):
    name: Name
    parameters: dict[Name, bool | int | float | Name] = {}

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in sorted(self.parameters.items()))
        return f"{self.name}({settings})" if settings else self.name


class Budget(Strict):
    """What a run may spend; None means unlimited."""

    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """device seconds on a GPU, core-seconds on a CPU"""
    steps: int | None = Field(default=None, gt=0)
    """steps of every loop together, expert training included"""
    peak_bytes: int | None = Field(default=None, gt=0)


class Pool(Strict):
    """Networks that a task gives: how they were trained, by Adam with a step size that falls to a tenth half way."""

    dataset: Line
    """what they were trained on, by name or path; resized to the cell's image format"""
    dataset_digest: Digest
    train: int = Field(default=20, gt=0, le=MOST_GIVEN)
    """networks to learn with"""
    held_out: int = Field(default=20, gt=0, le=MOST_GIVEN)
    """networks to score with"""
    steps: int = Field(default=2000, gt=0, le=MOST_STEPS)
    batch: int = Field(default=128, gt=0, le=MOST_STEPS)
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    margin: int = Field(default=0, ge=0, le=MOST_MARGIN)
    """black pixels put on each side of their images before these were resized: USPS's digits fill theirs, MNIST's take
    20 pixels of 28"""

    @model_serializer(mode="wrap")
    def _with_a_margin_if_any(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """It came later, and older keys stay what they were."""
        return {name: value for name, value in write(self).items() if name != "margin" or value}

    @property
    def name(self) -> str:
        return self.dataset


class GivenWeights(Strict):
    """Networks that a file gives: one, to learn and to score with, or several, of which the last are held out."""

    file: Line
    digest: Digest
    train: int = Field(gt=0, le=MOST_GIVEN)
    held_out: int = Field(gt=0, le=MOST_GIVEN)

    @property
    def name(self) -> str:
        return self.file


def read_pool(described: Mapping[str, Any]) -> Pool | GivenWeights:
    """Given networks from their description.

    Raises:
        ValidationError: when it is of neither kind.
    """
    return (GivenWeights if "file" in described else Pool).model_validate(described)


class Attack(Strict):
    """A label map: trained networks are to take one class for another."""

    source: int = Field(ge=0, strict=True)
    """the class that is to be mistaken"""
    target: int = Field(ge=0, strict=True)
    """for this one"""


Setting = Literal["random", "fixed", "pretrained", "attack"]
"""where networks start: from fresh weights, from one stored set of weights, from a pool of trained networks, or from a
pool that is to be led astray"""


class Scoring(Strict):
    """A way to score an artefact."""

    network: NetworkSpec
    """to train on it"""
    protocol: Word
    networks: int = Field(gt=0)
    """how many"""


NEUTRAL = {"decoder": "pixels", "init": "real", "schedule": "halved", "networks_per_step": 1}
"""hyper-parameters that methods got later, with the values under which they change nothing"""


class Cell(Strict):
    """Everything that decides a result but the seed."""

    method: Name
    hyperparameters: dict[str, Any]
    """every field of the method, defaults included"""
    dataset: Name
    dataset_digest: Digest
    preprocessing: Name
    network: NetworkSpec
    setting: Setting
    ipc: int = Field(gt=0)
    protocol: Word
    networks: int = Field(gt=0)
    """evaluation networks a run is scored with"""
    budget: Budget
    split: Name = "test"
    """`test`, or `validation`: a stratified part of the training data, for choosing hyper-parameters"""
    device: DeviceKind
    threads: int = Field(gt=0)
    pool: Pool | GivenWeights | None = None
    """of the settings `pretrained` and `attack`"""
    attack: Attack | None = None
    also: list[Scoring] | None = None
    """ways to score each artefact beyond the headline, which is `network` under `protocol`"""
    peek: float | None = Field(default=None, gt=0, lt=1)
    """stratified share of the training images that methods do not see, to select readings and snapshots by; the test
    set is scored all the same"""

    @property
    def most_networks(self) -> int:
        """That any of the ways it is scored in takes."""
        return max([self.networks, *(way.networks for way in self.also or [])])

    @property
    def distinguishing(self) -> dict[str, Any]:
        """The hyper-parameters without those that have a neutral value: a record from before they came is of one cell
        with a later one."""
        return {name: value for name, value in self.hyperparameters.items() if NEUTRAL.get(name) != value}


class Score(Strict):
    """One network trained once on the artefact."""

    network: NetworkSpec
    seed: int
    accuracy: float = Field(ge=0, le=1)
    """at the last step, in [0, 1]"""
    metrics: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """further shares in [0, 1], by name: `before`, the accuracy of a pool's network that was not trained further;
    `success`, the share of an attack's class that is taken for its target; of a cell with `peek`: `held_out`, the
    accuracy on the held-out images at the last step, `validation` and `oracle`, that on the test set at the reading
    which is best on the held-out images, or on the test set itself"""


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

    step: int
    accuracy: float = Field(ge=0, le=1)


class Result(Strict):
    """Equal between equal runs, byte for byte on a CPU."""

    cell: Cell
    seed: int = Field(ge=0)
    status: Status
    reason: Line | None = None
    """why a run has no scores, or what its budget left no step for"""
    steps_done: dict[str, int] = {}
    steps_planned: dict[str, int] = {}
    artifact: Digest | None = None
    """digest of the `.safetensors` file"""
    scores: list[Score] = []
    curve: list[CurvePoint] = []
    also: list[FurtherScore] = []
    """by the ways of `cell.also`, in its order"""
    snapshots: Selected | None = None
    """of a cell with `peek`: over the snapshots of `curve` and the finished artefact, all scored as snapshots are"""


class Measured(Strict):
    """What need not be equal between equal runs."""

    seconds: dict[str, Seconds] = {}
    """charged to the budget, by phase"""
    uncharged_seconds: dict[str, Seconds] = {}
    """snapshots, compilation and evaluation, by phase"""
    curve_seconds: list[Seconds] = []
    """charged seconds at each point of `result.curve`"""
    peak_bytes: int = 0
    flops_per_step: int | None = None
    started: Line
    finished: Line
    attempts: int = 1
    log: dict[str, list[tuple[int, Logged]]] = {}
    environment: dict[str, Any]
    """of the run"""
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
    stored_bytes: dict[str, int] = {}
    """of the artefact: images, labels, recipe, initial"""
    result: Result
    measured: Measured
    rescores: Digest | None = None
    """digest of the record file whose scores this one measured again, maybe elsewhere, from the same artefact; what the
    distillation took is copied from it"""

    @property
    def name(self) -> str:
        """Of the run, as a file or folder."""
        return run_name(self.result.cell, self.result.seed, self.key)

    @property
    def accuracy(self) -> float | None:
        """Mean over the evaluation networks, in [0, 1]; None for a run without scores."""
        scores = self.result.scores
        return sum(score.accuracy for score in scores) / len(scores) if scores else None

    @property
    def charged_seconds(self) -> float:
        return sum(self.measured.seconds.values())


LATER = ("pool", "attack", "also", "peek")


def run_key(cell: Cell, seed: int, method_source: str) -> str:
    """16 hexadecimal digits that name a run."""
    # Fields that came later count only where they are used: older keys stay what they were.
    content = cell.model_dump(mode="json", exclude={name for name in LATER if getattr(cell, name) is None})
    return digest(canonical_json([content, seed, method_source])).removeprefix("sha256:")[:16]


def run_name(cell: Cell, seed: int, key: str) -> str:
    """`mnist-ipc10-seed0-<key>`"""
    return f"{Path(cell.dataset).stem}-ipc{cell.ipc}-seed{seed}-{key}"
