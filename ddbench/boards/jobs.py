"""A board's runs, resolved: everything that decides each one, and the key that names it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import torch

from ddbench.analyses.analysis import analysis_of
from ddbench.boards.board import Board, PlannedCell, PoolField
from ddbench.boards.cross_evaluation import check_ways, cross_evaluations
from ddbench.compute.device import resolve_device
from ddbench.compute.precision import precision_of
from ddbench.data import load_dataset
from ddbench.data.dataset import split_name
from ddbench.errors import UserError
from ddbench.evaluation.kernel_protocol import check_regression
from ddbench.evaluation.modality import network_for, size_of
from ddbench.evaluation.protocols import check_ceiling
from ddbench.meter.snapshots import SNAPSHOTS
from ddbench.records.cell import Budget, Cell, DeviceKind, GivenWeights, Pool, Scoring, run_key, run_name
from ddbench.records.network_files import NetworkFiles, files_of
from ddbench.records.source_digest import source_digest
from ddbench.registry import METHODS, MODALITIES, PROTOCOLS, find_method
from ddbench.task.hyperparameters import make_method, settings_of
from ddbench.task.settings import SETTINGS
from ddbench.task.weight_files import describe

if TYPE_CHECKING:
    from ddbench.data.builtin import Size
    from ddbench.evaluation.modality import Modality
    from ddbench.evaluation.protocols import AnyProtocol
    from ddbench.task.task import Method


@dataclass(frozen=True)
class Job:
    """One run, small enough to be sent to another process."""

    board: str
    cell: Cell
    seed: int
    method: str
    """a registered name, or the path of a file that registers one"""
    method_source: str
    """digest of the method's file and of the shared parts that it stands on"""
    dataset: str
    """a name or a path"""
    snapshots: tuple[float, ...]
    """fractions of the budget at which they are taken"""
    curve: bool
    """true if each is scored once the run has ended, not the start alone"""
    compile: bool | None
    """None decides by the length of the run"""
    checkpoint_seconds: float
    stall_seconds: float | None
    """silence after which the run is ended as hung; None takes the rule of `executors.watch`"""
    network_files: NetworkFiles = ()
    """places of the networks that were named by a file"""
    analyses: tuple[tuple[str, dict[str, Any]], ...] = ()
    """name and settings of each analysis of the artefact"""
    decoys: str | None = None
    """folder that the run's own process finds where it looks for data; None leaves it without one"""
    score: bool = True
    """false leaves what is distilled unscored"""
    chosen: str | None = None
    """how the board says that the method's settings were chosen; None where it does not"""

    @property
    def key(self) -> str:
        return run_key(self.cell, self.seed, self.method_source)

    @property
    def folder(self) -> str:
        """The run's folder, relative to the board's."""
        return f"{self.cell.method}/{run_name(self.cell, self.seed, self.key)}"

    def protocol(self) -> AnyProtocol:
        return PROTOCOLS.get(self.cell.protocol)

    def also_protocols(self) -> dict[str, dict[str, Any]]:
        """What a record says of the protocols that the cell is scored with beyond its own."""
        names = {scoring.protocol for scoring in self.cell.also or []} - {self.cell.protocol}
        return {name: PROTOCOLS.get(name).describe() for name in sorted(names)}

    @property
    def modality(self) -> Modality:
        """The kind of data of the cell."""
        return MODALITIES.get(self.cell.modality)

    def size(self) -> Size | None:
        """Return how much the data of the cell hold; None for a modality that does not tell."""
        return size_of(self.modality.data(self.dataset, self.cell.split, self.cell.peek))

    def make_method(self) -> Method:
        method: Method = make_method(find_method(self.method), self.cell.hyperparameters)
        return method


@dataclass(frozen=True)
class Selection:
    """A part of a board; what is empty takes all."""

    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    ipc: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = {"method": self.methods, "data set": self.datasets, "ipc": self.ipc}
        return ", ".join(f"{name} {' or '.join(map(str, found))}" for name, found in parts.items() if found)

    def takes(self, cell: PlannedCell) -> bool:
        names = {_canonical(name) for name in self.methods}
        return (
            (not names or _canonical(cell.method) in names)
            and (not self.datasets or cell.dataset in self.datasets)
            and (not self.ipc or cell.ipc in self.ipc)
        )


def resolve(board: Board, device: str | torch.device = "auto", selection: Selection | None = None) -> list[Job]:
    """Every run of a board, or of a part of it, in its order: seeds innermost, or where it says so outermost.

    Args:
        device: a name, which must be here, or a device, which may be another machine's

    Raises:
        UserError: for an unknown name, a hyper-parameter that does not fit, an ipc larger than the smallest class, a
            GPU or a precision where there is none, or a selection that takes nothing.
    """
    selection = selection or Selection()
    where = resolve_device(device) if isinstance(device, str) else device
    kind = cast(DeviceKind, where.type)
    _check_analyses(board)
    jobs, digest_of = [], cache(source_digest)
    for planned in filter(selection.takes, board.cells()):
        try:
            jobs += _jobs(board, planned, kind, digest_of)
        except UserError as error:
            raise UserError(f"{board.place(planned.entry)}{error}") from error
    if not jobs:
        raise UserError(f"board {board.board!r} has no cell of {selection}; leave out an option")
    return sorted(jobs, key=lambda job: job.seed) if board.order == "seeds" else jobs


def without_effect(board: Board, kind: str) -> Iterator[str]:
    """Yield a sentence for what a board asks for in vain on a kind of device."""
    if kind != "cuda" and any(planned.capture for planned in board.cells()):
        yield f"capture has no effect on {kind}: it saves the launches of a GPU of CUDA"


def not_forecast(board: Board) -> Iterator[str]:
    """Yield a sentence for what a board does beside distilling and scoring, which no forecast counts."""
    beside = [str(named["name"]) for named in board.analyses] + [str(content["study"]) for content in board.studies]
    if beside:
        yield f"not counted: {', '.join(beside)}, which come{'s' if len(beside) == 1 else ''} after scoring"


def _canonical(method: str) -> str:
    return method if method.endswith(".py") else METHODS.canonical(method)


def _jobs(board: Board, planned: PlannedCell, device: DeviceKind, digest_of: Callable[[Any], str]) -> list[Job]:
    cls = find_method(planned.method)
    method = make_method(cls, planned.set)
    modality, split = MODALITIES.get(planned.modality), split_name(board.validation)
    _check_method(planned, method)
    _check_needs(planned)
    if planned.capture and board.compile is False:
        raise UserError("capture is of compiled steps, and compile is false; leave out either")
    data, protocol = modality.data(planned.dataset, split, board.peek), PROTOCOLS.get(planned.protocol)
    check_ceiling(cls.name, protocol)
    if board.peek and protocol.kind == "full_data":
        raise UserError(f"peek holds training images back, and {protocol.name} trains on all of them; leave peek out")
    if board.analyses and protocol.kind == "krr":
        raise UserError(f"analyses ask trained networks, and {protocol.name} trains none; leave analyses out")
    network = network_for(planned.network, data)
    headline = Scoring(network=network, protocol=protocol.name, networks=planned.networks or protocol.networks)
    check_regression(protocol, headline.networks, planned.pool is not None)
    also = [
        way.model_copy(update={"network": network_for(way.network, data)})
        for way in cross_evaluations(planned.also, headline)
    ]
    cell = Cell(
        method=cls.name,
        hyperparameters=dataclasses.asdict(method),
        modality=planned.modality,
        dataset=data.name,
        dataset_digest=data.digest,
        preprocessing=planned.preprocessing,
        network=network,
        setting=planned.setting,
        ipc=planned.ipc,
        protocol=protocol.name,
        networks=headline.networks,
        budget=Budget(seconds=planned.budget, steps=planned.steps, peak_bytes=board.peak_bytes),
        split=split,
        device=device,
        threads=board.threads,
        pool=_pool(planned.pool),
        attack=planned.attack,
        also=also or None,
        peek=board.peek,
        precision=precision_of(device, planned.precision),
        capture=planned.capture and device == "cuda",
    )
    modality.check(cell, planned.dataset, method)
    check_ways(cell)
    for scoring in cell.also or []:
        check_ceiling(cls.name, PROTOCOLS.get(scoring.protocol))
    source, snapshots = digest_of(cls), _snapshots(planned)
    analyses = [analysis_of(named) for named in board.analyses]
    return [
        Job(
            board.board,
            cell,
            seed,
            method=planned.method,
            method_source=source,
            dataset=planned.dataset,
            snapshots=snapshots if _has_curve(board, seed) else snapshots and (0.0,),
            curve=_has_curve(board, seed),
            compile=True if cell.capture else board.compile,
            checkpoint_seconds=board.checkpoint_seconds,
            stall_seconds=board.stall_seconds,
            network_files=files_of(cell.all_networks),
            analyses=tuple((analysis.name, settings_of(analysis)) for analysis in analyses),
            chosen=planned.chosen,
        )
        for seed in range(planned.seeds)
    ]


def _check_analyses(board: Board) -> None:
    """Raise UserError for an analysis that is unknown or cannot have its settings."""
    for index, named in enumerate(board.analyses):
        try:
            analysis_of(named)
        except UserError as error:
            raise UserError(f"{board.place_of('analyses', index)}{error}") from error


def _has_curve(board: Board, seed: int) -> bool:
    return board.curve_seeds is None or seed < board.curve_seeds


def _snapshots(planned: PlannedCell) -> tuple[float, ...]:
    return SNAPSHOTS if planned.snapshots is None else tuple(planned.snapshots)


def _pool(named: PoolField | None) -> Pool | GivenWeights | None:
    if named is None:
        return None
    if named.weights is not None:
        return describe(named.weights, named.held_out if "held_out" in named.model_fields_set else None)
    trained = named.model_dump(exclude={"weights"})
    return Pool.model_validate(trained | {"dataset_digest": load_dataset(str(named.dataset)).digest})


def _check_method(planned: PlannedCell, method: Any) -> None:
    if hasattr(method, "check_ipc"):
        method.check_ipc(planned.ipc)
    known = getattr(method, "modalities", (planned.modality,))
    if planned.modality not in known:
        raise UserError(f"{method.name} is for {' and '.join(known)}, not {planned.modality}; set modality: {known[0]}")
    if planned.setting not in method.settings:
        raise UserError(
            f"{method.name} does not work in the {planned.setting!r} setting; it knows {', '.join(method.settings)}"
        )


def _check_needs(planned: PlannedCell) -> None:
    """Refuse a cell that lacks what its setting needs, or has what it has no use for."""
    needs = SETTINGS[planned.setting].needs
    for name in ("pool", "attack"):
        if (getattr(planned, name) is not None) != (name in needs):
            wrong = f"needs {name!r}; add it to the entry of a board"
            useless = f"has no use for {name!r}; leave it out"
            raise UserError(f"setting {planned.setting!r} {wrong if name in needs else useless}")
