"""Networks trained on real data, with which those of distilled data are compared; each is trained once and cached."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Compiler, Weights
from ddbench.compute.environment import versions
from ddbench.compute.generators import Generators, derive_seed, seeded
from ddbench.data import Dataset, RealData
from ddbench.data.paths import cache_folder
from ddbench.evaluation import descent
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.io.atomic import digest
from ddbench.meter.cache import Cache, CachedTensors
from ddbench.networks import InitialWeights
from ddbench.networks.flatten import flatten, unflatten
from ddbench.task.settings import RandomSetting, SettingInputs

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
BATCH, LR, MOMENTUM = 256, 0.01, 0.9
"""settings of trajectories, as in Yang et al., "What is Dataset Distillation Learning?", ICML 2024"""


@dataclass(frozen=True)
class Origin:
    """The run that an artefact comes from, as far as real images to compare it with depend on it."""

    dataset_digest: str
    network: str
    """architecture that the run distilled with"""
    ipc: int
    seed: int
    setting: str = "random"


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
        self._cache = Cache(cache or cache_folder() / "references", context)
        self._like = InitialWeights(evaluator.module)(seeded(0, evaluator.device))

    def full_data(self, number: int) -> Weights:
        """A network trained on all training images, under the protocol `FULL_DATA`."""
        key = {"protocol": FULL_DATA.describe(), "number": number}
        evaluator = self._evaluator.under(self._evaluator.network, FULL_DATA)
        return self._weights("full-data", key, lambda: evaluator.train(self._unread(), number))

    def random_real(self, number: int) -> Weights | None:
        """The protocol's network trained on as many random images, those of the control `random_real` at this seed.

        None where networks do not start from fresh weights, or learn from all training images.
        """
        protocol = self._evaluator.protocol
        if self.origin.setting != "random" or protocol.kind != "train":
            return None
        key = {"protocol": protocol.describe(), "number": number, "origin": vars(self.origin)}
        return self._weights("random-real", key, lambda: self._evaluator.train(self.random_images(), number))

    def random_images(self) -> DistilledDataset:
        """The real images, stored whole, that `random_real` takes at the run's seed and methods start from."""
        origin, device = self.origin, self._evaluator.device
        real = RealData(self._training_data(), self._evaluator.transform, device)
        generators = Generators(origin.dataset_digest, origin.network, origin.ipc, origin.seed)
        images, labels = real.batch(origin.ipc, generators.get("real_init", device), of=range(len(real.counts)))
        return DistilledDataset.pixels(images, labels)

    def trajectory(self, number: int) -> dict[int, Weights]:
        """The weights at each of the steps `SNAPSHOTS` of a network trained on real images."""
        vectors = self._cached("trajectory", {"number": number}, lambda: self._trajectory(number))
        return {step: unflatten(vector, self._like) for step, vector in zip(SNAPSHOTS, vectors, strict=True)}

    def _trajectory(self, number: int) -> torch.Tensor:
        evaluator, data = self._evaluator, self._training_data()
        generator = seeded(derive_seed("reference", data.digest, evaluator.network, number))
        fresh = InitialWeights(evaluator.module)(generator)
        weights = {name: weight.to(evaluator.device, copy=True) for name, weight in fresh.items()}
        optimizer = torch.optim.SGD(weights.values(), lr=LR, momentum=MOMENTUM)
        kept = [flatten(weights).detach()]
        for step in range(1, SNAPSHOTS[-1] + 1):
            chosen = torch.randint(len(data.train_labels), (BATCH,), generator=generator).to(evaluator.device)
            images = evaluator.transform(data.train_images[chosen])
            slope, _ = evaluator.chunks.gradient(
                evaluator.gradients["index"], weights, images, data.train_labels[chosen]
            )
            for name, weight in weights.items():
                weight.grad = slope[name]
            optimizer.step()
            if step in SNAPSHOTS:
                kept.append(flatten(weights).detach())
        return torch.stack(kept)  # (snapshots, P)

    def _training_data(self) -> Dataset:
        data = self._evaluator.data
        return data if "+" in data.digest else data.split(self.origin.dataset_digest)

    def _unread(self) -> DistilledDataset:
        """An artefact whose content does not matter."""
        shape, device = self._evaluator.data.shape, self._evaluator.device
        return DistilledDataset.pixels(torch.zeros(1, *shape, device=device), torch.zeros(1, dtype=torch.int64))

    def _weights(self, name: str, key: Mapping[str, Any], make: Callable[[], Weights]) -> Weights:
        return unflatten(self._cached(name, key, lambda: flatten(make())), self._like)

    def _cached(self, name: str, key: Mapping[str, Any], make: Callable[[], torch.Tensor]) -> torch.Tensor:
        whole = {
            **key,
            "data": self._evaluator.data.digest,
            "network": str(self._evaluator.network),
            "preprocessing": self._evaluator.transform.describe(),
        }
        entry = self._cache.get(name, whole, self._evaluator.device)
        if entry is None:
            entry = CachedTensors({"weights": make().detach()}, 0.0, {})
            self._cache.put(name, whole, entry)
        return entry.tensors["weights"]


def _code(module: torch.nn.Module) -> str:
    """Digest of the files that decide what these networks learn, but those of packages that have a version."""
    networks = [cls for cls in type(module).__mro__ if not cls.__module__.startswith(("torch", "builtins"))]
    parts: list[Any] = [*networks, References, descent, InitialWeights, RealData, ImageEvaluator]
    return digest(b"".join(Path(file).read_bytes() for file in sorted({inspect.getfile(part) for part in parts})))
