"""Membership inference: the audit, its scores against closed forms, planted members, and a tiny study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.generators import Generators
from ddbench.data import RealData, load_dataset, load_split
from ddbench.data.audit import Audit, Design
from ddbench.data.builtin import SIZES
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.studies.bench import Bench
from ddbench.studies.inference import area, likelihood_ratios, log_odds, true_positives
from ddbench.studies.membership import Membership
from ddbench.studies.study import Training
from factories import make_cell
from test_analyses import evaluator_on

TINY = Membership(splits=4, images=20, canaries=4)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddbench.stats.RESAMPLES", 50)


def bench_on(data: Any, networks: int = 1, **changes: Any) -> Bench:
    evaluator = evaluator_on(data)
    names = ("data", "transform", "protocol", "network", "device", "setting")
    fields = {name: getattr(evaluator, name) for name in names}
    cell = make_cell(networks=networks, network=evaluator.network, dataset_digest=data.digest)
    return Bench(cell, None, ImageEvaluator(**{**fields, **changes}))


# -- the audit ---------------------------------------------------------------------------------------------------------


def test_every_audited_image_is_in_half_of_the_splits_and_the_rest_in_all() -> None:
    data, design = load_dataset("digits"), Design(splits=6, images=50, canaries=10, seed=0)
    audit = Audit.of(data, design)
    assert audit.member.sum(0).tolist() == [3] * 60
    assert torch.bincount(data.train_labels[audit.positions[:50]]).tolist() == [5] * 10
    own = audit.labels == data.train_labels[audit.positions]
    assert torch.equal(own, ~audit.canary)
    assert len(set(audit.positions.tolist())) == 60
    part = load_split("digits", design.name(2))
    inside = audit.member[2]
    assert len(part.train_labels) == len(data.train_labels) - int((~inside).sum())
    there = {image.numpy().tobytes() for image in part.train_images}
    assert all(image.numpy().tobytes() in there for image in data.train_images[audit.positions[inside]])
    assert part.digest == f"{data.digest}+audited(2 of 6, images=50, canaries=10, seed=0)"
    changed = part.train_labels[-1438:].bincount() - data.train_labels.bincount()
    assert int(changed.sum()) == -int((~inside).sum())
    assert torch.equal(Audit.of(data, design).member, audit.member)
    assert not torch.equal(Audit.of(data, Design(6, 50, 10, 1)).positions, audit.positions)


@pytest.mark.parametrize(
    ("study", "complaint"),
    [
        (Membership(splits=5), "5 splits do not have each image in a half of them; set splits to 4, 6, 8"),
        (
            Membership(images=700),
            "750 audited images are more than half of the 1438 training images of digits",
        ),
        (Membership(images=1, canaries=4), "1 audited image is nothing to compare with; set images to 2 or more"),
    ],
)
def test_an_audit_that_does_not_fit_is_refused(study: Membership, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        study.check(load_dataset("digits"))
    with pytest.raises(UserError, match="no split 6 of 6; splits are 0 to 5"):
        load_split("digits", Design(6, 50, 10, 0).name(6))


# -- scores ------------------------------------------------------------------------------------------------------------


def test_log_odds_by_hand() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], dtype=torch.float64)
    found = log_odds(p.log() + 3, torch.tensor([0, 2]))
    assert found.tolist() == pytest.approx([np.log(0.7 / 0.3), 0.0])
    sure = torch.tensor([[200.0, 0.0, 0.0]])  # probabilities round to 1, and the odds stay finite
    assert float(log_odds(sure, torch.tensor([0]))) == pytest.approx(200 - np.log(2))


def drawn(shift: float, splits: int = 16, images: int = 400) -> tuple[Any, Any]:
    """Log-odds that are normal around a mean of each image, members shifted by so many deviations; and membership."""
    random = np.random.RandomState(0)
    member = random.rand(splits, images).argsort(0).argsort(0) < splits // 2
    return random.randn(splits, images) + 5 * random.randn(images) + shift * member, member


def test_members_shifted_by_three_deviations_are_found_as_theory_says() -> None:
    phi, member = drawn(3.0)
    scores = likelihood_ratios(phi, member)
    assert area(scores[member], scores[~member]) == pytest.approx(ndtr(3 / 2**0.5), abs=0.01)  # .983
    low = area(phi[member], phi[~member])
    assert low == pytest.approx(ndtr(3 / (2 * (1 + 25)) ** 0.5), abs=0.02)  # without knowing each image's own mean
    permuted = np.random.RandomState(1).permutation(member.flatten()).reshape(member.shape)
    assert area(scores[permuted], scores[~permuted]) == pytest.approx(0.5, abs=0.02)


def test_permuted_membership_tells_nothing() -> None:
    phi, member = drawn(0.0)
    scores = likelihood_ratios(phi, member)
    assert area(scores[member], scores[~member]) == pytest.approx(0.5, abs=0.02)
    assert true_positives(scores[member], scores[~member], 0.01) == pytest.approx(0.01, abs=0.01)


def test_a_ratio_by_hand() -> None:
    """Split 0 is attacked: 4 and 2 are within, and as many without, 0 and 2; medians are 3 and 1, residuals 1."""
    phi = np.array([[5.0], [4.0], [2.0], [0.0], [2.0], [9.0]])
    member = np.array([[True], [True], [True], [False], [False], [False]])
    assert likelihood_ratios(phi, member)[0, 0] == pytest.approx(((5 - 1) ** 2 - (5 - 3) ** 2) / 2)


def test_rates_and_areas_by_hand() -> None:
    members, others = np.array([3.0, 2.0, 1.0, 0.5]), np.array([2.5, 1.0, 0.0, -1.0])
    wins = (4 + (3 + 0) + (2 + 0.5) + 2) / 16
    assert area(members, others) == pytest.approx(wins)
    assert true_positives(members, others, 0.0) == 0.25  # above all others
    assert true_positives(members, others, 0.25) == 0.5  # one false positive; an equal score is above nothing
    assert true_positives(members, others, 0.99) == 1.0


# -- measured ----------------------------------------------------------------------------------------------------------


def test_planted_members_are_found_by_distance_and_starts_are_certain() -> None:
    """Artefacts that are the starts themselves, as `random_real` has them, and one audited member."""
    data = load_dataset("digits")
    bench, made = bench_on(data), list[DistilledDataset]()
    audit = Audit.of(data, TINY.design(0))
    for split, part in enumerate(TINY.parts(data, None, 0)):
        starts = bench.starts(part.split, 0)
        planted = data.train_images[audit.positions[:20][audit.member[split, :20]]]
        images = torch.cat([starts, bench.evaluator.transform(planted)])
        made.append(DistilledDataset.pixels(images, torch.zeros(len(images), dtype=torch.int64)))
    found = TINY.findings([TINY.measure(bench, made, 0)]).metrics
    assert found["auc_distance"].values == [1.0]
    assert found["tpr_1_distance"].values == [1.0]
    assert found["tpr_1_distance_starts"].values == [1.0]
    assert 0 <= found["accuracy"].mean <= 1
    assert found["auc_lira"].low is not None
    assert found["tpr_1_lira_canaries"].of == "seeds"


def test_starts_are_those_of_the_methods() -> None:
    data = load_dataset("digits")
    bench, name = bench_on(data), TINY.design(0).name(1)
    part = load_split("digits", name)
    generators = Generators(part.digest, str(bench.cell.network), bench.cell.ipc, 7)
    real = RealData(part, bench.evaluator.transform, "cpu")
    expected, _ = real.batch(bench.cell.ipc, generators.get("real_init"), of=range(10))
    assert torch.equal(bench.starts(name, 7), expected)


def test_networks_on_real_images_are_asked_without_distances() -> None:
    data = load_dataset("digits")
    bench = bench_on(data, protocol=Protocol("three-full@1", "test", steps=3, batch_size=20, kind="full_data"))
    found = TINY.measure(bench, [], 0)
    assert "distance" not in found
    assert len(found["phi"]) == 4 * 24
    measures = TINY.findings([found]).metrics
    assert "auc_distance" not in measures
    assert "tpr_1_distance_starts" not in measures
    both = TINY.findings([found, found])
    assert len(both.metrics["auc_lira"].values) == 2
    assert set(both.series["roc"].columns) == {"false_positives", "lira", "loss"}


def test_labels_of_a_regression_have_no_odds() -> None:
    targets = DistilledDataset.pixels(torch.rand(2, 1, 8, 8), torch.rand(2, 10), label_kind="targets")
    assert TINY.refusal([targets]) == "networks that regress numbers have no odds of a label"
    assert TINY.refusal([]) is None
    assert TINY.trainings(SIZES["digits"], make_cell(), None) == [Training(SIZES["digits"], count=4)]
