"""Boards: one YAML of cells and one table. Read strictly; every complaint names the place and the value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError, create_model, model_validator

from ddbench.compute.precision import Precision
from ddbench.errors import UserError
from ddbench.io.documents import parse_yaml, read_bytes
from ddbench.records.cell import MOST_GIVEN, MOST_MARGIN, MOST_STEPS, Attack, NetworkSpec, Setting
from ddbench.records.fields import Strict, Word, sentence
from ddbench.records.notation import NetworkField, parse_bytes, parse_seconds

MOST_BYTES = 2**18
"""largest size of a board's file, which PyYAML reads in two seconds; those that ship have some kilobytes"""
MOST_RUNS = 100_000
"""largest number of runs of a board"""
MOST_THREADS = 1024


def _ascending(fractions: list[float]) -> list[float]:
    if any(later <= earlier for earlier, later in pairwise(fractions)):
        raise ValueError(f"{fractions} does not ascend; list each fraction once, the smallest first")
    return fractions


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _with_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
Ipcs = Annotated[list[Annotated[int, Field(gt=0, strict=True)]], BeforeValidator(_listed), Field(min_length=1)]
Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]
Count = Annotated[int, Field(gt=0, strict=True)]
PoolSize = Annotated[int, Field(gt=0, le=MOST_GIVEN, strict=True)]
Trained = Annotated[int, Field(gt=0, le=MOST_STEPS, strict=True)]
Margin = Annotated[int, Field(ge=0, le=MOST_MARGIN, strict=True)]
NamedAnalysis = Annotated[dict[str, Any], BeforeValidator(_with_name)]
"""`calibration@1`, or `{name: calibration@1, bins: 10}`"""
Fractions = Annotated[list[Annotated[float, Field(ge=0, lt=1)]], AfterValidator(_ascending)]
Chosen = Annotated[str, Field(pattern=r"^(paper|hand|tuned\([1-9][0-9]*\))$")]
"""`paper`, as published; `hand`; or `tuned(8)`, the best of 8 trials of `ddbench tune`"""
Preprocessing = Literal["normalize", "standardize", "zca", "regularized_zca"]


class PoolField(Strict):
    """Given networks, as a board names them: what to train them on, see `records.Pool`, or a file of their weights."""

    dataset: str | None = None
    weights: str | None = None
    """a `.safetensors` file, see `ddbench.task.pretrained`"""
    train: PoolSize = 20
    held_out: PoolSize = 20
    steps: Trained = 2000
    batch: Trained = 128
    lr: Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)] = 1e-3
    margin: Margin = 0

    @model_validator(mode="after")
    def _one_source(self) -> PoolField:
        if (self.dataset is None) == (self.weights is None):
            raise ValueError("name a dataset to train networks on, or a file of weights")
        if self.weights is not None and (unused := self.model_fields_set - {"weights", "held_out"}):
            raise ValueError(f"{', '.join(sorted(unused))} cannot be set for networks that a file gives")
        return self


class ScoringField(Strict):
    """A further way to score each artefact; what it leaves out it takes from the cell. See `records.Scoring`."""

    network: NetworkField | None = None
    protocol: str | None = None
    networks: Count | None = None


class CellFields(Strict):
    """What a board says of its cells, and an entry of its own in place of that."""

    modality: str = "images"
    """the kind of data"""
    network: NetworkField = NetworkSpec(name="convnet")
    setting: Setting = "random"
    pool: PoolField | None = None
    """pretrained networks, for the settings that start from them"""
    attack: Attack | None = None
    """the label map of the setting `attack`"""
    preprocessing: Preprocessing = "normalize"
    protocol: str = "dsa-1000@1"
    networks: Count | None = None
    """evaluation networks; None takes the protocol's number"""
    budget: Seconds | None = None
    """seconds a run may spend; None runs every planned step"""
    steps: Count | None = None
    """steps a run may take, over all its loops"""
    also: list[ScoringField] = []
    """ways to score each artefact beyond `network` and `protocol`; `[]` for none"""
    seeds: Count = 1
    """distillation seeds 0, 1, ..."""
    snapshots: Fractions | None = None
    """fractions of the budget, or of the planned steps, at which they are taken; None takes `snapshots.SNAPSHOTS`"""
    precision: Precision | None = None
    """precision of the arithmetic; None takes `tf32` on a GPU of CUDA, `float32` elsewhere"""
    capture: bool = False
    """compile steps and capture them as graphs of launches on a GPU of CUDA; on other devices it has no effect"""


class PlannedCell(CellFields):
    """A method, a data set and an ipc of an entry, with what that leaves out taken from the board."""

    entry: int
    """its entry's place in the file"""
    method: str
    dataset: str
    ipc: int
    set: dict[str, Any]
    chosen: Chosen | None


_optional: dict[str, Any] = {
    name: (field.rebuild_annotation() | None, None) for name, field in CellFields.model_fields.items()
}
OptionalCellFields: Any = create_model("OptionalCellFields", __base__=Strict, **_optional)


class Entry(OptionalCellFields):  # type: ignore[misc]  # its fields are those of `CellFields`, each of which may be left out
    """Some methods of a board; what it leaves out it takes from the board."""

    methods: Names
    datasets: Names | None = None
    ipc: Ipcs | None = None
    source: str | None = None
    """source of its settings, and maybe the published figure; no part of the cells"""
    chosen: Chosen | None = None
    """how its settings were chosen; no part of the cells either"""
    set: dict[str, Any] = {}
    """hyper-parameters that differ from the methods' defaults"""


class Board(CellFields):
    """One leaderboard: its cells, and the fields that they share."""

    board: Word
    title: str = ""
    datasets: Names
    ipc: Ipcs
    peak_bytes: Bytes | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] | None = None
    """score on this stratified share of the training data, held back from the methods, in place of the test set"""
    peek: Annotated[float, Field(gt=0, lt=1)] | None = None
    """hold back this stratified share of the training data, and say what selecting snapshots and readings of evaluation
    networks by it would have given, and by the test set; the last ones are the headline all the same"""
    threads: Annotated[int, Field(gt=0, le=MOST_THREADS, strict=True)] = 1
    """threads of a run's process"""
    compile: bool | None = None
    """what runs repeat; None compiles those that are long enough, see `compiling.worth_compiling`"""
    order: Literal["cells", "seeds"] = "cells"
    """order of the runs: all seeds of a cell before the next cell, or seed 0 of every cell before any seed 1"""
    curve_seeds: Annotated[int, Field(ge=0, strict=True)] | None = None
    """seeds whose snapshots are scored for the accuracy-against-seconds curve, not the start alone; None takes all"""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 20.0
    stall_seconds: Seconds | None = None
    """end a run as hung when no step ends for so long; None takes the rule of `executors.watch`"""
    analyses: list[NamedAnalysis] = []
    """further questions about each artefact, asked after scoring and not charged; no part of the cells"""
    studies: list[dict[str, Any]] = []
    """studies to carry out after its cells, each with all fields of `ddbench.studies.board.StudyBoard` that it needs"""
    entries: Annotated[list[Entry], Field(min_length=1)]

    _file: str = PrivateAttr("")

    @model_validator(mode="after")
    def _one_split(self) -> Board:
        if self.validation is not None and self.peek is not None:
            raise ValueError("validation and peek both hold back training images; leave out one")
        return self

    @model_validator(mode="after")
    def _countable(self) -> Board:
        runs = 0
        for entry in self.entries:
            datasets, ipcs = entry.datasets or self.datasets, entry.ipc or self.ipc
            runs += len(entry.methods) * len(datasets) * len(ipcs) * (entry.seeds or self.seeds)
        if runs > MOST_RUNS:
            raise ValueError(f"{runs} runs are more than a board can have, {MOST_RUNS}")
        return self

    def place(self, index: int) -> str:
        """Return the place of an entry, to begin a complaint with; an empty text for a board that came from no file."""
        return self.place_of("entries", index)

    def place_of(self, field: str, index: int) -> str:
        """Return the place of an element of a field, likewise."""
        return f"{self._file}: {field}.{index}: " if self._file else ""

    def cells(self) -> Iterator[PlannedCell]:
        """Every cell, in the order of the file."""
        shared = {name: getattr(self, name) for name in CellFields.model_fields}
        for index, entry in enumerate(self.entries):
            own = {name: value for name in shared if (value := getattr(entry, name)) is not None}
            datasets, ipcs = entry.datasets or self.datasets, entry.ipc or self.ipc
            for method, dataset, ipc in product(entry.methods, datasets, ipcs):
                place = {"entry": index, "method": method, "dataset": dataset, "ipc": ipc, "set": entry.set}
                place["chosen"] = entry.chosen
                yield PlannedCell.model_construct(**shared | own | place)


def load_board(path: Path) -> Board:
    """Read a board from YAML; files of methods that it names are not run.

    Raises:
        UserError: when the file is missing, is no YAML, or holds an unknown key, a wrong type or a value out of range;
            the sentence names the place in the file.
    """
    try:
        content = parse_yaml(read_bytes(path, MOST_BYTES))
    except OSError as error:
        raise UserError(
            f"no board at {path} ({error.strerror}); `ddbench list boards` shows those that ship"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {error}; see configs/quickstart.yaml") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}, not a board; see configs/quickstart.yaml")
    board = make_board(content, where=str(path))
    board._file = str(path)
    return board


def make_board(content: Mapping[str, Any], where: str = "board") -> Board:
    """A board from plain values; the same checks as for a file."""
    try:
        return Board.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {sentence(error, _model_at)}") from error


def _model_at(path: list[str]) -> type[Strict]:
    """What the last key of a path should be a field of."""
    for name, model in (("network", NetworkSpec), ("pool", PoolField), ("attack", Attack), ("also", ScoringField)):
        if name in path[:-1]:
            return model
    return Entry if path[0] == "entries" else Board
