"""Networks that are given: trained beforehand, some to learn with and others, held out, to score with.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, sections 3.4 and 4: adapting pretrained
networks to another data set, and attacking trained ones. What defines the task is not charged to any budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ddbench.cache import Cache, Entry
from ddbench.compiling import Compiler, Weights
from ddbench.data import Dataset, Preprocessing, RealData, load_dataset, resized
from ddbench.data.places import cache_folder
from ddbench.environment import versions
from ddbench.errors import UserError
from ddbench.files import canonical_json
from ddbench.generators import derive_seed, seeded
from ddbench.matching.experts import flatten, unflatten
from ddbench.networks import Chunks, InitialWeights, build_network
from ddbench.records import Network, Pool


@dataclass(frozen=True)
class Given:
    """A pool's weights, (networks, P) each, and how they are named."""

    training: Tensor
    """to learn with"""
    held_out: Tensor
    """to score with"""
    like: Weights

    def weights(self, vector: Tensor) -> Weights:
        """A network of the pool, by parameter name; a copy."""
        return {name: weight.clone() for name, weight in unflatten(vector, self.like).items()}


def given(
    pool: Pool,
    network: Network,
    data: Dataset,
    device: torch.device,
    compiler: Compiler,
    report: Callable[[str, float], None] = lambda stage, share: None,
) -> Given:
    """The networks of a pool, in the image format of `data`: trained once on a machine and kept in the user's cache.

    Raises:
        UserError: when the pool's data set has another number of classes, or is not the one that was named.
    """
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
    source = resized(source, data.shape)
    module = build_network(network.name, data.shape, len(data.classes), network.parameters).to(device)
    fresh = InitialWeights(module)
    key = {**pool.model_dump(), "network": str(network), "data": source.digest}
    cache = Cache(cache_folder() / "pools", {"device": device.type, "versions": versions()})
    entry = cache.get("pool", key, device)
    if entry is None:
        vectors = torch.stack(list(_trained(pool, key, source, module, fresh, device, compiler, report)))
        entry = Entry({"networks": vectors}, 0.0, {})
        cache.put("pool", key, entry)
    networks = entry.tensors["networks"].to(device)
    return Given(networks[: pool.train], networks[pool.train :], fresh(seeded(0, device)))


def _trained(
    pool: Pool,
    key: dict[str, object],
    source: Dataset,
    module: torch.nn.Module,
    fresh: InitialWeights,
    device: torch.device,
    compiler: Compiler,
    report: Callable[[str, float], None],
) -> Iterator[Tensor]:
    """Each network's weights, (P,), after Adam on the source data."""
    real = RealData(source, Preprocessing.for_dataset(source).fit(source), device)
    chunks = Chunks(module, source.shape)

    def loss(weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(module, weights, (images,)), labels)

    gradient, total = compiler.gradient(loss), pool.train + pool.held_out
    for number in range(total):
        generator = seeded(derive_seed("pool", canonical_json(key).decode(), number), device)
        weights = fresh(generator)
        optimizer = torch.optim.Adam(weights.values(), lr=pool.lr)
        for step in range(pool.steps):
            if step == pool.steps // 2:
                optimizer.param_groups[0]["lr"] = 0.1 * pool.lr
            slope, _ = chunks.gradient(gradient, weights, *real.batch(pool.batch, generator))
            for name, weight in weights.items():
                weight.grad = slope[name]
            optimizer.step()
        report("pool", (number + 1) / total)
        yield flatten(weights).detach()
