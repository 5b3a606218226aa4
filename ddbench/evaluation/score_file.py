"""Accuracy of fresh networks, from an artefact alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset, check_attack
from ddbench.artifacts.provenance import data_of
from ddbench.compute.compiling import Compiler, worth_compiling
from ddbench.compute.device import resolve_device
from ddbench.data import Dataset, Preprocessing
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import Evaluator, evaluate, schedule_of
from ddbench.networks import build_network
from ddbench.records.notation import make_network
from ddbench.records.schema import Attack, NetworkSpec, Score, read_pool
from ddbench.registry import PROTOCOLS
from ddbench.task.pretrained import PretrainedPool, given_to_score_with


def score(
    file: Path,
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    networks: Iterable[str] = (),
    count: int | None = None,
    device: str = "auto",
    report: Callable[[str, float], None] = lambda stage, share: None,
) -> list[Score]:
    """Train fresh networks on an artefact and test them, from the file alone.

    Args:
        dataset: where the artefact's data set lies, when not under its name
        protocol: None takes the one the artefact was distilled for
        networks: architectures; none takes the artefact's
        count: networks of each; None takes as many as the artefact was scored with, or the protocol's number
        report: told `pool`, while given networks are trained, or `evaluate`, and the share that is done
    """
    artifact = DistilledDataset.load(file)
    where = resolve_device(device)
    data = data_of(artifact, file, dataset).to(where)
    rules: Protocol = PROTOCOLS.get(protocol or artifact.provenance["protocol"])
    seen = data.split(artifact.provenance["dataset_digest"])
    transform = Preprocessing.from_description(artifact.provenance["preprocessing"]).fit(seen)
    chosen = [make_network(name) for name in networks] or [NetworkSpec.model_validate(artifact.provenance["network"])]
    for network in chosen:  # before the first is trained
        build_network(network.name, data.shape, len(data.classes), network.parameters)
    number = count or artifact.provenance.get("networks") or rules.networks
    steps = number * len(schedule_of(rules, artifact.recipe, len(artifact.decode()[1])).lrs)
    compiler = Compiler(worth_compiling(None, steps))
    pool, attack = _given(artifact, chosen, seen, where, number, report)
    scores = list[Score]()

    def progress(share: float) -> None:
        report("evaluate", (len(scores) + share) / (len(chosen) * number))

    for network in chosen:
        evaluator = Evaluator(data, transform, rules, network, where, compiler, pool, attack, report=progress)
        evaluate(artifact, evaluator, number, scores.append)
    return scores


def _given(
    artifact: DistilledDataset,
    networks: list[NetworkSpec],
    data: Dataset,
    device: torch.device,
    number: int,
    report: Callable[[str, float], None],
) -> tuple[PretrainedPool | None, Attack | None]:
    """The pool and the label map that an artefact names; the networks held out are trained where the cache has none.

    Args:
        data: the part of the data set that methods saw
    """
    described, attack = artifact.provenance.get("pool"), artifact.provenance.get("attack")
    if described is None:
        return None, None
    try:
        pool, own = read_pool(described), NetworkSpec.model_validate(artifact.provenance["network"])
        mapped = Attack.model_validate(attack) if attack else None
        if mapped is not None:
            check_attack(mapped, len(data.classes))
    except ValueError as error:
        raise UserError(f"the artefact's pool or attack is not sound ({error}); write it again") from error
    if networks != [own]:
        raise UserError(f"the artefact is for given networks {own}; leave out --network")
    if number > pool.held_out:
        raise UserError(f"{pool.held_out} networks were held out to score with, {number} are asked for; ask for fewer")
    found = given_to_score_with(pool, own, data, device, report)
    if found.digest != artifact.provenance.get("held_out"):
        warnings.warn(
            "the held-out networks, trained again on this machine, are not to the bit those of the record; "
            "scores differ by as much as networks do",
            RuntimeWarning,
            stacklevel=2,
        )
    return found, mapped
