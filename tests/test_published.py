"""Figures from papers: what may be filed, what they are compared with, and how they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddbench.errors import UserError
from ddbench.leaderboard import Published, csv_table, load_published, markdown, rich_table, rows
from ddbench.leaderboard.published import SHIPPED
from ddbench.records.cell import Budget, NetworkSpec, Scoring
from ddbench.records.schema import FurtherScore, Record
from ddbench.registry import METHODS, NETWORKS, PROTOCOLS, discover
from factories import make_record

OWN = {
    "method": "good", "dataset": "digits", "ipc": 1, "network": "convnet", "protocol": "dsa-1000@1",
    "accuracy": 73.5, "source": "paper", "read": True,
}  # fmt: skip
QUOTED = OWN | {"accuracy": 72.9, "plus_minus": 0.4, "source": "other", "read": False, "conflict": True}
SOURCES = {"paper": "The Good Paper, 2020.", "other": "Another Paper, 2021."}


def published(*entries: dict[str, Any]) -> Published:
    return Published.model_validate({"sources": SOURCES, "entries": list(entries)})


def record(accuracy: float, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "hyperparameters": {"augment": True}, "network": NetworkSpec(name="convnet"), "networks": 1, "budget": Budget()
    }  # fmt: skip
    return make_record(accuracies=(accuracy,), **(fields | changes))


def test_a_figure_stands_beside_the_cell_it_fits() -> None:
    (row,) = rows([record(0.74)], published(OWN))
    assert [figure.accuracy for figure in row.published] == [73.5]
    table = markdown([record(0.74)], "x", published(OWN)).partition("### Cost")[0]
    (group,) = [line for line in table.splitlines() if "| good" in line]
    assert [text.strip() for text in group.split("|")[2:7]] == ["good", "74.0", "1", "73.5", "+0.5"]


def test_given_networks_are_compared_with_those_trained_on_the_same_data() -> None:
    pools = {name: {"dataset": name, "dataset_digest": "sha256:cd"} for name in ("usps", "svhn")}
    figure = OWN | {"setting": "pretrained", "pool": "usps"}
    adapted = {name: record(0.74, setting="pretrained", pool=pool) for name, pool in pools.items()}
    assert [len(rows([run], published(figure))[0].published) for run in adapted.values()] == [1, 0]
    assert not rows([record(0.74, setting="pretrained", pool=pools["usps"])], published(OWN))[0].published


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "other"},
        {"dataset": "mnist"},
        {"ipc": 10},
        {"network": NetworkSpec(name="convnet", parameters={"width": 32})},
        {"setting": "fixed"},
        {"preprocessing": "zca"},
        {"hyperparameters": {"augment": True, "decoder": "canvas"}},
        {"protocol": "dc-300@1"},
        {"split": "validation"},
        {"peek": 0.1},
    ],
)
def test_a_figure_is_compared_with_nothing_else(changes: dict[str, Any]) -> None:
    (row,) = rows([record(0.74, **changes)], published(OWN))
    assert row.published == ()
    assert "paper" not in markdown([record(0.74, **changes)], "x", published(OWN))


ALSO = [Scoring(network=NetworkSpec(name="alexnet"), protocol="dsa-1000@1", networks=1)]
ACROSS = OWN | {"scored": "alexnet", "accuracy": 60.0}


def scored_across(**changes: Any) -> Record:
    """A record of a convnet's images with a headline of 74 %, and 61.5 % of an alexnet trained on them."""
    own = record(0.74, also=ALSO, **changes)
    further = FurtherScore(network=ALSO[0].network, protocol=ALSO[0].protocol, seed=0, accuracy=0.615)
    return own.model_copy(update={"result": own.result.model_copy(update={"also": [further]})})


def test_a_figure_of_another_network_stands_beside_that_network_alone() -> None:
    text = markdown([scored_across()], "x", published(OWN, ACROSS))
    headline, _, across = text.partition("## Across networks")
    header, _, line = [row for row in across.splitlines() if row.startswith("|")]
    columns, texts = ([text.strip() for text in row.split("|")[1:-1]] for row in (header, line))
    assert columns == ["method", "convnet", "alexnet", "paper alexnet", "drop to alexnet"]
    assert texts == ["good", "74.0", "61.5", "60.0", "+12.5"]
    assert "| 73.5 |" in " ".join(headline.split())
    assert "60.0" not in headline
    assert "good on digits at ipc 1 73.5; good on digits at ipc 1, scored with alexnet 60" in across


@pytest.mark.parametrize(
    ("figure", "changes"),
    [
        (ACROSS | {"scored": "lenet"}, {}),
        (ACROSS | {"protocol": "dc-300@1"}, {}),
        (ACROSS | {"network": "mlp"}, {}),
        (ACROSS, {"network": NetworkSpec(name="mlp")}),
        (ACROSS, {"peek": 0.1}),
    ],
)
def test_a_figure_of_another_network_is_compared_with_nothing_else(figure: Any, changes: dict[str, Any]) -> None:
    (row,) = rows([scored_across(**changes)], published(figure))
    assert row.published == row.published_across == ()


def test_what_was_scored_with_the_network_that_distilled_has_no_figure_of_another() -> None:
    (row,) = rows([record(0.74, network=NetworkSpec(name="alexnet"))], published(ACROSS))
    assert row.published == row.published_across == ()


def test_a_figure_of_what_is_not_pixels_names_its_decoder() -> None:
    figures = published(OWN | {"variant": {"decoder": "canvas"}})
    stored = record(0.74, hyperparameters={"decoder": "canvas"})
    assert [len(row.published) for row in rows([stored], figures)] == [1]
    assert [len(row.published) for row in rows([record(0.74)], figures)] == [0]


def test_a_variant_is_told_by_its_hyperparameters() -> None:
    figures = published(OWN | {"variant": {"augment": False}}, OWN | {"variant": {"augment": True}, "accuracy": 80.0})
    (row,) = rows([record(0.74)], figures)
    assert [figure.accuracy for figure in row.published] == [80.0]


def test_figures_that_disagree_stand_side_by_side_the_authors_first() -> None:
    figures = published(QUOTED, OWN | {"conflict": True})
    text = markdown([record(0.74)], "x", figures)
    assert "| 73.5 or 72.9 |" in text
    assert "+0.5 or +1.1 |" in text
    assert text.endswith(
        "## Published figures\n\n"
        "- Another Paper, 2021, quoted there: good on digits at ipc 1 72.9 ± 0.4 (sources disagree)\n"
        "- The Good Paper, 2020: good on digits at ipc 1 73.5 (sources disagree)\n"
    )


def test_a_copying_error_disagrees_with_nothing_and_is_compared_with_nothing() -> None:
    wrong = OWN | {"accuracy": 48.3, "source": "other", "read": False, "miscopied": True}
    (row,) = rows([record(0.74)], published(OWN, wrong))
    assert [figure.accuracy for figure in row.published] == [73.5]


def test_figures_of_protocols_that_are_not_here_are_compared_with_nothing() -> None:
    """HaBa is evaluated with standardised batches of 128, DATM with batches of 128 where there are more images."""
    for figure in load_published().entries:
        if figure.method == "factorization":
            assert figure.protocol is None
        if figure.method == "difficulty_aligned_matching":
            images = {"cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}[figure.dataset] * (figure.ipc or 0)
            assert (figure.protocol is None) == (images > 128)


def test_sources_that_select_by_test_accuracy_say_so() -> None:
    found = load_published()
    names = {"trajectory_matching", "scalable_trajectory_matching", "flat_trajectory_matching", "factorization"}
    told = {one.source for one in found.entries if one.method in names | {"difficulty_aligned_matching"}}
    assert [key for key in sorted(told) if "the largest of the test accuracies" not in found.sources[key]] == []


def test_terminal_and_csv_show_them_too() -> None:
    (table,) = rich_table([record(0.74)], published(OWN))
    assert [str(column.header) for column in table.columns][4:6] == ["paper %", "vs random"]
    assert '""accuracy"":73.5' in csv_table([record(0.74)], published(OWN))


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([OWN | {"source": "memory"}], "source 'memory' of good on digits at ipc 1 is not among the sources"),
        ([OWN, QUOTED], "the sources of good on digits at ipc 1 disagree; set conflict: true on each"),
        ([OWN | {"conflict": True}], "the sources of good on digits at ipc 1 agree; set conflict: false on each"),
        ([OWN | {"accuracy": 0.735e3}], "entries.0.accuracy: input should be less than or equal to 100"),
        ([OWN | {"setting": "fixd"}], "entries.0.setting: input should be 'random', 'fixed', 'pretrained' or 'attack'"),
        ([OWN | {"scored": "convnet"}], "entries.0: scored repeats network 'convnet'; leave it out"),
        ([OWN | {"remark": "x"}], "entries.0.remark: extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_filed_is_refused(tmp_path: Path, entries: list[dict[str, Any]], sentence: str) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(str({"sources": SOURCES, "entries": entries}))
    with pytest.raises(UserError) as refusal:
        load_published(path)
    assert str(refusal.value) == f"{path}: {sentence}"


def test_a_folder_without_figures_compares_nothing(tmp_path: Path) -> None:
    assert load_published(tmp_path / "published.yaml") == Published()


def test_the_shipped_figures_are_of_what_is_registered() -> None:
    discover()
    shipped = load_published(SHIPPED)
    assert len(shipped.entries) > 200

    for figure in shipped.entries:
        assert figure.method in METHODS or figure.method == "full_data"
        assert {name.partition("(")[0] for name in (figure.network, figure.scored) if name} <= {*NETWORKS}
        assert figure.protocol is None or figure.protocol in PROTOCOLS
    assert {figure.source for figure in shipped.entries} == set(shipped.sources)
