"""Architecture search: ranks and regrets by hand, the truth measured once and filed, baselines, and a tiny study."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import load_dataset
from ddbench.data.builtin import SIZES
from ddbench.errors import UserError
from ddbench.leaderboard.studies import study_tables
from ddbench.networks import build_network, parameter_count
from ddbench.records.study_files import check_study, study_paths, write_study
from ddbench.registry import discover
from ddbench.studies import truth
from ddbench.studies.bench import Bench
from ddbench.studies.board import make_study_board
from ddbench.studies.measuring import Measurement
from ddbench.studies.ranking import regret, tau, tau_interval
from ddbench.studies.rows import resolve_rows
from ddbench.studies.search import Search
from ddbench.studies.space import ALL, architectures
from ddbench.studies.study import make_study
from ddbench.studies.truth import filed_truth, timed_accuracy, truth_protocol
from ddbench.task.hyperparameters import settings_of
from factories import make_cell, make_study_row, toy
from test_membership import bench_on
from test_studies import in_process

TINY = Search(architectures=4, truth_epochs=1)
WORTH = [0.9, 0.8, 0.7, 0.5, 0.1]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    discover()
    monkeypatch.setattr("ddbench.stats.RESAMPLES", 50)
    monkeypatch.setattr(truth, "SHIPPED", tmp_path / "configs")


# -- ranks and regrets -------------------------------------------------------------------------------------------------


def test_five_architectures_by_hand() -> None:
    """The proxy has two of ten pairs in the wrong order: 0.9 and 0.8, and 0.9 and 0.7."""
    proxy = [0.3, 0.6, 0.4, 0.2, 0.1]
    assert tau(proxy, WORTH) == pytest.approx((8 - 2) / 10)
    assert regret(proxy, WORTH, 1) == pytest.approx(0.1)
    assert regret(proxy, WORTH, 2) == pytest.approx(0.1)
    assert regret(proxy, WORTH, 3) == 0.0


def test_a_proxy_that_is_the_truth_has_no_regret() -> None:
    assert tau(WORTH, WORTH) == pytest.approx(1)
    assert [regret(WORTH, WORTH, count) for count in (1, 5, 9)] == [0, 0, 0]
    low, high = tau_interval([WORTH, WORTH], WORTH)
    assert (low, high) == (pytest.approx(1), pytest.approx(1))
    assert tau([1 - worth for worth in WORTH], WORTH) == pytest.approx(-1)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("proxy", [[0.0] * 5, [1.0, 0.0, 0.0, 0.0, 2.0]])
def test_the_regret_of_ties_is_its_mean_over_all_orders(proxy: list[float], count: int) -> None:
    lacking = list[float]()
    for order in itertools.permutations(range(5)):
        first = sorted(order, key=lambda place: -proxy[place])[:count]  # stable: ties stay in the order given
        lacking.append(max(WORTH) - max(WORTH[place] for place in first))
    assert regret(proxy, WORTH, count) == pytest.approx(np.mean(lacking))


def test_a_proxy_that_orders_nothing_has_a_tau_of_0() -> None:
    assert tau([0.5] * 5, WORTH) == 0.0
    assert tau_interval([[0.5] * 5], WORTH) == (0.0, 0.0)


def test_the_space_has_each_of_108_once_and_parts_of_it_are_spread() -> None:
    assert len({str(network) for network in architectures(108)}) == len(ALL) == 108
    few = architectures(5)
    assert [network.parameters["depth"] for network in few] == [1, 1, 2, 2, 3]
    for network in few:
        build_network(network.name, (1, 8, 8), 10, network.parameters)


# -- carried out -------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # some dozen trainings
def test_a_tiny_search_leaves_a_row_of_each_method_and_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    monkeypatch.setattr("ddbench.studies.conduct.run_jobs", in_process)
    asked: dict[str, Any] = {
        "dataset": "digits", "methods": ["class_mean"], "seconds": 1, "seeds": 2, "network": "convnet,depth=1,width=8",
        "protocol": "short-3@1", "settings": settings_of(TINY), "compile": False,
    }  # fmt: skip
    records = ddbench.study("search", asked, tmp_path / "out", device="cpu")
    assert [record.label for record in records] == [
        "class_mean", "random_real", "early_stopping:random_real", "parameter_count:full_data", "random_pick:full_data",
        "full_data",
    ]  # fmt: skip
    assert [len(record.runs) for record in records] == [2, 2, 0, 0, 0, 0]
    assert [len(record.findings.metrics["tau"].values) for record in records] == [
        1,
        2,
        2,
        1,
        1,
        1,
    ]  # once, where seeds agree
    assert [check_study(path)[1] for path in study_paths(tmp_path / "out")] == [[]] * 6
    worth = records[0].findings.series["architectures"].columns["truth"]
    assert records[3].findings.series["architectures"].columns["truth"] == worth
    (table,) = study_tables(records)
    assert len(table.lines()) == 6


# -- measured ----------------------------------------------------------------------------------------------------------


def of(*names: str, **changes: Any) -> Any:
    """A bench of few images, for a row of this variant."""
    data = load_dataset("digits")
    few = replace(
        data, train_images=data.train_images[:200], train_labels=data.train_labels[:200],
        test_images=data.test_images[:50], test_labels=data.test_labels[:50],
    )  # fmt: skip
    return replace(bench_on(few, **changes), variant=names[0] if names else None)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> truth.Truth:
    """A truth that nobody needs to measure."""
    found = truth.Truth([0.1, 0.2, 0.3, 0.4], [0.3, 0.2, 0.5, 0.8], [1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr("ddbench.studies.search.truth_of", lambda *given: found)
    return found


def test_the_truth_is_measured_once_for_all_rows_and_goes_on_where_it_was_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(bench: Bench, number: int) -> list[float]:
        assert bench.evaluator.protocol == truth_protocol(1)
        return [TINY.candidates.index(bench.evaluator.network) / 10 + number / 2, 1.0 + number]

    monkeypatch.setattr(truth, "timed_accuracy", measured)
    files, made = dict[str, list[float]](), list[str]()

    def shared(name: str, make: Any) -> list[float]:
        if name not in files:
            made.append(name)
            if len(made) == 3:
                raise KeyboardInterrupt
            files[name] = make()
        return files[name]

    bench = replace(of(), shared=shared)
    said = bench, TINY.name, settings_of(TINY), TINY.candidates
    with pytest.raises(KeyboardInterrupt):
        truth.truth_of(*said)
    found = truth.truth_of(*said)
    assert len(made) == 2 * 4 + 1
    assert truth.truth_of(*said) == found
    assert len(made) == 2 * 4 + 1
    assert (found.first, found.second, found.seconds) == ([0.0, 0.1, 0.2, 0.3], [0.5, 0.6, 0.7, 0.8], [1.0] * 4)
    assert found.mean == pytest.approx([0.25, 0.35, 0.45, 0.55])


def test_pieces_of_a_measurement_are_kept_in_files_with_their_seconds(tmp_path: Path) -> None:
    before, made = list[float](), list[str]()
    measurement = Measurement(TINY, Mock(), {}, torch.device("cpu"), tmp_path)

    def make() -> list[float]:
        made.append("made")
        return [0.25, 1.0]

    keep = measurement._keep(["digits"], before)
    assert (keep("one", make), before) == ([0.25, 1.0], [])
    assert keep("one", make) == [0.25, 1.0]
    assert (len(made), len(before)) == (1, 1)  # what was spent on it before counts
    assert before[0] >= 0
    measurement._keep(["mnist"], before)("one", make)
    keep("two", make)
    assert len(made) == len(list(tmp_path.iterdir())) == 3


def test_an_architecture_is_worth_what_it_reaches_on_all_training_images() -> None:
    bench = of().under(TINY.candidates[0], truth_protocol(2))
    accuracy, seconds = timed_accuracy(bench, 1)
    weights = bench.evaluator.train(bench.unread, 1)
    answers = bench.logits(weights, bench.data.test_images).argmax(1)
    assert accuracy == pytest.approx(float((answers == bench.data.test_labels).double().mean()))
    assert seconds > 0


def test_a_proxy_is_the_accuracy_of_a_network_on_the_artefact(known: truth.Truth) -> None:
    bench = of(networks=2)
    artifact = DistilledDataset.pixels(bench.evaluator.transform(bench.data.train_images[:20]),
                                       bench.data.train_labels[:20])  # fmt: skip
    found = TINY.measure(bench, [artifact], 0)
    own = bench.under(TINY.candidates[2])
    assert found["proxy"][2] == pytest.approx(sum(own.accuracy(artifact, number) for number in (0, 1)) / 2)
    assert found["truth"] == known.mean
    assert found["parameters"] == [
        parameter_count(build_network("convnet", (1, 8, 8), 10, network.parameters)) for network in TINY.candidates
    ]
    findings = TINY.findings([found, {**found, "proxy": known.mean}])
    assert findings.metrics["tau"].values == [tau(found["proxy"], known.mean), pytest.approx(1)]
    assert findings.metrics["regret_1"].values[1] == 0.0
    assert findings.metrics["training_seconds"].values == [sum(found["seconds"])] * 2
    assert len(findings.series["architectures"].columns["architecture"]) == 4


def test_baselines_need_no_artefact(known: truth.Truth) -> None:
    assert TINY.parts(load_dataset("digits"), "early_stopping", 0) == []
    (part,) = TINY.parts(load_dataset("digits"), None, 0)
    assert (part.split, part.share) == ("test", 1.0)
    sizes = TINY.measure(of("parameter_count"), [], 0)
    assert sizes["proxy"] == sizes["parameters"]
    picked = TINY.findings([TINY.measure(of("random_pick"), [], seed) for seed in range(3)])
    assert picked.metrics["tau"].values == [0.0]  # once: it is the same at every seed
    assert picked.metrics["regret_1"].mean == pytest.approx(max(known.mean) - sum(known.mean) / 4)
    full = TINY.measure(of(protocol=truth_protocol(1)), [], 0)
    assert (full["proxy"], full["truth"], full["seconds"]) == (known.first, known.second, known.seconds)


def test_early_stopping_takes_the_seconds_of_the_proxy_and_its_share_of_distilling(
    known: truth.Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps take 0.1 s; of 0.08 s of distilling, a quarter is two steps more than the protocol's three."""
    bench, ticks, asked = of("early_stopping", networks=2), itertools.count(), list[Bench]()

    def timed(own: Bench, number: int) -> list[float]:
        asked.append(own)
        return [own.accuracy(own.unread, number), 1.0]

    monkeypatch.setattr("ddbench.studies.search.clock_for", lambda device: Mock(settle=lambda: next(ticks) / 10))
    monkeypatch.setattr("ddbench.studies.search.timed_accuracy", timed)
    budget = bench.cell.budget.model_copy(update={"seconds": 0.0801})
    found = TINY.measure(replace(bench, cell=bench.cell.model_copy(update={"budget": budget})), [], 0)
    assert [own.evaluator.protocol.steps for own in asked] == [2 * 3 + 2] * 4
    assert {(own.on_real, own.evaluator.protocol.batch_size) for own in asked} == {(True, 5)}
    assert found["seconds"] == [1.0] * 4
    assert all(0 <= accuracy <= 1 for accuracy in found["proxy"])


def test_a_filed_truth_is_read_and_a_damaged_one_is_named(tmp_path: Path, known: truth.Truth) -> None:
    found = TINY.findings([TINY.measure(of(protocol=truth_protocol(1)), [], 0)])
    row = make_study_row("full_data", study="search@1", settings=settings_of(TINY), findings=found, runs=[])
    path = tmp_path / "leaderboards" / "studies" / "search@1" / row.name
    write_study(path, row)
    said = row.cell.dataset_digest, row.cell.preprocessing
    assert filed_truth("search@1", settings_of(TINY), *said) == known
    assert filed_truth("search@1", settings_of(Search()), *said) is None
    assert filed_truth("search@1", settings_of(TINY), "sha256:" + "e" * 64, said[1]) is None
    filed = TINY.trainings(SIZES["digits"], row.cell, None)
    other = TINY.trainings(SIZES["digits"], row.cell.model_copy(update={"dataset_digest": "sha256:0"}), None)
    assert [training.shared for training in filed] == []
    assert [(training.shared, training.count) for training in other] == [(True, 8)]
    path.write_text(path.read_text().replace('"proxy"', '"proxi"'))
    with pytest.raises(UserError, match="was edited after it was written"):
        filed_truth("search@1", settings_of(TINY), *said)


def test_a_baseline_is_of_no_other_method() -> None:
    asked = {"study": "search", "methods": ["early_stopping:dm"], "seconds": 1.0}
    with pytest.raises(UserError, match="has this variant of one method alone; write early_stopping:random_real"):
        resolve_rows(make_study_board(asked), "cpu")


def test_a_forecast_has_the_truth_once_and_the_architectures_of_each_row() -> None:
    cell, full = make_cell(), make_cell("full_data")
    assert [training.count for training in TINY.trainings(SIZES["digits"], cell, None)] == [4, 8]
    assert [training.count for training in TINY.trainings(SIZES["digits"], cell, "early_stopping")] == [4, 8]
    assert [training.count for training in TINY.trainings(SIZES["digits"], full, "random_pick")] == [8]
    assert TINY.trainings(SIZES["digits"], full, None) == TINY.trainings(SIZES["digits"], full, "random_pick")
    (_, truth_of_all) = TINY.trainings(SIZES["digits"], cell, None)
    assert truth_of_all.shared


def test_images_below_the_deepest_architecture_are_refused() -> None:
    with pytest.raises(UserError, match=r"images of toy have 4 pixels a side, .* takes 8 or more"):
        Search().check(toy())
    with pytest.raises(UserError, match="architectures=109 of search@1: input should be less than or equal to 108"):
        make_study("search", {"architectures": 109})
    assert make_study("search").refusal([]) is None
