"""Networks trained on real data, with which those of distilled data are compared; each is trained once and cached."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddbench.analyses import plain_training
from ddbench.analyses.plain_training import BATCH, STEPS, Batches, descend, shuffled
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Compiler, Weights
from ddbench.compute.environment import versions
from ddbench.compute.generators import Generators, seeded
from ddbench.data import Dataset, RealData
from ddbench.data.paths import cache_folder
from ddbench.evaluation import descent
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.io.atomic import digest
from ddbench.meter.cache import Cache, CachedTensors
from ddbench.networks import InitialWeights
from ddbench.networks.flatten import flatten, unflatten
from ddbench.records.cell import NetworkSpec
from ddbench.task.settings import SETTINGS, RandomSetting, SettingInputs

FULL_DATA = Protocol(
    "reference-full-data@1",
    "ours: the field's optimiser for 1000 steps on batches of all training images, not augmented",
    steps=1000,
    short=1000,
    decay_at=(0.5, 0.75),
    restart=False,
    kind="full_data",
)
"""training of the networks that learn from all training images; no artefact is scored so, and it is not registered"""
SNAPSHOTS = (0, 1, 2, 5, 10, 20, 40, 60, 90, 130, 190, 250, 300)
"""steps at which a trajectory is kept"""


@dataclass(frozen=True)
class Origin:
    """The run that an artefact comes from, as far as real images to compare it with depend on it."""

    dataset_digest: str
    network: str
    """architecture that the run distilled with"""
    ipc: int
    seed: int
    setting: str = "random"
    device: str = "cpu"
    """kind of device that drew its random images"""


class References:
    """Networks of an evaluator's architecture and data, trained on real images.

    Args:
        evaluator: of the artefact; its network, data, preprocessing and device are taken
        origin: the artefact's run
        cache: folder that keeps them; None is one in the user's cache
    """

    def __init__(self, evaluator: ImageEvaluator, origin: Origin, cache: Path | None = None) -> None:
        self.origin = origin
        inputs = SettingInputs(InitialWeights(evaluator.module), Generators("evaluation"), evaluator.device)
        self._evaluator = replace(
            evaluator, setting=RandomSetting(inputs), compiler=Compiler(), held_out=None, others={}
        )
        context = {"device": evaluator.device.type, "versions": versions(), "code": _code(evaluator.module)}
        self._folder = cache or cache_folder() / "references"
        self._cache = Cache(self._folder, context)
        self._like = InitialWeights(evaluator.module)(seeded(0, evaluator.device))

    def full_data(self, number: int) -> Weights:
        """A network trained on all training images, under the protocol `FULL_DATA`."""
        key = {"protocol": FULL_DATA.describe(), "number": number}
        evaluator = self._evaluator.training(self._evaluator.network, FULL_DATA)
        return self._weights("full-data", key, lambda: evaluator.train(self._unread(), number))

    def random_real(self, number: int) -> Weights | None:
        """The protocol's network trained on as many random images, those of the control `random_real` at this seed.

        None where networks do not start from fresh weights, or learn from all training images.
        """
        key = self._random_key(number)
        if key is None:
            return None
        return self._weights("random-real", key, lambda: self._evaluator.train(self.random_images(), number))

    def of_random_real(
        self, name: str, key: Mapping[str, Any], number: int, measure: Callable[[Weights], torch.Tensor]
    ) -> torch.Tensor | None:
        """What `measure` finds of the network `random_real(number)`, cached; None where there is none.

        Args:
            name: name of what is measured
            key: all that it depends on besides the network and the data
        """
        own = self._random_key(number)
        if own is None:
            return None

        def make() -> torch.Tensor:
            weights = self.random_real(number)
            assert weights is not None
            return measure(weights)

        return self.cached(f"random-real-{name}", {**key, **own}, make)

    def _random_key(self, number: int) -> dict[str, Any] | None:
        protocol = self._evaluator.protocol
        if not SETTINGS[self.origin.setting].starts_fresh or protocol.kind != "train":
            return None
        return {"protocol": protocol.describe(), "number": number, "origin": vars(self.origin)}

    def random_images(self) -> DistilledDataset:
        """The real images, stored whole, that `random_real` takes at the run's seed and methods start from."""
        return DistilledDataset.pixels(*self._real.take(self.random_positions()))

    def random_positions(self) -> Tensor:
        """Positions, (N,), of `random_images` among the training images."""
        origin, device = self.origin, self._evaluator.device
        generators = Generators(origin.dataset_digest, origin.network, origin.ipc, origin.seed)
        classes = range(len(self._real.counts))
        return self._real.positions(origin.ipc, generators.get("real_init", device), of=classes)

    def by_class(self, generator: torch.Generator, without: Tensor | None = None) -> list[Tensor]:
        """Positions of the training images of each class, in random order.

        Args:
            generator: on the CPU
            without: positions that are not taken
        """
        labels = self.training_data.train_labels.cpu()
        order = torch.randperm(len(labels), generator=generator)
        if without is not None:
            order = order[~torch.isin(order, without.cpu())]
        return [order[labels[order] == c] for c in range(len(self.training_data.classes))]

    def real(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Preprocessed training images, (N, C, H, W), at these positions, and their labels."""
        positions, data = positions.to(self._evaluator.device), self.training_data
        return self._evaluator.transform(data.train_images[positions]), data.train_labels[positions]

    def trajectory(self, number: int) -> dict[int, Weights]:
        """The weights at each of the steps `SNAPSHOTS` of a network trained on random batches of real images."""

        def batches(generator: torch.Generator) -> Batches:
            while True:
                chosen = torch.randint(len(self.training_data.train_labels), (BATCH,), generator=generator)
                yield self.real(chosen)

        def make() -> Tensor:
            return torch.stack([flatten(weights) for weights in self.plain(number, batches, kept=SNAPSHOTS)])

        vectors = self.cached("trajectory", {"number": number}, make)  # (snapshots, P)
        return {step: unflatten(vector, self._like) for step, vector in zip(SNAPSHOTS, vectors, strict=True)}

    def on_real(self, positions: Tensor, number: int, steps: int = STEPS) -> Weights:
        """Network `number`, trained plainly on the training images at these positions."""
        named = digest(positions.cpu().numpy().tobytes())
        key = {"positions": named, "number": number, "steps": steps}

        def make() -> Weights:
            images = self.real(positions)
            (found,) = self.plain(number, lambda generator: shuffled(lambda epoch: images, generator), kept=(steps,))
            return found

        return self._weights("on-real", key, make)

    def plain(
        self,
        number: int,
        batches: Callable[[torch.Generator], Batches],
        kind: str = "index",
        kept: Collection[int] = (STEPS,),
    ) -> list[Weights]:
        """Network `number` after each of the steps `kept` of plain training, see `descend`; it is not cached."""
        return descend(self._evaluator, number, batches, kind, kept)

    def of(self, network: NetworkSpec) -> References:
        """The references of another architecture."""
        other = self._evaluator.training(network, self._evaluator.protocol)
        return References(other, self.origin, self._folder)

    def cached(self, name: str, key: Mapping[str, Any], make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives, kept for every artefact of these data, this network and this preprocessing.

        Args:
            name: what it is
            key: what else decides it; of an analysis, its name and settings
        """
        whole = {
            **key,
            "data": self._evaluator.data.digest,
            "split": self.origin.dataset_digest.partition("+")[2],
            "network": str(self._evaluator.network),
            "preprocessing": self._evaluator.transform.describe(),
        }
        entry = self._cache.get(name, whole, self._evaluator.device)
        if entry is None:
            entry = CachedTensors({"weights": make().detach()}, 0.0, {})
            self._cache.put(name, whole, entry)
        return entry.tensors["weights"]

    @cached_property
    def training_data(self) -> Dataset:
        """The data set whose training images the run saw."""
        data = self._evaluator.data
        return data if "+" in data.digest else data.split(self.origin.dataset_digest)

    @cached_property
    def _real(self) -> RealData:
        return RealData(self.training_data, self._evaluator.transform, self._evaluator.device)

    def _unread(self) -> DistilledDataset:
        """An artefact whose content does not matter."""
        shape, device = self._evaluator.data.shape, self._evaluator.device
        return DistilledDataset.pixels(torch.zeros(1, *shape, device=device), torch.zeros(1, dtype=torch.int64))

    def _weights(self, name: str, key: Mapping[str, Any], make: Callable[[], Weights]) -> Weights:
        return unflatten(self.cached(name, key, lambda: flatten(make())), self._like)


def _code(module: torch.nn.Module) -> str:
    """Digest of the files that decide what these networks learn, but those of packages that have a version."""
    networks = [cls for cls in type(module).__mro__ if not cls.__module__.startswith(("torch", "builtins"))]
    parts: list[Any] = [*networks, References, descent, plain_training, InitialWeights, RealData, ImageEvaluator]
    return digest(b"".join(Path(file).read_bytes() for file in sorted({inspect.getfile(part) for part in parts})))
