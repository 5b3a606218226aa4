"""An artefact from its file alone, with the data, protocol and networks that it is to be evaluated with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.provenance import check_provenance, naming_the_option
from ddbench.compute.compiling import Compiler, worth_compiling
from ddbench.compute.device import resolve_device
from ddbench.errors import UserError
from ddbench.evaluation.kernel_protocol import check_regression
from ddbench.evaluation.modality import Described, Evaluator, Place, network_for
from ddbench.evaluation.protocols import AnyProtocol, check_ceiling, usual_networks
from ddbench.evaluation.schedule import schedule_of
from ddbench.records.cell import Cell, NetworkSpec
from ddbench.records.notation import make_network
from ddbench.registry import MODALITIES, PROTOCOLS
from ddbench.task.settings import SETTINGS


@dataclass(frozen=True)
class OpenedArtifact:
    """A sound artefact whose data set is here."""

    artifact: DistilledDataset
    said: Described
    """its run's cell, or what its header says"""
    seed: int | None
    """its run's seed; None for what was converted"""
    place: str
    """its data set's name, or where that lies"""
    protocol: AnyProtocol
    networks: list[NetworkSpec]
    """architectures to train on it"""
    count: int
    """networks of each"""

    def evaluator(self, device: str, report: Callable[[str, float], None]) -> Evaluator:
        """What scores it with its own network, on a device; compiled where that is worth it."""
        where = resolve_device(device)
        compiler = Compiler(worth_compiling(None, self._steps(), where.type))
        first = self.said.model_copy(update={"network": self.networks[0]})  # its own may be of a file that is not here
        place = Place(where, compiler, report)
        found = MODALITIES.get(self.said.modality).evaluator(first, self.place, place)
        if not found.starts_as(self.artifact.provenance):
            warnings.warn(
                "the held-out networks, trained again on this machine, are not to the bit those of the record; "
                "scores differ by as much as networks do",
                RuntimeWarning,
                stacklevel=3,
            )
        return found

    def _steps(self) -> int:
        """Return the number of steps that networks of one architecture are trained for."""
        if self.protocol.kind == "krr":
            return 0
        return self.count * len(schedule_of(self.protocol, self.artifact.recipe, len(self.artifact.decode()[1])).lrs)


def open_artifact(
    file: Path,
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    networks: Iterable[str] = (),
    count: int | None = None,
    cell: Cell | None = None,
) -> OpenedArtifact:
    """Read an artefact and find what it is to be evaluated with; what is not given is as its cell or its header says.

    Args:
        cell: of the run that made it, where that is known: the split that it was scored on is taken

    Raises:
        UserError: when the file cannot be scored from what it says, or its data set is not to be had.
    """
    artifact = DistilledDataset.load(file)
    header = check_provenance(artifact.provenance, file)
    said: Described = cell or header
    rules, place = PROTOCOLS.get(protocol or said.protocol), dataset or said.dataset
    check_ceiling(said.method, rules)
    chosen = [make_network(name) for name in networks] or [said.network]
    number = count or usual_networks(rules, said.protocol, said.networks)
    check_regression(rules, number, said.pool is not None)
    _check_setting(said, chosen, number)
    with naming_the_option(header, file, dataset):
        data = MODALITIES.get(said.modality).data(place, said.split, said.peek)
    wanted = said.dataset_digest.partition("+")[0]
    if data.digest.partition("+")[0] != wanted:
        raise UserError(
            f"{file} was distilled from {said.dataset!r} ({wanted[:19]}), but {data.name!r} is another data set "
            f"({data.digest[:19]}); name the right one with --dataset"
        )
    try:
        data.check(artifact, said, header.seed)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{file} does not fit {data.name!r}: {error}; write it again with `ddbench distill`") from error
    chosen = chosen if chosen == [said.network] else [network_for(network, data) for network in chosen]
    return OpenedArtifact(artifact, said, header.seed, place, rules, chosen, number)


def _check_setting(said: Described, networks: list[NetworkSpec], number: int) -> None:
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
