"""Further ways to score an artefact, as a board lists them: resolved, and refused where they cannot work."""

from __future__ import annotations

from ddbench.boards.board import ScoringField
from ddbench.data import Dataset
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.networks import build_network
from ddbench.records.schema import GivenWeights, Pool, Scoring, Setting
from ddbench.registry import PROTOCOLS


def scorings(
    fields: list[ScoringField], headline: Scoring, setting: Setting, pool: Pool | GivenWeights | None, data: Dataset
) -> list[Scoring] | None:
    """What a cell is to be scored with beyond its headline, complete; None for nothing.

    Raises:
        UserError: for an unknown network or protocol, a way that is listed already, or one that the setting rules out.
    """
    found = [headline]
    for index, given in enumerate(fields):
        scoring = Scoring(
            network=given.network or headline.network,
            protocol=given.protocol or headline.protocol,
            networks=given.networks or headline.networks,
        )
        try:
            _check(scoring, found, setting, pool, data)
        except UserError as error:
            raise UserError(f"also.{index}: {error}") from error
        found.append(scoring)
    return found[1:] or None


def _check(
    scoring: Scoring, known: list[Scoring], setting: Setting, pool: Pool | GivenWeights | None, data: Dataset
) -> None:
    protocol: Protocol = PROTOCOLS.get(scoring.protocol)
    build_network(scoring.network.name, data.shape, len(data.classes), scoring.network.parameters)
    own, way = known[0].network, f"{scoring.network} under {scoring.protocol}"
    if _same(scoring, known[0]):
        raise UserError(f"{way} is the headline; name another network or protocol")
    if any(_same(scoring, other) for other in known):
        raise UserError(f"{way} is listed twice; leave out one")
    if pool is not None and scoring.networks > pool.held_out:
        raise UserError(f"pool holds out {pool.held_out} networks and {scoring.networks} are asked for; raise held_out")
    if scoring.network != own and pool is not None:
        raise UserError(f"setting {setting!r} scores given networks, all {own}; leave out {scoring.network}")
    if scoring.network != own and setting == "fixed" and "initial" in protocol.honours:
        raise UserError(f"{protocol.name} starts from stored weights, which are of {own}; leave out {scoring.network}")


def _same(one: Scoring, other: Scoring) -> bool:
    return (one.network, one.protocol) == (other.network, other.protocol)
