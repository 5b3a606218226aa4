"""What records share, described once: conditions, environments, and protocols that differ from today's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ddbench.io.atomic import canonical_json, digest
from ddbench.leaderboard.rows import describe_budget
from ddbench.records.cell import Cell, Scoring
from ddbench.records.schema import Record
from ddbench.registry import PROTOCOLS
from ddbench.site.content import Content
from ddbench.site.format import Pairs, pairs

PAGE = "shared.html"
KINDS = {
    "conditions": "All fields of a cell except its method and hyper-parameters.",
    "environment": "The machine and the versions that runs were measured on, and the digest of the method's file.",
    "protocol": "Protocols as records hold them, where a field differs from the protocol that is registered today.",
}
NAMING = ("device", "git")
"""keys that name an environment"""


@dataclass(frozen=True)
class Shared:
    """Something that is described once, on the shared page, and linked to by name."""

    kind: str
    """key of `KINDS`"""
    name: str
    pairs: Pairs

    @property
    def anchor(self) -> str:
        """Anchor on the page, a digest of the content, so that further records do not change it."""
        return f"{self.kind[0]}{digest(canonical_json(self.pairs))[-8:]}"


def shared_by(record: Record) -> Iterator[Shared]:
    """Yield what a record's page links to instead of repeating it."""
    cell, environment = record.result.cell, record.measured.environment
    yield Shared("conditions", f"{cell.network}, {describe_budget(cell.budget)}", _conditions(cell))
    known = [str(environment[name]) for name in NAMING if environment.get(name)]
    code = {"method's file": record.method_source, "schema": record.schema_version}
    yield Shared("environment", ", ".join(known) or "as recorded", pairs(environment | code))
    for protocol in (record.protocol, *record.also_protocols.values()):
        if not _registered(protocol):
            yield Shared("protocol", str(protocol.get("name")), pairs(protocol))


def shared_values(content: Content) -> dict[str, Any]:
    """Return the values that the template `shared.html` shows."""
    found: dict[str, Shared] = {}
    counts: dict[str, int] = {}
    for entry in content.entries:
        for each in shared_by(entry.record):
            found[each.anchor] = each
            counts[each.anchor] = counts.get(each.anchor, 0) + 1
    ordered = sorted(found.values(), key=lambda each: (each.name, each.pairs))
    kinds = [(kind, note, [each for each in ordered if each.kind == kind]) for kind, note in KINDS.items()]
    return {"kinds": [kind for kind in kinds if kind[2]], "counts": counts}


def _conditions(cell: Cell) -> Pairs:
    plain = cell.model_dump(mode="json", exclude={"method", "hyperparameters", "dataset_digest", "network", "budget"})
    shown = {"network": str(cell.network), "budget": describe_budget(cell.budget), "data": cell.dataset_digest}
    also = {"also": "; ".join(map(_way, cell.also))} if cell.also else {}
    return pairs({name: value for name, value in (plain | shown | also).items() if value is not None})


def _way(scoring: Scoring) -> str:
    return f"{scoring.networks} {scoring.network} under {scoring.protocol}"


def _registered(recorded: dict[str, Any]) -> bool:
    name = str(recorded.get("name"))
    described = PROTOCOLS.get(name).describe() if name in PROTOCOLS else {}
    return bool(described) and all(described.get(field, value) == value for field, value in recorded.items())
