"""Networks that are given: trained beforehand, some to learn with and others, held out, to score with.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, sections 3.4 and 4: adapting pretrained
networks to another data set, and attacking trained ones. What defines the task is not charged to any budget.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ddbench.compute import host
from ddbench.compute.compiling import Compiler, Weights
from ddbench.compute.environment import versions
from ddbench.compute.generators import derive_seed, seeded
from ddbench.compute.precision import precision
from ddbench.data import Dataset, Preprocessing, RealData, load_dataset, resized
from ddbench.data.dataset import stratified_split
from ddbench.data.paths import cache_folder
from ddbench.data.preprocess import channel_statistics
from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json, digest
from ddbench.meter.cache import Cache, CachedTensors
from ddbench.networks import Chunks, InitialWeights, build_network
from ddbench.networks.flatten import flatten, unflatten
from ddbench.records.cell import GivenWeights, NetworkSpec, Pool
from ddbench.task.weight_files import read


@dataclass(frozen=True)
class PretrainedPool:
    """A pool's weights, (networks, P) each.

    Args:
        training: to learn with
        held_out: to score with
        like: the shapes that a vector is read into, by parameter name
    """

    training: Tensor
    held_out: Tensor
    like: Weights

    def weights(self, vector: Tensor) -> Weights:
        """A network of the pool, by parameter name; a copy."""
        return {name: weight.clone() for name, weight in unflatten(vector, self.like).items()}

    @property
    def digest(self) -> str:
        """Digest of the held-out networks."""
        return digest(host.read(self.held_out, "pool").numpy().tobytes())


def load_pool(
    pool: Pool | GivenWeights,
    network: NetworkSpec,
    data: Dataset,
    device: torch.device,
    report: Callable[[str, float], None] = lambda stage, share: None,
    preprocessing: str = "normalize",
) -> PretrainedPool:
    """The networks of a pool, in the image format of `data`: read, or each trained once and kept in the user's cache.

    They are trained eagerly on one thread, so that whoever comes first on a machine makes the same.

    Raises:
        UserError: when the pool's data set or file is not the one that was named, does not fit, or a network does not
            learn.
    """
    return _load(pool, network, data, device, 0, report, preprocessing)


def pool_for_training(networks: Tensor, module: torch.nn.Module) -> PretrainedPool:
    """The pool that a method sees: networks to learn with, (networks, P), of this architecture, and none held out."""
    return PretrainedPool(networks, networks[:0], InitialWeights(module)(seeded(0, networks.device)))


def load_pool_for_scoring(
    pool: Pool | GivenWeights,
    network: NetworkSpec,
    data: Dataset,
    device: torch.device,
    report: Callable[[str, float], None] = lambda stage, share: None,
    preprocessing: str = "normalize",
) -> PretrainedPool:
    """As `load_pool`, but `training` is empty: no network is trained that only a method would see."""
    return _load(pool, network, data, device, pool.train, report, preprocessing)


def _load(
    pool: Pool | GivenWeights,
    network: NetworkSpec,
    data: Dataset,
    device: torch.device,
    first: int,
    report: Callable[[str, float], None],
    preprocessing: str,
) -> PretrainedPool:
    """The networks of a pool from number `first` on; a file is read whole, its only network may be of both kinds."""
    module = build_network(network.name, data.shape, len(data.classes), network.parameters).to(device)
    like = InitialWeights(module)(seeded(0, device))
    if isinstance(pool, GivenWeights):
        vectors = read(pool, like)
    else:
        numbers = range(first, pool.train + pool.held_out)
        vectors = _trained(pool, network, module, data, numbers, report, preprocessing)
    return PretrainedPool(vectors[: pool.train - first], vectors[-pool.held_out :], like)


def _trained(
    pool: Pool,
    network: NetworkSpec,
    module: torch.nn.Module,
    data: Dataset,
    numbers: range,
    report: Callable[[str, float], None],
    preprocessing: str,
) -> Tensor:
    """Networks of a pool by their numbers, (networks, P)."""
    source = load_dataset(pool.dataset)
    if source.digest != pool.dataset_digest:
        raise UserError(
            f"the pool was trained on another {pool.dataset!r} ({pool.dataset_digest[:19]}); provide that one"
        )
    if len(source.classes) != len(data.classes):
        raise UserError(
            f"pool data set {pool.dataset!r} has {len(source.classes)} classes and {data.name!r} has "
            f"{len(data.classes)}; choose one with as many"
        )
    if source.digest == data.digest.partition("+")[0]:
        source = data  # of a split, the part that methods may see
    device = next(module.parameters()).device
    trainer = _Trainer(pool, network, source, data.shape, module, device, preprocessing)

    def vector(done: int, number: int) -> Tensor:
        return trainer.network(number, lambda share: report("pool", (done + share) / len(numbers)))

    return torch.stack([vector(done, number) for done, number in enumerate(numbers)])


def _code(module: torch.nn.Module) -> str:
    """Digest of the files that decide what a pool's networks learn, but those of packages that have a version."""
    networks = [cls for cls in type(module).__mro__ if not cls.__module__.startswith(("torch", "builtins"))]
    shared = (_Trainer, Compiler, Chunks, InitialWeights, flatten, Dataset, stratified_split, resized, RealData)
    normal = (Preprocessing, channel_statistics)
    parts: list[Any] = [*networks, *shared, *normal]
    files = {inspect.getfile(part) for part in parts}
    return digest(b"".join(Path(file).read_bytes() for file in sorted(files)))


class _Trainer:
    """Makes a pool's networks one by one, or finds them in the cache."""

    def __init__(
        self,
        pool: Pool,
        network: NetworkSpec,
        source: Dataset,
        shape: tuple[int, int, int],
        module: torch.nn.Module,
        device: torch.device,
        preprocessing: str,
    ) -> None:
        self._pool, self._source, self._shape, self._module, self._device = pool, source, shape, module, device
        self._preprocessing = preprocessing
        context = {"device": device.type, "versions": versions(), "code": _code(module)}
        self._cache = Cache(cache_folder() / "pools", context)
        settings = pool.model_dump(include={"margin", "steps", "batch", "lr"})
        self._key = {**settings, "network": str(network), "data": source.digest, "shape": list(shape)}
        if preprocessing != "normalize":
            self._key["preprocessing"] = preprocessing
        self._fresh = InitialWeights(module)

    def network(self, number: int, report: Callable[[float], None]) -> Tensor:
        """Weights, (P,); `report` is told the share of the training that is done, before every step."""
        key = {**self._key, "number": number}
        entry = self._cache.get("network", key, self._device)
        if entry is None:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                with precision(self._device, "float32"):  # one pool serves cells of every precision
                    entry = CachedTensors({"weights": self._trained(canonical_json(key).decode(), report)}, 0.0, {})
            finally:
                torch.set_num_threads(threads)
            self._cache.put("network", key, entry)
        return entry.tensors["weights"].to(self._device)

    @cached_property
    def _real(self) -> RealData:
        source = resized(self._source.to("cpu"), self._shape, self._pool.margin)
        return RealData(source, Preprocessing.for_dataset(source, self._preprocessing).fit(source), self._device)

    def _trained(self, seed: str, report: Callable[[float], None]) -> Tensor:
        """After Adam on the source data."""
        pool, chunks = self._pool, Chunks(self._module, self._shape)
        gradient = Compiler().gradient(self._loss)
        starts, batches = seeded(derive_seed("pool", seed)), seeded(derive_seed("pool/batches", seed), self._device)
        weights = {name: weight.to(self._device) for name, weight in self._fresh(starts).items()}
        optimizer = torch.optim.Adam(weights.values(), lr=pool.lr)
        for step in range(pool.steps):
            report(step / pool.steps)
            if step == pool.steps // 2:
                optimizer.param_groups[0]["lr"] = 0.1 * pool.lr
            images, labels = self._real.batch(pool.batch, batches)
            slope, loss = chunks.gradient(gradient, weights, images, labels)
            for name, weight in weights.items():
                weight.grad = slope[name]
            optimizer.step()
        vector = flatten(weights).detach()
        if not bool(vector.isfinite().all()) or not float(loss) < math.log(len(self._real.counts)):
            raise UserError(
                f"a network of the pool does not learn (its loss ends at {float(loss):.3g}); lower lr {pool.lr:g} or "
                f"raise steps {pool.steps}"
            )
        return vector

    def _loss(self, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(self._module, weights, (images,)), labels)
