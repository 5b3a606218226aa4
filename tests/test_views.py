"""The sections on artefacts scored in several ways, against cases counted by hand."""

from __future__ import annotations

import csv
import io
import json
import random
from typing import Any, NamedTuple

import pytest

from ddbench.leaderboard import csv_table, markdown, rows
from ddbench.leaderboard.columns import Lines, groups
from ddbench.leaderboard.cross_architecture import comparison_sections
from ddbench.leaderboard.grouping import storage_conditions
from ddbench.records.cell import NetworkSpec, Scoring
from ddbench.records.schema import FurtherScore, Record, Selected
from ddbench.stats import kendall_tau, places
from factories import make_record

CONVNET, MLP, LENET = "convnet", "mlp", "lenet"
NETWORKS = {
    CONVNET: NetworkSpec(name="convnet", parameters={"depth": 2}),
    MLP: NetworkSpec(name="mlp"),
    LENET: NetworkSpec(name="lenet"),
}
NOTHING = "–"  # noqa: RUF001
QUICK, LONG = "quick-300@1", "long@1"

Way = tuple[str, str]


def scored(
    method: str,
    seed: int,
    accuracies: tuple[float, ...],
    also: dict[Way, tuple[float, ...]] | None = None,
    *,
    selected: tuple[tuple[float, float], ...] = (),
    snapshots: tuple[float, float, float] | None = None,
    **changes: Any,
) -> Record:
    """A record; `also` holds accuracies by network and protocol, `selected` validation and oracle of each network."""
    further = [
        FurtherScore(network=NETWORKS[network], protocol=protocol, seed=i, accuracy=accuracy)
        for (network, protocol), found in (also or {}).items()
        for i, accuracy in enumerate(found)
    ]
    ways = [
        Scoring(network=NETWORKS[network], protocol=protocol, networks=len(found))
        for (network, protocol), found in (also or {}).items()
    ]
    last, validation, oracle = snapshots or (0.0, 0.0, 0.0)
    record = make_record(
        method,
        seed,
        accuracies,
        further=further,
        also=ways or None,
        peek=0.1 if selected or snapshots else None,
        snapshots=Selected(last=last, validation=validation, oracle=oracle) if snapshots else None,
        **{"hyperparameters": {}, "protocol": QUICK, **changes},
    )
    for score, (validation, oracle) in zip(record.result.scores, selected, strict=bool(selected)):
        score.metrics.update(validation=validation, oracle=oracle)
    return record


class Table(NamedTuple):
    caption: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def tables_of(records: list[Record]) -> dict[str, list[Table]]:
    """By the title of their section."""
    found = comparison_sections(groups(rows(records)))
    return {section.title: [_table(*captioned) for captioned in section.tables] for section in found}


def _table(caption: str, lines: Lines) -> Table:
    (columns,) = {tuple(texts) for _, texts in lines}
    assert all(texts["method"].startswith(row.method) for row, texts in lines)
    return Table(caption, columns, tuple(tuple(texts.values()) for _, texts in lines))


# -- how orders agree -----------------------------------------------------------------------------------------------


def test_places_begin_with_the_largest_and_ties_share_the_best() -> None:
    assert places([0.1, 0.9, 0.5]) == [3, 1, 2]
    assert places([0.5, 0.9, 0.5, 0.1]) == [2, 1, 2, 4]
    assert places([]) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        # of 6 pairs, 5 agree (all but the last two): (5 - 1) / 6
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),
        # 4 pairs agree, 0 disagree, 1 is tied in each alone: (4 - 0) / sqrt((6 - 1) * (6 - 1))
        ([1, 1, 2, 3], [1, 2, 3, 3], 4 / 5),
    ],
)
def test_kendalls_tau_by_hand(one: list[float], other: list[float], expected: float) -> None:
    assert kendall_tau(one, other) == pytest.approx(expected)


@pytest.mark.parametrize(("one", "other"), [([], []), ([1], [1]), ([1, 1, 1], [1, 2, 3])])
def test_kendalls_tau_may_be_undefined(one: list[float], other: list[float]) -> None:
    assert kendall_tau(one, other) is None


# -- across networks ------------------------------------------------------------------------------------------------


def transferred() -> list[Record]:
    """A method on two seeds with two further networks, one with another, one with none, and one that failed."""
    return [
        scored("good", 0, (0.70, 0.80), {(MLP, QUICK): (0.60, 0.64), (LENET, QUICK): (0.5,)}),
        scored("good", 1, (0.80, 0.86), {(MLP, QUICK): (0.66, 0.66), (LENET, QUICK): (0.5,)}),
        scored("half", 0, (0.60, 0.60), {(MLP, QUICK): (0.65,)}),
        scored("none", 0, (0.50, 0.50)),
        scored("wild", 0, ()),
    ]


def test_methods_across_networks_by_hand() -> None:
    (table,) = tables_of(transferred())["Across networks"]
    assert table.caption == "digits, 1 image per class"
    assert table.columns == ("method", "convnet(depth=2)", "mlp", "drop to mlp", "lenet", "drop to lenet")
    # good: seeds .75 and .83 (deviation .0566), .62 and .66 (.0283), drops .13 and .17 (.0283), .25 and .33 (.0566);
    # half-widths are 12.7062 / sqrt(2) deviations
    assert table.lines == (
        ("good", "79.0 (28.2 to 100)", "64.0 ± 25.4", "+15.0 ± 25.4", "50.0 ± 0.0", "+29.0 ± 50.8"),
        ("half", "60.0", "65.0", "-5.0", NOTHING, NOTHING),
    )


def test_networks_under_another_protocol_have_a_table_of_their_own() -> None:
    also = {(MLP, QUICK): (0.5,), (CONVNET, LONG): (0.9,), (MLP, LONG): (0.6,)}
    first, second = tables_of([scored("good", 0, (0.7, 0.7), also)])["Across networks"]
    assert (first.caption, second.caption) == (
        "digits, 1 image per class",
        "digits, 1 image per class, scored under long@1",
    )
    assert first.lines == (("good", "70.0", "50.0", "+20.0"),)
    assert second.lines == (("good", "90.0", "60.0", "+30.0"),)


# -- under two protocols --------------------------------------------------------------------------------------------

SHORT_AND_LONG = {"a": (0.9, 0.6), "b": (0.8, 0.7), "c": (0.7, 0.3), "d": (0.6, 0.4)}
COMPARED = (
    ("a", "90.0", "1", "60.0", "2", "-1"),
    ("b", "80.0", "2", "70.0", "1", "+1"),
    ("c", "70.0", "3", "30.0", "4", "-1"),
    ("d", "60.0", "4", "40.0", "3", "+1"),
)
"""of 6 pairs, a-b and c-d disagree: tau (4 - 2) / 6"""


def test_ranks_under_a_protocol_that_each_artefact_is_scored_by_too() -> None:
    records = [scored(name, 0, (x, x), {(CONVNET, LONG): (y,)}) for name, (x, y) in SHORT_AND_LONG.items()]
    (table,) = tables_of([*records, scored("alone", 0, (0.95, 0.95))])["Under two protocols"]
    assert table.caption == "digits, 1 image per class: τ-b 0.33 over 4 methods"
    assert table.columns == ("method", QUICK, "place", LONG, "new place", "move")
    assert table.lines == COMPARED


def test_ranks_under_two_protocols_of_separate_cells() -> None:
    records = [scored(name, 0, (x, x)) for name, (x, _) in SHORT_AND_LONG.items()]
    also = {"a": {(MLP, LONG): (0.5,)}}  # of no matter to what was distilled
    records += [
        scored(name, 0, (y,), also.get(name), protocol=LONG, networks=1) for name, (_, y) in SHORT_AND_LONG.items()
    ]
    records += [
        scored("other", 0, (0.95, 0.95)),
        scored("other", 0, (0.95,), protocol=LONG, networks=1, hyperparameters={"lr": 1.0}),
    ]
    (table,) = tables_of(records)["Under two protocols"]
    assert table.caption == "digits, 1 image per class: τ-b 0.33 over 4 methods"
    assert table.columns == ("method", LONG, "place", QUICK, "new place", "move")
    assert table.lines == (
        ("b", "70.0", "1", "80.0", "2", "-1"),
        ("a", "60.0", "2", "90.0", "1", "+1"),
        ("d", "40.0", "3", "60.0", "4", "-1"),
        ("c", "30.0", "4", "70.0", "3", "+1"),
    )


def test_protocols_are_compared_network_by_network_and_not_for_two_methods_alone() -> None:
    also = {(CONVNET, LONG): (0.3,), (MLP, QUICK): (0.5,), (MLP, LONG): (0.4,)}
    three = [scored(name, 0, (0.5 + i / 10, 0.5 + i / 10), also) for i, name in enumerate("abc")]
    captions = [table.caption for table in tables_of(three)["Under two protocols"]]
    assert captions == [
        "digits, 1 image per class: τ-b not defined over 3 methods",
        "digits, 1 image per class, scored with mlp: τ-b not defined over 3 methods",
    ]
    assert "Under two protocols" not in tables_of(three[:2])


def test_other_conditions_are_not_compared() -> None:
    quick = [scored(name, 0, (0.5, 0.5)) for name in "abc"]
    elsewhere = [scored(name, 0, (0.5,), protocol=LONG, networks=1, preprocessing="zca") for name in "abc"]
    assert "Under two protocols" not in tables_of(quick + elsewhere)


# -- peek gap -------------------------------------------------------------------------------------------------------


def peeked() -> list[Record]:
    return [
        scored("good", 0, (0.70, 0.72), selected=((0.71, 0.75), (0.69, 0.73)), snapshots=(0.60, 0.58, 0.66)),
        scored("good", 1, (0.80, 0.82), selected=((0.83, 0.85), (0.83, 0.87)), snapshots=(0.62, 0.62, 0.70)),
        scored("still", 0, (0.5,), selected=((0.5, 0.6),), networks=2),
    ]


def test_peek_gaps_by_hand() -> None:
    training, distillation = tables_of(peeked())["Peek gap"]
    assert training.caption == (
        "digits, 1 image per class: readings along the training of evaluation networks; "
        "oracle - last is +7.0 on average"  # of +4.0 and +10.0
    )
    assert distillation.caption == (
        "digits, 1 image per class: snapshots along the distillation, in the protocol's short form; "
        "oracle - last is +7.0 on average"
    )
    assert training.columns == ("method", "last", "validation", "oracle", "validation - last", "oracle - last")
    # good, by seed: last .71 and .81, validation .70 and .83, oracle .74 and .86
    assert training.lines == (
        ("good", "76.0 (12.5 to 100)", "76.5 (0 to 100)", "80.0 (3.8 to 100)", "+0.5 ± 19.1", "+4.0 ± 12.7"),
        ("still", "50.0", "50.0", "60.0", "+0.0", "+10.0"),
    )
    assert distillation.lines == (("good", "61.0 ± 12.7", "60.0 ± 25.4", "68.0 ± 25.4", "-1.0 ± 12.7", "+7.0 ± 12.7"),)


def test_a_board_that_holds_images_out_says_so() -> None:
    text = markdown(peeked(), "x")
    assert "test split, 10 % of the training images held out, cpu" in text
    both = markdown([*peeked(), scored("plain", 0, (0.4, 0.4))], "x")
    assert "## digits, 1 image per class, test split, 10 % of the training images held out\n" in both
    assert "## digits, 1 image per class, test split\n" in both


# -- where they stand -----------------------------------------------------------------------------------------------


def test_sections_follow_the_tables_only_where_there_is_something() -> None:
    assert tables_of([scored("plain", 0, (0.4, 0.4)), scored("wild", 0, ())]) == {}
    text = markdown([*transferred(), scored("a|b", 0, (0.6, 0.6), {(MLP, QUICK): (0.65,)})], "x")
    headings = [line for line in text.splitlines() if line.startswith("##")]
    assert [line for line in headings if line.startswith("## ")] == [
        "## digits, 1 image per class",
        "## Across networks",
    ]
    assert headings[-2:] == ["## Across networks", "### digits, 1 image per class"]
    assert "| method   |   convnet(depth=2) |         mlp |   drop to mlp |      lenet |   drop to lenet |\n" in text
    assert r"| a\|b " in text


def test_a_further_way_does_not_split_a_table() -> None:
    plain = scored("random_real", 0, (0.4, 0.4))
    made = rows([*transferred(), plain])
    assert len(groups(made)) == 1
    assert storage_conditions(transferred()[0].result.cell) == storage_conditions(plain.result.cell)
    (good,) = (row for row in made if row.method == "good")
    assert good.versus_random is not None, "a control that is scored in fewer ways is a control"
    assert good.versus_random.mean == pytest.approx(0.35)


def test_sections_do_not_depend_on_the_order_of_records() -> None:
    records = transferred() + peeked()
    shuffled = list(records)
    random.Random(1).shuffle(shuffled)
    assert markdown(records, "x") == markdown(shuffled, "x")
    assert csv_table(records) == csv_table(shuffled)


def test_data_of_the_views_are_json_in_the_csv() -> None:
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(csv_table(transferred())))}
    mlp, lenet = json.loads(lines["good"]["also"])
    assert (mlp["network"], mlp["protocol"], mlp["accuracy"], mlp["n"]) == ("mlp", QUICK, 0.64, 2)
    assert lenet == {"network": "lenet", "protocol": QUICK, "accuracy": 0.5, "half_width": 0.0, "n": 2}
    assert (lines["none"]["also"], lines["none"]["peek"]) == ("[]", "{}")
    assert (lines["wild"]["also"], lines["wild"]["peek"]) == ("[]", "{}")
    (good, still) = csv.DictReader(io.StringIO(csv_table(peeked())))
    found = json.loads(good["peek"])
    assert {rule: entry["accuracy"] for rule, entry in found["training"].items()} == {
        "last": 0.76, "validation": 0.765, "oracle": 0.8,
    }  # fmt: skip
    assert found["distillation"]["oracle"]["accuracy"] == 0.68
    assert list(json.loads(still["peek"])) == ["training"]
