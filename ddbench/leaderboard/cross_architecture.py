"""Sections after a board's tables about artefacts that were scored with other networks, protocols or selections."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ddbench.leaderboard.columns import CONDITIONS, Group, Lines, percent, varying
from ddbench.leaderboard.evaluations import BySeed, Selections, along_distillation, along_training, ways
from ddbench.leaderboard.grouping import conditions, identity
from ddbench.leaderboard.published import Figure
from ddbench.leaderboard.rows import Row
from ddbench.leaderboard.summaries import NOTHING
from ddbench.stats import interval, kendall_tau, paired_difference, places

LEAST_METHODS = 3
"""smallest number of methods for which the agreement of two orders is shown"""
Captioned = tuple[str, Lines]


@dataclass(frozen=True)
class ComparisonSection:
    """Tables that compare scores of the same artefacts."""

    title: str
    note: str
    """how to read the tables"""
    tables: tuple[Captioned, ...]


def comparison_sections(groups: Sequence[Group]) -> list[ComparisonSection]:
    """Return the sections about scores beyond the groups' headlines, without those that have no tables."""
    across = tuple(_across_networks(groups))
    papers = any(column.startswith(PAPER) for _, lines in across for column in lines[0][1])
    found = [
        ComparisonSection("Across networks", ACROSS_NETWORKS + FROM_PAPERS * papers, across),
        ComparisonSection("Under two protocols", UNDER_TWO_PROTOCOLS, tuple(_under_two_protocols(groups))),
        ComparisonSection("Peek gap", PEEK_GAP, tuple(_peek_gaps(groups))),
    ]
    return [section for section in found if section.tables]


def further_fields(row: Row) -> dict[str, Any]:
    """Return a row's accuracies beyond its headline as plain values, in [0, 1]."""
    also = [
        {"network": network, "protocol": protocol, **_plain(by_seed)}
        for protocol, by_network in ways(row).items()
        for network, by_seed in by_network.items()
        if (network, protocol) != (row.network, row.protocol)
    ]
    peek = {
        source: {rule: _plain(by_seed) for rule, by_seed in vars(found).items()}
        for source, found in (("training", along_training(row)), ("distillation", along_distillation(row)))
        if found
    }
    return {"also": also, "peek": peek}


def _plain(by_seed: BySeed) -> dict[str, float | int | None]:
    found = interval(list(by_seed.values()))
    half_width = None if found.half_width is None else round(found.half_width, 6)
    return {"accuracy": round(found.mean, 6), "half_width": half_width, "n": found.n}


def _text(by_seed: BySeed) -> str:
    return percent(interval(list(by_seed.values())) if by_seed else None)


def _difference(one: BySeed, other: BySeed) -> str:
    return percent(paired_difference(one, other), signed=True)


# -- across networks ------------------------------------------------------------------------------------------------

ACROSS_NETWORKS = (
    "Accuracy % of networks trained on the same artefacts: of the one that they were distilled with, then of others; "
    "drop: what the change of network loses, paired by seed."
)
PAPER = "paper "
FROM_PAPERS = " Paper: published figures of that network on such images."


def _across_networks(groups: Iterable[Group]) -> Iterator[Captioned]:
    for group in groups:
        own = group.rows[0]
        for protocol in dict.fromkeys(protocol for row in group.rows for protocol in ways(row)):
            under = [(row, ways(row).get(protocol, {})) for row in group.rows]
            others = list(dict.fromkeys(name for _, found in under for name in found if name != own.network))
            shown = [(row, found) for row, found in under if found.keys() - {own.network}]
            papers = {name for name in others if any(_figures(row, name, protocol) for row, _ in shown)}
            lines = [
                (row, {"method": group.label(row)} | _transfer(row, found, protocol, others, papers))
                for row, found in shown
            ]
            if lines:
                yield group.heading + ("" if protocol == own.protocol else f", scored under {protocol}"), lines


def _transfer(
    row: Row, found: Mapping[str, BySeed], protocol: str, others: Iterable[str], papers: Collection[str]
) -> dict[str, str]:
    own = row.network
    texts = {own: _text(found.get(own, {}))}
    for other in others:
        texts[other] = _text(found.get(other, {}))
        if other in papers:
            figures = _figures(row, other, protocol)
            texts[PAPER + other] = " or ".join(f"{figure.accuracy:.1f}" for figure in figures) or NOTHING
        texts[f"drop to {other}"] = _difference(found.get(own, {}), found.get(other, {}))
    return texts


def _figures(row: Row, network: str, protocol: str) -> list[Figure]:
    return [figure for figure in row.published_across if (figure.scored, figure.protocol) == (network, protocol)]


# -- under two protocols --------------------------------------------------------------------------------------------

UNDER_TWO_PROTOCOLS = (
    "Accuracy % and place by its mean, among the methods that have both; move: places won (+) or lost (-) from the "
    "first protocol to the second, of which those within the intervals are chance. Kendall's τ-b is 1 where both give "
    "one order, 0 where the orders have nothing in common and -1 where they are opposite."
)


@dataclass(frozen=True)
class _Scored:
    """The accuracies of a row under one of its protocols, with one of its networks."""

    row: Row
    label: str
    by_seed: BySeed


def _under_two_protocols(groups: Sequence[Group]) -> Iterator[Captioned]:
    rows = [row for group in groups for row in group.rows]
    several = [name for name in varying(rows) if name not in ("protocol", "networks")]
    for network, by_protocol in _comparable(groups):
        for one, other in combinations(by_protocol, 2):
            pairs = [(found, by_protocol[other][name]) for name, found in by_protocol[one].items()
                     if name in by_protocol[other]]  # fmt: skip
            if len(pairs) >= LEAST_METHODS:
                row = pairs[0][0].row
                heading = Group((row,), tuple(CONDITIONS[name](row) for name in several)).heading
                where = heading if network == row.network else f"{heading}, scored with {network}"
                yield _comparison(where, (one, other), pairs)


def _comparable(groups: Iterable[Group]) -> Iterator[tuple[str, dict[str, dict[str, _Scored]]]]:
    """Return scores by protocol, then by the identity of what was distilled, for each network and equal conditions."""
    found: dict[tuple[str, str], dict[str, dict[str, _Scored]]] = {}
    for group in groups:
        for row in group.rows:
            distilled = row.cell.model_copy(update={"protocol": "", "networks": 1, "also": None})
            for protocol, by_network in ways(row).items():
                for network, by_seed in by_network.items():
                    under = found.setdefault((conditions(distilled), network), {}).setdefault(protocol, {})
                    under[identity(distilled)] = _Scored(row, group.label(row), by_seed)
    return ((network, by_protocol) for (_, network), by_protocol in found.items())


def _comparison(where: str, protocols: tuple[str, str], pairs: Sequence[tuple[_Scored, _Scored]]) -> Captioned:
    first, second = protocols
    ones, others = (
        [statistics.fmean(found.by_seed.values()) for found in scored] for scored in zip(*pairs, strict=True)
    )
    lines = [
        (one.row, {
            "method": one.label, first: _text(one.by_seed), "place": str(before), second: _text(other.by_seed),
            "new place": str(after), "move": f"{before - after:+d}" if before != after else "0",
        })
        for (one, other), before, after in zip(pairs, places(ones), places(others), strict=True)
    ]  # fmt: skip
    tau = kendall_tau(ones, others)
    agreement = "not defined" if tau is None else f"{tau:.2f}"
    return f"{where}: τ-b {agreement} over {len(pairs)} methods", sorted(lines, key=lambda line: int(line[1]["place"]))


# -- peek gap -------------------------------------------------------------------------------------------------------

PEEK_GAP = (
    "Test accuracy % at the last reading, at the one that is best on the held-out training images, and at the one that "
    "is best on the test set itself, which nobody may choose; differences are paired by seed."
)
SOURCES: dict[str, Callable[[Row], Selections | None]] = {
    "readings along the training of evaluation networks": along_training,
    "snapshots along the distillation, in the protocol's short form": along_distillation,
}


def _peek_gaps(groups: Iterable[Group]) -> Iterator[Captioned]:
    for group in groups:
        for what, source in SOURCES.items():
            selected = [(row, found) for row in group.rows if (found := source(row))]
            if selected:
                gap = 100 * statistics.fmean(_gain(found) for _, found in selected)
                lines = [(row, {"method": group.label(row)} | _gap(found)) for row, found in selected]
                yield f"{group.heading}: {what}; oracle - last is {gap:+.1f} on average", lines


def _gain(found: Selections) -> float:
    """Return the mean gain of the oracle over the last reading, in [0, 1]."""
    return statistics.fmean(found.oracle[seed] - found.last[seed] for seed in found.last)


def _gap(found: Selections) -> dict[str, str]:
    return {
        "last": _text(found.last),
        "validation": _text(found.validation),
        "oracle": _text(found.oracle),
        "validation - last": _difference(found.validation, found.last),
        "oracle - last": _difference(found.oracle, found.last),
    }
