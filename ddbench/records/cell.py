"""A cell: everything that decides a result but the seed, and the key that names a run of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ddbench.compute.precision import Precision
from ddbench.io.atomic import key_of
from ddbench.records.fields import LATER, Digest, Line, Name, Strict, Word

MOST_GIVEN = 10_000
"""networks of a pool; the seed paper gives 2000"""


MOST_STEPS = 10**6
"""most steps of training one of them, and most images of a batch"""


MOST_MARGIN = 256
UNBRACKETED = str.maketrans({"[": "_", "]": None, "=": None})
"""names of files have no brackets, which patterns read as sets"""


CEILING = "full_data"
"""control whose networks are trained on all training data; it alone is scored so"""


DeviceKind = Literal["cpu", "cuda", "mps"]


class NetworkSpec(Strict):
    name: Name
    parameters: dict[Name, bool | int | float | Name] = {}

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in sorted(self.parameters.items()))
        return f"{self.name}({settings})" if settings else self.name


class Budget(Strict):
    """What a run may spend; None means unlimited."""

    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """device seconds on a GPU, core-seconds on a CPU, wall seconds on Apple's `mps`"""
    steps: int | None = Field(default=None, gt=0)
    """steps of every loop together, expert training included"""
    peak_bytes: int | None = Field(default=None, gt=0)

    def spent(self, seconds: float, steps: int) -> bool:
        """Return whether nothing is left for another step."""
        return (self.seconds is not None and seconds >= self.seconds) or (
            self.steps is not None and steps >= self.steps
        )

    def affords(self, seconds: float, steps: int) -> bool:
        """Return whether this much is within the budget."""
        return (self.seconds is None or seconds <= self.seconds) and (self.steps is None or steps <= self.steps)

    def share(self, seconds: float, steps: int) -> float:
        """Return the part that is spent, of seconds or of steps, whichever is further; 0 of an unlimited budget."""
        parts = [0.0]
        if self.seconds is not None:
            parts.append(seconds / self.seconds)
        if self.steps is not None:
            parts.append(steps / self.steps)
        return max(parts)


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
    lr: float = Field(default=1e-3, gt=0, le=1e30, allow_inf_nan=False)
    margin: Annotated[int, Field(ge=0, le=MOST_MARGIN), LATER] = 0
    """black pixels put on each side of their images before these were resized: USPS's digits fill theirs, MNIST's take
    20 pixels of 28"""

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


class Attack(Strict):
    """A label map: trained networks are to take one class for another."""

    source: int = Field(ge=0, strict=True)
    """the class that is to be mistaken"""
    target: int = Field(ge=0, strict=True)
    """for this one"""

    def check(self, classes: int) -> None:
        """Raise ValueError unless it maps one of so many classes to another."""
        for c in (self.source, self.target):
            if c >= classes:
                raise ValueError(f"attack names class {c}; classes are 0..{classes - 1}")
        if self.source == self.target:
            raise ValueError(f"attack maps class {self.source} to itself; choose another target")


Setting = Literal["random", "fixed", "pretrained", "attack"]
"""the start of networks: from fresh weights, from one stored set of weights, from a pool of trained networks, or from a
pool that the distilled data must fool"""


class Scoring(Strict):
    """A way to score an artefact."""

    network: NetworkSpec
    """to train on it"""
    protocol: Word
    networks: int = Field(gt=0)
    """how many"""


NEUTRAL = {"decoder": "pixels", "init": "real", "schedule": "halved", "networks_per_step": 1, "labels": "hard"}
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
    modality: Annotated[Name, LATER] = "images"
    """the kind of data, which says how the cell is checked, distilled and evaluated"""
    pool: Annotated[Pool | GivenWeights | None, LATER] = None
    """pretrained networks, for the settings that start from them"""
    attack: Annotated[Attack | None, LATER] = None
    """the label map of the setting `attack`"""
    also: Annotated[list[Scoring] | None, LATER] = None
    """ways to score each artefact beyond the headline, which is `network` under `protocol`"""
    peek: Annotated[float | None, Field(gt=0, lt=1), LATER] = None
    """stratified share of the training images that methods do not see, to select readings and snapshots by; the test
    set is scored all the same"""
    precision: Annotated[Precision, LATER] = "float32"
    """how networks compute while a method learns; they are scored in float32, on a GPU with products of TensorFloat-32
    unless it is `float32`"""
    capture: Annotated[bool, LATER] = False
    """true if compiled steps are captured as graphs of launches, on a GPU of CUDA"""

    @property
    def all_networks(self) -> list[NetworkSpec]:
        """The architectures that a run of the cell needs: its own, and those of the further ways of scoring."""
        return [self.network, *(way.network for way in self.also or [])]

    @property
    def most_networks(self) -> int:
        """The largest number of networks that a way of scoring the cell takes."""
        return max([self.networks, *(way.networks for way in self.also or [])])

    @property
    def distinguishing(self) -> dict[str, Any]:
        """The hyper-parameters without those that have a neutral value: a record from before they came is of one cell
        with a later one."""
        return distinguishing(self.hyperparameters)


def distinguishing(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters without those that have a neutral value, see `Cell.distinguishing`."""
    return {name: value for name, value in hyperparameters.items() if NEUTRAL.get(name) != value}


def run_key(cell: Cell, seed: int, method_source: str) -> str:
    """16 hexadecimal digits that name a run."""
    return key_of([cell.model_dump(mode="json"), seed, method_source])


def run_name(cell: Cell, seed: int, key: str) -> str:
    """`mnist-ipc10-seed0-<key>`"""
    data = Path(cell.dataset).stem.translate(UNBRACKETED)
    return f"{data}-ipc{cell.ipc}-seed{seed}-{key}"
