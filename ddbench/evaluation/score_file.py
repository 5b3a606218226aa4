"""Accuracy of fresh networks, from an artefact alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.provenance import Provenance, check_provenance, naming_the_option
from ddbench.compute.compiling import Compiler, worth_compiling
from ddbench.compute.device import resolve_device
from ddbench.errors import UserError
from ddbench.evaluation.modality import Evaluator, Place
from ddbench.evaluation.protocols import check_ceiling
from ddbench.evaluation.schedule import schedule_of
from ddbench.evaluation.trainer import evaluate
from ddbench.records.cell import NetworkSpec
from ddbench.records.notation import make_network
from ddbench.records.schema import Score
from ddbench.registry import MODALITIES, PROTOCOLS, discover
from ddbench.task.settings import SETTINGS


def score(
    file: str | Path,
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
        report: told `pool`, while pretrained networks are made, or `evaluate`, and the share that is done

    Raises:
        UserError: when the file cannot be scored from what it says, or its data set is not to be had.
    """
    discover()
    file = Path(file)
    artifact = DistilledDataset.load(file)
    said = check_provenance(artifact.provenance, file)
    rules, place = PROTOCOLS.get(protocol or said.protocol), dataset or said.dataset
    check_ceiling(said.method, rules)
    chosen = [make_network(name) for name in networks] or [said.network]
    number = count or said.networks or rules.networks
    _check_setting(said, chosen, number)
    modality = MODALITIES.get(said.modality)
    with naming_the_option(said, file, dataset):
        data = modality.data(place, "test", None)
    wanted = said.dataset_digest.partition("+")[0]
    if data.digest != wanted:
        raise UserError(
            f"{file} was distilled from {said.dataset!r} ({wanted[:19]}), but {data.name!r} is another data set "
            f"({data.digest[:19]}); name the right one with --dataset"
        )
    try:
        data.check(artifact, said, said.seed)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{file} does not fit {data.name!r}: {error}; write it again with `ddbench distill`") from error
    steps = number * len(schedule_of(rules, artifact.recipe, len(artifact.decode()[1])).lrs)
    where = resolve_device(device)
    compiler = Compiler(worth_compiling(None, steps, where.type))
    first = said.model_copy(update={"network": chosen[0]})  # the artefact's own may be of a file that is not here
    headline = modality.evaluator(first, place, Place(where, compiler, report))
    if not headline.starts_as(artifact.provenance):
        warnings.warn(
            "the held-out networks, trained again on this machine, are not to the bit those of the record; "
            "scores differ by as much as networks do",
            RuntimeWarning,
            stacklevel=2,
        )
    scores = list[Score]()

    def progress(share: float) -> None:
        report("evaluate", (len(scores) + share) / (len(chosen) * number))

    evaluators: list[Evaluator] = [headline.under(network, rules).reporting(progress) for network in chosen]
    for evaluator in evaluators:
        evaluate(artifact, evaluator, number, scores.append)
    return scores


def _check_setting(said: Provenance, networks: list[NetworkSpec], number: int) -> None:
    """Refuse networks that the artefact's setting does not have."""
    setting = SETTINGS[said.setting]
    if "pool" not in setting.needs:
        return
    if said.pool is None or ("attack" in setting.needs) != (said.attack is not None):
        raise UserError(f"the artefact's pool or attack is not sound for setting {said.setting!r}; write it again")
    if networks != [said.network]:
        raise UserError(f"the artefact is for pretrained networks {said.network}; leave out --network")
    if number > said.pool.held_out:
        raise UserError(
            f"{said.pool.held_out} networks were held out to score with, {number} are asked for; ask for fewer"
        )
