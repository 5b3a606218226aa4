"""The state of a number: what others have measured of it, derived from the records themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ddbench.io.atomic import digest
from ddbench.records.files import dump_record
from ddbench.records.schema import Record

State = Literal["claimed", "verified", "replayed"]
STATES: dict[State, str] = {
    "claimed": "nobody else has measured it, or what they found does not agree",
    "verified": "networks were trained on its artefact again in another environment, and agree",
    "replayed": "its steps were run again in another environment, and what came out scores as well",
}
"""what each state means, the least first"""
SURROUNDINGS = ("device", "system", "python", "torch")
"""entries of an environment; if one of them differs, it is another one"""


def evidence(records: Iterable[Record]) -> dict[int, list[Record]]:
    """Return the records that agree with each record and were measured elsewhere, by its `id`.

    Where scores were measured again, the two records are evidence for each other.
    """
    known = list(records)
    checks = [record for record in known if record.rescores or record.replays]
    told = {_run(record) for record in checks}
    named = {digest(dump_record(record)): record for record in known if _run(record) in told}
    found: dict[int, list[Record]] = {}
    for check in checks:
        claim = named.get(str(check.rescores or check.replays))
        if claim is not None and _agree(claim, check) and _elsewhere(claim, check):
            found.setdefault(id(claim), []).append(check)
            if check.rescores:
                found.setdefault(id(check), []).append(claim)
    for check in checks:
        claim = named.get(str(check.rescores))
        if claim in found.get(id(check), []):  # what was shown of the one holds for the other
            found[id(check)] += [other for other in found[id(claim)] if other is not check]
    return found


def state(agreeing: Sequence[Record]) -> State:
    """The state of a record with this evidence."""
    if any(record.replays for record in agreeing):
        return "replayed"
    return "verified" if agreeing else "claimed"


def reaches(own: State, wanted: State) -> bool:
    """Return whether a state is at least another one."""
    order = list(STATES)
    return order.index(own) >= order.index(wanted)


def _agree(claim: Record, check: Record) -> bool:
    if claim.accuracy is None or check.accuracy is None or check.bound is None:
        return False
    return claim.accuracy - check.accuracy <= check.bound


def _run(record: Record) -> tuple[str, str, int, int]:
    cell = record.result.cell
    return cell.method, cell.dataset_digest, cell.ipc, record.result.seed


def _elsewhere(claim: Record, check: Record) -> bool:
    """Return whether the distillation, or what was measured again of it, took place in another environment."""

    def surroundings(record: Record) -> list[Any]:
        scored_in = None if check.replays else record.measured.rescored_in
        around: Mapping[str, Any] = scored_in or record.measured.environment
        return [around.get(name) for name in SURROUNDINGS]

    return surroundings(claim) != surroundings(check)
