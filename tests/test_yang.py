"""Substitution, early training, curvature and influence: closed forms, hand-computed cases and planted effects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, jvp

from ddbench.analyses import agreement, curvature, influence, plain_training, references
from ddbench.analyses.curvature import Curvature, traces
from ddbench.analyses.early import Early, recognition
from ddbench.analyses.influence import Influence, alikeness, stored_labels
from ddbench.analyses.plain_training import shuffled
from ddbench.analyses.references import Origin, References
from ddbench.analyses.subject import Subject
from ddbench.analyses.substitution import Substitution, with_real, worth
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.data import load_dataset
from ddbench.decoders import Canvas, Hallucinators, LinearBases, MultiFormation
from ddbench.evaluation.protocols import Protocol
from ddbench.networks import InitialWeights, build_network
from ddbench.records.findings import Findings, Measure
from factories import toy
from test_analyses import NETWORK, evaluator_on, subject_on

LITTLE = (0, 5, 10, 20)
ANALYSES = (Substitution, Early, Curvature, Influence)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trajectories of twenty steps."""
    monkeypatch.setattr(references, "SNAPSHOTS", LITTLE)
    monkeypatch.setattr(references, "BATCH", 32)
    monkeypatch.setattr(agreement, "STEPS", LITTLE[-1])


def asked(analysis: Any, subject: Subject) -> Findings:
    """What an analysis finds; every measure is declared and in its range, and every share of progress is one."""
    shares = list[float]()
    found: Findings = analysis.analyse(subject.asked_by(type(analysis).name, shares.append))
    assert all(0 <= share <= 1 for share in shares)
    declared = {metric.name: metric for metric in analysis.measures}
    assert all(declared[name].allows(value) for name, measure in found.metrics.items() for value in measure.values)
    assert set(analysis.headline) <= set(declared)
    return found


def at_seed(subject: Subject, seed: int, ipc: int = 1) -> Subject:
    """The subject of a run with another seed."""
    known = References(subject.evaluator, Origin(subject.data.digest, str(NETWORK), ipc, seed))
    return replace(subject, references=known)


# -- plain training and references -------------------------------------------------------------------------------------


def test_plain_training_is_sgd_with_momentum_from_a_start_that_its_number_names() -> None:
    evaluator = evaluator_on(toy())
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 3

    def batches(generator: torch.Generator) -> plain_training.Batches:
        return shuffled(lambda epoch: (images, labels), generator)

    start, end = plain_training.descend(evaluator, 0, batches, "index", (0, 2))
    module = evaluator.module
    module.load_state_dict(start)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(module(images), labels).backward()
        optimizer.step()
    for name, weight in module.named_parameters():
        torch.testing.assert_close(end[name], weight.detach(), rtol=1e-4, atol=1e-6)
    (other,) = plain_training.descend(evaluator, 1, batches, "index", (0,))
    assert not torch.equal(other["classifier.weight"], start["classifier.weight"])


def test_images_left_out_change_nothing_of_the_order_of_the_others() -> None:
    numbers = torch.arange(300)

    def order(left_out: range) -> list[int]:
        drawn = shuffled(lambda epoch: (numbers, numbers), torch.Generator().manual_seed(0), left_out)
        return [int(number) for _ in range(2) for number in next(drawn)[1]]

    assert len(order(range(0))) == 300
    assert order(range(3, 5)) == [number for number in order(range(0)) if number not in (3, 4)]


def test_references_name_the_positions_of_random_images_and_of_others() -> None:
    known = subject_on(toy()).references
    base = known.random_positions()
    images, labels = known.real(base)
    artifact = known.random_images()
    assert torch.equal(artifact.parts["images"], images)
    assert torch.equal(artifact.parts["labels"], labels)
    classes = known.by_class(torch.Generator().manual_seed(0), without=base)
    assert sorted(torch.cat([*classes, base]).tolist()) == list(range(21))
    assert all(set(known.training_data.train_labels[own].tolist()) == {c} for c, own in enumerate(classes))


def test_networks_on_real_images_are_cached_by_images_start_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    known = subject_on(toy()).references
    found = [known.on_real(torch.tensor(chosen), n, 2) for chosen, n in (([0, 1], 0), ([0, 2], 0), ([0, 1], 1))]
    assert len({float(weights["classifier.weight"].abs().sum()) for weights in found}) == 3
    monkeypatch.setattr(References, "plain", None)
    again = known.on_real(torch.tensor([0, 1]), 0, 2)
    assert all(torch.equal(again[name], found[0][name]) for name in again)


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (lambda s: replace(s, references=References(s.evaluator, Origin("x", "y", 1, 0, "fixed"))), "setting fixed: "),
        (lambda s: replace(s, artifact=replace(s.artifact, recipe=Recipe(order=torch.tensor([[0]])))), "its recipe "),
        (lambda s: replace(s, artifact=regression()), "its labels are numbers of a regression, which real"),
    ],
)
@pytest.mark.parametrize("analysis", [Substitution, Influence])
def test_what_has_no_place_for_other_images_is_not_asked(
    analysis: Any, subject: Callable[[Subject], Subject], reason: str
) -> None:
    found = asked(analysis(), subject(subject_on(toy())))
    assert found.not_applicable is not None
    assert found.not_applicable.startswith(reason)


def regression() -> DistilledDataset:
    return DistilledDataset.pixels(torch.zeros(3, 3, 4, 4), torch.eye(3), label_kind="targets")


# -- substitution ------------------------------------------------------------------------------------------------------


def test_interference_advantage_and_worth_by_hand() -> None:
    ours = torch.tensor([[0.6, 0.5, 0.7], [0.5, 0.45, 0.75]], dtype=torch.float64)
    theirs = torch.tensor([[0.3, 0.4, 0.8], [0.2, 0.5, 0.7]], dtype=torch.float64)
    found = Substitution.found(ours, theirs, (0, 10, 50), ipc=10)
    values = {name: measure.values for name, measure in found.metrics.items()}
    assert values["interference"] == pytest.approx([0.1, 0.05])
    assert values["interference_at"] == [10]
    assert values["advantage_0"] == pytest.approx([0.3, 0.3])
    assert values["advantage_10"] == pytest.approx([0.1, -0.05])
    assert values["advantage_50"] == pytest.approx([-0.1, 0.05])
    assert values["worth"] == pytest.approx([20 * 3**0.5, 20.0])  # halfway from 20 to 60 in the logarithm; at 20
    assert values["worth_censored"] == [0.0]
    assert found.series["accuracy"].columns["random"] == pytest.approx([0.25, 0.45, 0.75])
    assert list(Substitution.figure.points(found)) == [0, 10, 50]


def test_worth_beyond_what_was_tried_is_its_end() -> None:
    assert worth(0.1, [10, 20, 60], [0.3, 0.5, 0.4]) == (10, True)
    assert worth(0.6, [10, 20, 60], [0.3, 0.5, 0.4]) == (60, True)
    assert worth(0.45, [10, 20, 60], [0.3, 0.5, 0.4])[0] == pytest.approx(10 * 2**0.75)


def test_real_images_beside_soft_labels_have_soft_ones() -> None:
    images = torch.zeros(2, 1, 2, 2)
    real = torch.ones(1, 1, 2, 2), torch.tensor([2])
    draw, kind = with_real(lambda epoch: (images, torch.zeros(2, 4)), "logits", real, 4)
    assert kind == "probabilities"
    assert draw(0)[0].mean((1, 2, 3)).tolist() == [0, 0, 1]
    assert draw(0)[1].tolist() == [[0.25] * 4, [0.25] * 4, [0, 0, 1, 0]]


def test_the_very_images_of_the_comparison_have_no_advantage() -> None:
    analysis = Substitution(starts=2, steps=2)
    found = asked(analysis, subject_on(load_dataset("digits")))
    assert set(found.metrics) == {m.name for m in analysis.measures} - {"advantage_250"}  # digits has too few
    assert [found.metrics[f"advantage_{n}"].values for n in (0, 10, 50)] == [[0.0, 0.0]] * 3


def test_random_images_neither_interfere_nor_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddbench.analyses.substitution.REAL", (0, 10))
    subject, analysis = subject_on(load_dataset("digits")), Substitution(starts=1, steps=12)
    advantages = list[float]()
    for seed in range(1, 5):
        found = asked(analysis, at_seed(subject, seed))
        assert found.metrics["interference"].values == [0.0]
        advantages.append(found.metrics["advantage_0"].mean)
    spread = Measure.over(advantages, "seeds")
    assert spread.low is not None
    assert spread.high is not None
    assert spread.low <= 0 <= spread.high


def test_classes_without_further_images_are_said() -> None:
    found = asked(Substitution(), subject_on(toy()))
    assert found.not_applicable == "a class has fewer than 10 real images that could be added"


# -- early training ----------------------------------------------------------------------------------------------------


def test_agreement_beyond_chance_by_hand() -> None:
    truth = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    own = torch.tensor([0, 1, 2, 0, 1, 2, 1, 2])  # 6 of 8 right
    other = torch.tensor([0, 1, 2, 0, 2, 1, 1, 2])  # 4 of 8 right; 6 of 8 answers are equal
    chance = 0.75 * 0.5 + 0.25 * 0.5 / 2
    found = agreement.corrected(own, torch.stack([other, own, truth]), truth, 3)
    assert found.tolist() == pytest.approx([(0.75 - chance) / (1 - chance), 1.0, (0.75 - 0.75) / 0.25])
    assert agreement.corrected(truth, truth[None], truth, 3).tolist() == [0.0]


def test_independent_networks_do_not_agree_beyond_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(10, (40_000,), generator=generator)

    def answers(accuracy: float) -> Tensor:
        wrong = (truth + torch.randint(1, 10, truth.shape, generator=generator)) % 10
        return torch.where(torch.rand(truth.shape, generator=generator) < accuracy, truth, wrong)

    found = agreement.corrected(answers(0.6), torch.stack([answers(a) for a in (0.2, 0.6, 0.9)]), truth, 10)
    assert float(found.abs().max()) < 0.02


def test_networks_of_equal_accuracy_are_matched_the_nearest_first() -> None:
    truth = torch.zeros(10, dtype=torch.int64)
    others = torch.stack([(torch.arange(10) >= right).long() for right in (5, 7, 8, 9)])
    own = (torch.arange(10) < 3).long()  # 7 right
    assert [int((found == 0).sum()) for found in agreement.matched(own, others, truth, 0.1)] == [7, 8]
    assert len(agreement.matched(own, others[:1], truth, 0.1)) == 0


def test_weights_between_snapshots_reach_every_accuracy() -> None:
    truth = torch.zeros(100, dtype=torch.int64)

    def answer(weights: dict[str, Tensor]) -> Tensor:
        return (torch.arange(100) >= weights["right"]).long()

    ends = {"right": torch.tensor(0.0)}, {"right": torch.tensor(16.0)}
    found = agreement.between(answer, truth, ends, [answer(end) for end in ends], margin=0.01)
    assert [int((answers == 0).sum()) for answers in found] == [2, 4, 6, 8, 10, 12, 14]


def test_recognition_of_three_trajectories_by_hand(briefly: None) -> None:
    found = recognition([[0.1, 0.5, 0.9, 1.0], [0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.95]])
    assert found["recognised_at"].values == [10, 20, 0]
    assert found["unrecognised"].values == [pytest.approx(1 / 3)]
    assert found["recognised"].values == [1.0, 0.4, 0.95]


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_early_networks_agree_with_early_ones_and_subset_networks_with_those(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap is positive for a network stopped early that is none of the reference's, and negative for a subset's."""
    monkeypatch.setattr(references, "SNAPSHOTS", (0, 20, 40))
    monkeypatch.setattr(references, "BATCH", 128)
    monkeypatch.setattr(agreement, "STEPS", 120)
    subject = subject_on(load_dataset("digits"), networks=1).asked_by("early@1", lambda share: None)
    early, subsets = [agreement.stopped_early(subject, 0, 0.02)], agreement.on_subsets(subject, 1)
    truth = subject.data.test_labels
    assert len(early[0]) > 3

    def gap(weights: Any) -> float:
        known = replace(subject, known={0: weights})
        ((near, far),) = Early(margin=0.1)._pairs(known, early, subsets)
        return near - far

    accuracy = float((subsets[0] == truth).double().mean())
    stopped = subject.references.trajectory(7)[40]
    assert subject.test_accuracy(stopped) == pytest.approx(accuracy, abs=0.1)
    chosen = torch.cat([own[:10] for own in subject.references.by_class(torch.Generator().manual_seed(9))])
    assert gap(stopped) > 0 > gap(subject.references.on_real(chosen, 77, 120))


@pytest.mark.usefixtures("briefly")
def test_early_on_digits() -> None:
    found = asked(Early(trajectories=2, subsets=1, margin=1.0), subject_on(load_dataset("digits"), networks=1))
    assert set(found.metrics) == {metric.name for metric in Early.measures}
    gap, early, subset = (found.metrics[f"agreement_{name}"].mean for name in ("gap", "early", "subset"))
    assert gap == pytest.approx(early - subset)
    assert found.series["recognition"].columns["step"] == list(Early.figure.points(found)) == list(LITTLE)
    assert "left_out" not in found.series


@pytest.mark.usefixtures("briefly")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: replace(s, references=References(s.evaluator, replace(s.references.origin, setting="fixed"))),
         "setting fixed: its networks do not start from fresh weights"),
        (lambda s: replace(s, evaluator=s.evaluator.under(NETWORK, Protocol("all@1", "", steps=1, kind="full_data"))),
         "protocol all@1 trains no network on the artefact"),
        (lambda s: s, "no network of both kinds has an accuracy within 1e-07 points of a distilled one"),
    ],
)  # fmt: skip
def test_agreement_that_makes_no_sense_is_left_out(
    change: Callable[[Subject], Subject], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "STEPS", 1)
    monkeypatch.setattr("ddbench.analyses.early.WIDTHS", ())
    subject = change(subject_on(toy(), regression(), networks=1))
    if "within" in reason:
        monkeypatch.setattr("ddbench.analyses.early.matched", lambda own, others, truth, margin: others[:0])
    found = asked(Early(trajectories=1, subsets=1, margin=1e-9), subject)
    assert found.series["left_out"].columns == {"measure": ["agreement_gap"], "why": [reason]}
    assert set(found.metrics) == {"recognised_at", "unrecognised", "recognised"}


# -- curvature ---------------------------------------------------------------------------------------------------------


def test_the_trace_of_softmax_regression_has_a_closed_form() -> None:
    """The Hessian of weights and biases has the trace mean_i sum_k p_k (1 - p_k) (|x|^2 + 1), whatever the labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    labels = torch.rand(7, 3, generator=generator, dtype=torch.float64).softmax(1)
    weights = {"w": torch.randn(3, 5, generator=generator, dtype=torch.float64), "b": torch.randn(3).double()}

    def loss(own: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(x @ own["w"].T + own["b"], y)

    chances = (images @ weights["w"].T + weights["b"]).softmax(1)
    closed = ((chances * (1 - chances)).sum(1) * (images.square().sum(1) + 1)).mean()
    basis = torch.eye(18, dtype=torch.float64)
    found = traces(loss, weights, (images, labels), basis, chunk=3)  # an unequal last chunk
    assert float(found.sum()) == pytest.approx(float(closed))
    signs = 2.0 * torch.randint(2, (500, 18), generator=generator).double() - 1
    estimates = traces(loss, weights, (images, labels), signs, chunk=7)
    assert float(estimates.mean()) == pytest.approx(float(closed), abs=4 * float(estimates.std()) / 500**0.5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which forward mode calls
def test_products_are_those_of_forward_over_reverse_mode() -> None:
    module = build_network("convnet", (1, 8, 8), 4, {"depth": 2, "width": 4})
    generator = torch.Generator().manual_seed(1)
    weights = InitialWeights(module)(generator)
    images, labels = torch.randn(6, 1, 8, 8, generator=generator), torch.arange(6) % 4

    def loss(own: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(module, own, (x,)), y)

    size = sum(weight.numel() for weight in weights.values())
    vectors = 2.0 * torch.randint(2, (2, size), generator=generator) - 1
    found = traces(loss, weights, (images, labels), vectors, chunk=6)
    for vector, ours in zip(vectors, found.tolist(), strict=True):
        direction = references.unflatten(vector, weights)
        _, turned = jvp(lambda own: grad(loss)(own, images, labels), (weights,), (direction,))
        theirs = sum(float((turned[name] * direction[name]).sum()) for name in turned)
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_batched_products_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = {"a": torch.tensor([1.0, 2.0], requires_grad=True), "b": torch.tensor([[3.0]], requires_grad=True)}
    value = leaves["a"].prod() * leaves["b"].sum() ** 2
    slope = torch.autograd.grad(value, list(leaves.values()), create_graph=True)
    vectors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, -1.0, 1.0]])
    expected = torch.tensor([[0.0, 9.0, 12.0], [12.0, 6.0, 4.0], [3.0, 15.0, 10.0]])
    assert torch.equal(curvature.one_by_one(slope, leaves, vectors), expected)
    assert torch.equal(curvature.together(slope, leaves, vectors), expected)


def test_peaks_and_ratios_by_hand() -> None:
    ours = torch.tensor([[[1.0, 3.0], [4.0, 8.0], [1.0, 1.0]]])  # one trajectory, three steps, two vectors
    theirs = torch.tensor([[[1.0, 1.0], [1.0, 1.0], [3.0, 5.0]]])
    values = {name: measure.values[0] for name, measure in curvature.found(ours, theirs, (0, 5, 10)).metrics.items()}
    error = math.sqrt(8) / math.sqrt(2) / 6
    expected = {"peak": 6, "peak_at": 5, "peak_real": 4, "peak_real_at": 10, "end_ratio": 0.25, "probe_error": error}
    assert values == pytest.approx(expected)
    assert "end_ratio" not in curvature.found(ours, -theirs, (0, 5, 10)).metrics


@pytest.mark.usefixtures("briefly")
def test_curvature_of_the_real_images_themselves() -> None:
    """Both traces are equal for images that are the real ones, since both meet the same vectors."""
    subject = subject_on(toy(), networks=1)
    chosen = [own[:2] for own in subject.asked_by("curvature@1", print).references.by_class(
        subject.asked_by("curvature@1", print).generator("real"))]  # fmt: skip
    artifact = DistilledDataset.pixels(*subject.references.real(torch.cat(chosen)))
    found = asked(Curvature(trajectories=2, vectors=3, real=2), replace(subject, artifact=artifact))
    assert set(found.metrics) == {metric.name for metric in Curvature.measures}
    assert found.metrics["peak"] == found.metrics["peak_real"]
    assert found.metrics["end_ratio"].values == pytest.approx([1.0, 1.0])
    assert max(Curvature.figure.points(found).values()) <= found.metrics["peak"].mean * (1 + 1e-9)
    assert asked(Curvature(), replace(subject, artifact=regression())).not_applicable is not None


# -- influence ---------------------------------------------------------------------------------------------------------


def test_rank_correlation_by_hand() -> None:
    tied = alikeness(torch.tensor([3.0, 1.0, 3.0, 2.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert tied == pytest.approx(-1 / 22.5**0.5)  # deviations 1, -1.5, 1, -.5 and -1.5, -.5, .5, 1.5
    assert alikeness(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 30.0, 20.0])) == pytest.approx(0.5)
    assert alikeness(torch.tensor([1.0, 2.0]), torch.tensor([5.0, 5.0])) == 0.0


def test_what_helps_whom_by_hand() -> None:
    truth = torch.tensor([0] * 9 + [1] * 9)
    steady = torch.cat([torch.linspace(1, 2, 9), torch.linspace(0, 0.5, 9)])
    erratic = torch.cat([torch.linspace(0, 0.5, 9), torch.linspace(2, 1, 9)])
    changes = torch.stack([torch.stack([steady, erratic]), torch.stack([steady, erratic.flip(0)])])
    found = influence.found(changes, torch.tensor([4, 7]), torch.tensor([0, 0]), truth, 2)
    assert found.metrics["own_class"].values[0] == 1.0
    assert found.metrics["reliability"].values[0] == pytest.approx(1.0)
    assert found.metrics["reliability"].values[1] < 0.3
    assert found.metrics["reliable"].values == [0.5]
    assert found.metrics["chance"].values == [0.5]
    columns = found.series["helped"].columns
    assert (columns["image"], columns["label"], columns["helped_1"]) == ([4.0], [0.0], [8.0])
    assert not influence.found(changes[:, 1:], torch.tensor([7]), torch.tensor([0]), truth, 2).series


def test_one_of_two_duplicates_has_about_no_influence() -> None:
    subject = subject_on(load_dataset("digits"))
    classes = subject.references.by_class(torch.Generator().manual_seed(0))
    chosen = torch.cat([own[:2] for own in classes])
    chosen[1] = chosen[0]
    subject = replace(subject, artifact=DistilledDataset.pixels(*subject.references.real(chosen)))
    analysis = Influence(starts=2, steps=60)
    changes = analysis._changes(subject.asked_by("influence@1", lambda share: None), torch.tensor([0, 2, 6, 8]), 0)
    sizes = changes.abs().mean(1)
    assert float(sizes[0]) < 0.5 * float(sizes[1:].mean())


def test_influence_on_digits() -> None:
    subject = subject_on(load_dataset("digits"))
    subject = replace(subject, artifact=at_seed(subject, 0, ipc=2).references.random_images())
    found = asked(Influence(images=3, steps=5), subject)
    assert set(found.metrics) == {metric.name for metric in Influence.measures}
    assert len(found.metrics["reliability"].values) == 3
    single = asked(Influence(), subject_on(load_dataset("digits")))
    assert single.not_applicable == "every class has one stored image, and leaving it out removes the class"


@pytest.mark.parametrize(
    "decoder", [MultiFormation(), Canvas(), LinearBases(bases=2), Hallucinators(count=2, channels=1)]
)
def test_images_of_every_decoder_stand_by_their_stored_one(decoder: Any) -> None:
    """Changing one stored image changes what is made of it, and nothing else."""
    generator = torch.Generator().manual_seed(0)

    def draw(n: int) -> Tensor:
        return torch.randn(2 * n, 1, 8, 8, generator=generator)

    artifact = DistilledDataset(decoder.start(draw, (1, 8, 8), 2, 8, generator), decoder)
    labels = stored_labels(artifact)
    assert labels is not None
    part = next(
        name
        for name in ("tiles", "canvases", "coefficients", "bases")
        if len(artifact.parts.get(name, [])) == len(labels)
    )
    changed = {**artifact.parts, part: artifact.parts[part].clone()}
    changed[part][1] += 1
    one, other = (DistilledDataset(parts, decoder).decode(0, torch.Generator().manual_seed(0))[0]
                  for parts in (artifact.parts, changed))  # fmt: skip
    each = len(one) // len(labels)
    differ = (one != other).flatten(1).any(1)
    assert differ.nonzero().flatten().tolist() == list(range(each, 2 * each))


def test_images_that_belong_to_no_stored_one_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influence, "stored_labels", lambda artifact: None)
    found = asked(Influence(), subject_on(toy()))
    assert found.not_applicable == "the images that decoder pixels makes belong to no stored one"


def test_a_bootstrap_interval_covers_the_mean() -> None:
    measure = Measure.resampled([0.0, 1.0] * 50, "images")
    assert measure.low is not None
    assert measure.high is not None
    assert (measure.low, measure.high) == pytest.approx((0.4, 0.6), abs=0.03)
    assert Measure.resampled([0.5], "images").low is None
