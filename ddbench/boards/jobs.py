"""A board's runs, resolved: everything that decides each one, and the key that names it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ddbench.boards.board import Board, BoardCell, PoolField
from ddbench.boards.cross_evaluation import scorings
from ddbench.compute.device import resolve_device
from ddbench.data import Dataset, load_dataset, load_split
from ddbench.decoders import check_storage, parse_decoder
from ddbench.errors import UserError
from ddbench.meter.snapshots import SNAPSHOTS
from ddbench.networks import build_network
from ddbench.records.schema import (
    Attack,
    Budget,
    Cell,
    DeviceKind,
    GivenWeights,
    Pool,
    Scoring,
    run_key,
    run_name,
)
from ddbench.records.source_digest import source_digest
from ddbench.registry import METHODS, PROTOCOLS, find_method
from ddbench.task.hyperparameters import make_method
from ddbench.task.weight_files import describe

if TYPE_CHECKING:
    from ddbench.evaluation.protocols import Protocol
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
    validation: float | None
    snapshots: tuple[float, ...]
    """fractions of the budget at which they are taken; each is scored once the run has ended"""
    compile: bool | None
    """None decides by the length of the run"""
    checkpoint_seconds: float
    stall_seconds: float | None
    """of silence after which the run is ended as hung; None takes the rule of `executors.watch`"""

    @property
    def key(self) -> str:
        return run_key(self.cell, self.seed, self.method_source)

    @property
    def folder(self) -> str:
        """Where the run lives below the board's folder."""
        return f"{self.cell.method}/{run_name(self.cell, self.seed, self.key)}"

    def protocol(self) -> Protocol:
        protocol: Protocol = PROTOCOLS.get(self.cell.protocol)
        return protocol

    def also_protocols(self) -> dict[str, dict[str, Any]]:
        """What a record says of the protocols that the cell is scored with beyond its own."""
        names = {scoring.protocol for scoring in self.cell.also or []} - {self.cell.protocol}
        return {name: PROTOCOLS.get(name).describe() for name in sorted(names)}

    def load_data(self) -> Dataset:
        """The data set with the split that the cell scores on."""
        return load_split(self.dataset, self.validation, self.cell.peek)

    def load_held_out(self) -> Dataset | None:
        """Of a cell with `peek`, a data set whose test split is what `load_data` holds out."""
        return load_dataset(self.dataset).validation(self.cell.peek) if self.cell.peek else None

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

    def takes(self, cell: BoardCell) -> bool:
        names = {_canonical(name) for name in self.methods}
        return (
            (not names or _canonical(cell.method) in names)
            and (not self.datasets or cell.dataset in self.datasets)
            and (not self.ipc or cell.ipc in self.ipc)
        )


def resolve(board: Board, device: str | torch.device = "auto", selection: Selection | None = None) -> list[Job]:
    """Every run of a board, or of a part of it, in its order: seeds innermost.

    Args:
        device: a name, which must be here, or a device, which may be another machine's

    Raises:
        UserError: for an unknown name, a hyper-parameter that does not fit, an ipc larger than the smallest class, a
            GPU where there is none, or a selection that takes nothing.
    """
    selection = selection or Selection()
    where = resolve_device(device) if isinstance(device, str) else device
    kind: DeviceKind = "cuda" if where.type == "cuda" else "cpu"
    jobs = []
    for planned in filter(selection.takes, board.cells()):
        try:
            jobs += _jobs(board, planned, kind)
        except UserError as error:
            raise UserError(f"{board.place(planned.entry)}{error}") from error
    if not jobs:
        raise UserError(f"board {board.board!r} has no cell of {selection}; leave out an option")
    return jobs


def _canonical(method: str) -> str:
    return method if method.endswith(".py") else METHODS.canonical(method)


def _jobs(board: Board, planned: BoardCell, device: DeviceKind) -> list[Job]:
    cls = find_method(planned.method)
    data = load_split(planned.dataset, board.validation, board.peek)
    method = make_method(cls, planned.set)
    _check(planned, method, data)
    pool = _pool(planned.pool)
    protocol: Protocol = PROTOCOLS.get(planned.protocol)
    headline = Scoring(network=planned.network, protocol=protocol.name, networks=planned.networks or protocol.networks)
    if pool is not None:
        _check_pool(pool, data, headline.networks)
    cell = Cell(
        method=cls.name,
        hyperparameters=dataclasses.asdict(method),
        dataset=data.name,
        dataset_digest=data.digest,
        preprocessing=planned.preprocessing,
        network=planned.network,
        setting=planned.setting,
        ipc=planned.ipc,
        protocol=protocol.name,
        networks=headline.networks,
        budget=Budget(seconds=planned.budget, steps=planned.steps, peak_bytes=board.peak_bytes),
        split="test" if board.validation is None else f"validation({board.validation})",
        device=device,
        threads=board.threads,
        pool=pool,
        attack=planned.attack,
        also=scorings(planned.also, headline, planned.setting, pool, data),
        peek=board.peek,
    )
    source = source_digest(cls)
    return [
        Job(
            board.board,
            cell,
            seed,
            method=planned.method,
            method_source=source,
            dataset=planned.dataset,
            validation=board.validation,
            snapshots=_snapshots(planned) if board.curve_seeds is None or seed < board.curve_seeds else (),
            compile=board.compile,
            checkpoint_seconds=board.checkpoint_seconds,
            stall_seconds=board.stall_seconds,
        )
        for seed in range(planned.seeds)
    ]


def _snapshots(planned: BoardCell) -> tuple[float, ...]:
    return SNAPSHOTS if planned.snapshots is None else tuple(planned.snapshots)


def _pool(named: PoolField | None) -> Pool | GivenWeights | None:
    if named is None:
        return None
    if named.weights is not None:
        return describe(named.weights, named.held_out if "held_out" in named.model_fields_set else None)
    trained = named.model_dump(exclude={"weights"})
    return Pool.model_validate(trained | {"dataset_digest": load_dataset(str(named.dataset)).digest})


def _check(planned: BoardCell, method: Any, data: Dataset) -> None:
    smallest = int(data.counts.min())
    if planned.ipc > smallest:
        raise UserError(
            f"ipc {planned.ipc} is larger than the smallest class of {data.name} ({smallest} images); lower it"
        )
    if hasattr(method, "check_ipc"):
        method.check_ipc(planned.ipc)
    if hasattr(method, "decoder"):
        check_storage(parse_decoder(method.decoder), data.shape, len(data.classes), planned.ipc)
    build_network(planned.network.name, data.shape, len(data.classes), planned.network.parameters)
    if planned.setting not in method.settings:
        raise UserError(
            f"{method.name} does not work in the {planned.setting!r} setting; it knows {', '.join(method.settings)}"
        )
    _check_setting(planned)
    if planned.attack is not None:
        _check_attack(planned.attack, data)


def _check_setting(planned: BoardCell) -> None:
    """What a setting needs is given, and nothing else."""
    needs = {"pretrained": ("pool",), "attack": ("pool", "attack")}.get(planned.setting, ())
    for name, value in (("pool", planned.pool), ("attack", planned.attack)):
        if (value is not None) != (name in needs):
            wrong = (
                "needs {0!r}; add it to the entry of a board" if name in needs else "has no use for {0!r}; leave it out"
            )
            raise UserError(f"setting {planned.setting!r} {wrong.format(name)}")
    if planned.pool is not None and planned.pool.weights is None and planned.preprocessing != "normalize":
        raise UserError(
            f"networks of a pool are trained on normalised images and preprocessing is {planned.preprocessing!r}; "
            "choose normalize"
        )


def _check_pool(pool: Pool | GivenWeights, data: Dataset, networks: int) -> None:
    if pool.held_out < networks:
        raise UserError(
            f"pool holds out {pool.held_out} networks to score with and {networks} are asked for; raise held_out"
        )
    if isinstance(pool, Pool) and (classes := len(load_dataset(pool.dataset).classes)) != len(data.classes):
        raise UserError(
            f"pool data set {pool.dataset!r} has {classes} classes and {data.name!r} has {len(data.classes)}; "
            "choose one with as many"
        )


def _check_attack(attack: Attack, data: Dataset) -> None:
    for c in (attack.source, attack.target):
        if c >= len(data.classes):
            raise UserError(f"attack names class {c}; classes of {data.name} are 0..{len(data.classes) - 1}")
    if attack.source == attack.target:
        raise UserError(f"attack maps class {attack.source} to itself; choose another target")
    if not bool((data.test_labels == attack.source).any()):
        raise UserError(f"the test set of {data.name} has no image of class {attack.source}; attack another class")
