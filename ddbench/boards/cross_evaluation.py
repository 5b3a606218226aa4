"""Further ways to score an artefact, as a board lists them: completed, and refused where they cannot work."""

from __future__ import annotations

from ddbench.boards.board import ScoringField
from ddbench.errors import UserError
from ddbench.evaluation.kernel_protocol import check_regression
from ddbench.evaluation.protocols import usual_networks
from ddbench.records.cell import Cell, NetworkSpec, Scoring
from ddbench.registry import PROTOCOLS
from ddbench.task.settings import SETTINGS


def cross_evaluations(fields: list[ScoringField], headline: Scoring) -> list[Scoring]:
    """What a cell is scored with beyond its headline; what a field leaves out is the headline's."""
    return [
        Scoring(
            network=given.network or headline.network,
            protocol=given.protocol or headline.protocol,
            networks=given.networks or _usual(given.protocol or headline.protocol, headline),
        )
        for given in fields
    ]


def _usual(protocol: str, headline: Scoring) -> int:
    """Return the number of networks of a way that leaves it out; `check_ways` refuses an unknown protocol."""
    if protocol not in PROTOCOLS:
        return headline.networks
    return usual_networks(PROTOCOLS.get(protocol), headline.protocol, headline.networks)


def check_ways(cell: Cell) -> None:
    """Refuse a cell one of whose ways of scoring is there twice, or is ruled out by its setting.

    Raises:
        UserError: with the place of the way in the board.
    """
    known = [(cell.network, cell.protocol)]
    for index, way in enumerate(cell.also or []):
        try:
            _check(way, cell, known)
        except UserError as error:
            raise UserError(f"also.{index}: {error}") from error
        known.append((way.network, way.protocol))


def _check(way: Scoring, cell: Cell, known: list[tuple[NetworkSpec, str]]) -> None:
    protocol, named = PROTOCOLS.get(way.protocol), f"{way.network} under {way.protocol}"
    if (way.network, way.protocol) == known[0]:
        raise UserError(f"{named} is the headline; name another network or protocol")
    if (way.network, way.protocol) in known:
        raise UserError(f"{named} is listed twice; leave out one")
    if cell.pool is not None and way.networks > cell.pool.held_out:
        raise UserError(
            f"pool holds out {cell.pool.held_out} networks and {way.networks} are asked for; raise held_out"
        )
    check_regression(protocol, way.networks, cell.pool is not None)
    binding = SETTINGS[cell.setting].bound_by(protocol.honours)
    if binding is not None and way.network != cell.network:
        raise UserError(
            f"setting {cell.setting!r} under {protocol.name} scores {binding}, which are of {cell.network}; "
            f"leave out {way.network}"
        )
