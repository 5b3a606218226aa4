"""One artefact scored in several ways: what a board may ask, what a run keeps, and that no method sees more."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.board import make_board
from ddbench.boards.jobs import Job, resolve
from ddbench.data import Preprocessing, RealData, load_dataset
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.selection import select
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.io.atomic import read_sealed
from ddbench.records.cell import NetworkSpec, Scoring, run_key
from ddbench.records.schema import FurtherScore
from ddbench.registry import METHODS, PROTOCOLS
from ddbench.runs.record import failed_record
from ddbench.task import pretrained as pools
from factories import run, run_here
from tasks import setting_of

CPU = torch.device("cpu")
CONVNET = "convnet,depth=1,width=8"
SECRET = 0.25
FILE = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from ddbench import DistilledDataset, State, register_method

SEEN = []

@register_method("walk")
@dataclass(frozen=True)
class Walk:
    family: ClassVar[str] = "test"
    paper: ClassVar[str] = "none"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained")
    tiny: ClassVar[dict[str, object]] = {}
    iterations: int = 8

    def distill(self, task, meter):
        images, labels = task.real_init()
        state = State(images=images)
        def result():
            return DistilledDataset.pixels(state.images, labels, initial=task.fixed_initial)
        for step in meter.steps(self.iterations, state, result):
            state.images += 0.3 * torch.randn(images.shape, generator=task.generator("noise"))
        SEEN.append(task.real.take(range(len(task.real))))
        return result()
"""


@pytest.fixture
def walk(tmp_path: Path, methods: Any, register: Callable[..., None]) -> str:
    """The file of a method whose images get worse at every step; two short protocols are known, too."""
    for protocol in (
        Protocol("short-6@1", "test", steps=6, short=3, batch_size=5, lr=0.2),
        Protocol("other-4@1", "test", steps=4, batch_size=10, lr=0.1),
        Protocol("stored-4@1", "test", steps=4, batch_size=10, lr=0.1, honours=("initial",)),
    ):
        register(PROTOCOLS, protocol.name, protocol)
    path = tmp_path / "walk.py"
    path.write_text(FILE)
    return str(path)


def job_of(method: str, **values: Any) -> Job:
    entry = {"methods": [method], **values.pop("entry", {})}
    content = {
        "board": "b",
        "datasets": "digits",
        "ipc": 1,
        "network": CONVNET,
        "protocol": "short-6@1",
        "networks": 2,
        "entries": [entry],
    }
    (job,) = resolve(make_board({**content, **values}), "cpu")
    return job


ALSO = [{"network": "mlp"}, {"protocol": "other-4@1", "networks": 1}, {"network": "mlp", "protocol": "other-4@1"}]


# -- what a board may ask -------------------------------------------------------------------------------------------


def test_what_a_way_leaves_out_is_the_cells(walk: str) -> None:
    convnet, mlp = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8}), NetworkSpec(name="mlp")
    assert job_of(walk, also=ALSO).cell.also == [
        Scoring(network=mlp, protocol="short-6@1", networks=2),
        Scoring(network=convnet, protocol="other-4@1", networks=1),
        Scoring(network=mlp, protocol="other-4@1", networks=2),
    ]


def test_an_entry_may_ask_for_other_ways_or_for_none(walk: str) -> None:
    (scoring,) = job_of(walk, also=ALSO, entry={"also": [{"network": {"name": "mlp"}}]}).cell.also or []
    assert scoring.network.name == "mlp"
    assert job_of(walk, also=ALSO, entry={"also": []}).cell.also is None


def test_further_ways_count_in_the_key_only_where_they_are_used(walk: str) -> None:
    plain = job_of(walk)
    content = plain.cell.model_dump(mode="json")
    assert not {"also", "peek", "pool", "attack", "modality"} & content.keys()
    assert run_key(plain.cell.model_validate(content), 0, plain.method_source) == plain.key
    keys = {plain.key, job_of(walk, also=ALSO).key, job_of(walk, also=ALSO[:1]).key, job_of(walk, peek=0.1).key}
    assert len({*keys, job_of(walk, peek=0.2).key}) == 5
    assert job_of(walk, also=[], entry={"also": []}).key == plain.key


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"also": [{"network": "mpl"}]}, "also.0: unknown network 'mpl'; did you mean 'mlp'"),
        ({"also": [{"network": "mlp,width=x"}]}, "also.0: width of network 'mlp' is 'x'; it must be of type int"),
        ({"also": [{"network": "mlp"}, {"protocol": "other-4"}]}, "also.1: unknown protocol 'other-4'; did you mean"),
        ({"also": [{}]}, "also.0: convnet(depth=1, width=8) under short-6@1 is the headline; name another"),
        ({"also": [{"network": CONVNET, "networks": 9}]}, "also.0: convnet(depth=1, width=8) under short-6@1 is the h"),
        ({"also": [{"network": "mlp"}, {"network": "mlp", "networks": 1}]}, "also.1: mlp under short-6@1 is listed tw"),
        ({"also": [{"netwrk": "mlp"}]}, "board: unknown key 'also.0.netwrk'; did you mean 'network'?"),
        ({"also": [{"network": "mlp", "networks": 0}]}, "board: also.0.networks: input should be greater than 0, got"),
        ({"also": {"network": "mlp"}}, "board: also: input should be a valid list, got {'network': 'mlp'}"),
        ({"also": [{"network": "vgg11"}]}, "also.0: vgg11 needs images of at least 17x17, these are 8x8"),
        (
            {"also": [{"network": "mlp"}], "entry": {"setting": "pretrained", "pool": {"dataset": "digits"}}},
            "also.0: setting 'pretrained' under short-6@1 scores pretrained networks, which are of "
            "convnet(depth=1, width=8); leave out mlp",
        ),
        (
            {
                "also": [{"protocol": "other-4@1", "networks": 3}],
                "entry": {"setting": "pretrained", "pool": {"dataset": "digits", "held_out": 2}},
            },
            "also.0: pool holds out 2 networks and 3 are asked for; raise held_out",
        ),
        (
            {"also": [{"network": "mlp", "protocol": "stored-4@1"}], "setting": "fixed"},
            "also.0: setting 'fixed' under stored-4@1 scores stored weights, which are of convnet(depth=1, width=8); "
            "leave out mlp",
        ),
        ({"peek": 1.0}, "board: peek: input should be less than 1, got 1.0"),
        ({"peek": 0.1, "validation": 0.1}, "board: validation and peek both hold back training images; leave out one"),
        ({"entry": {"peek": 0.1}}, "board: unknown key 'entries.0.peek'; known: also, attack, "),
    ],
)
def test_a_way_that_cannot_work_is_refused_before_anything_runs(
    walk: str, values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        job_of(walk, **values)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_stored_weights_serve_their_own_network_and_protocols_without_them_any(walk: str) -> None:
    ways = [{"protocol": "stored-4@1"}, {"network": "mlp"}]
    assert len(job_of(walk, also=ways, setting="fixed").cell.also or []) == 2


# -- what a run keeps -----------------------------------------------------------------------------------------------


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_every_way_is_scored_as_by_its_own_judge(walk: str, tmp_path: Path) -> None:
    job = job_of(walk, also=ALSO)
    record = run_here(job, tmp_path / "run")
    data = load_dataset("digits")
    artifact = DistilledDataset.load(tmp_path / "run" / "artifact.safetensors")
    transform = Preprocessing.for_dataset(data).fit(data)
    expected = []
    for scoring in job.cell.also or []:
        setting, protocol = setting_of(scoring.network, data), PROTOCOLS.get(scoring.protocol)
        judge = ImageEvaluator(data, transform, protocol, scoring.network, CPU, setting)
        for seed in range(scoring.networks):
            accuracy = judge.score(artifact, seed=seed).accuracy
            expected.append(
                FurtherScore(network=scoring.network, protocol=scoring.protocol, seed=seed, accuracy=accuracy)
            )
    assert record.result.also == expected
    assert len({score.accuracy for score in expected}) > 2
    assert record.also_protocols == {"other-4@1": PROTOCOLS.get("other-4@1").describe()}
    alone = run_here(job_of(walk), tmp_path / "alone")
    assert record.result.scores == alone.result.scores
    assert record.accuracy == alone.accuracy
    assert (alone.result.also, alone.also_protocols, alone.result.snapshots) == ([], {}, None)


def test_a_run_without_an_artefact_has_none_of_it(walk: str) -> None:
    record = failed_record(job_of(walk, also=ALSO, peek=0.1), "timeout", "too slow", "2024-01-01T00:00:00+00:00")
    assert (record.result.also, record.result.snapshots) == ([], None)
    assert list(record.also_protocols) == ["other-4@1"]


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_snapshots_are_selected_with_the_finished_artefact(walk: str, tmp_path: Path) -> None:
    job = job_of(walk, peek=SECRET, also=ALSO[:1])
    record = run_here(job, tmp_path / "run")
    data, held_out = load_dataset("digits").holding_out(SECRET), load_dataset("digits").validation(SECRET)
    transform = Preprocessing.for_dataset(data).fit(data)
    common = transform, PROTOCOLS.get("short-6@1"), job.cell.network, CPU, setting_of(job.cell.network, data)
    judge, asked = ImageEvaluator(data, *common), ImageEvaluator(held_out, *common)
    names = [f"snapshot-{index}" for index in range(5)] + ["artifact"]
    files = [DistilledDataset.load(tmp_path / "run" / f"{name}.safetensors") for name in names]
    test = [judge.score(file, seed=0, short=True).accuracy for file in files]
    expected = select(test, [asked.score(file, seed=0, short=True).accuracy for file in files])
    assert record.result.snapshots == expected
    assert [point.accuracy for point in record.result.curve] == test[:-1]
    assert expected.oracle > expected.last, "the method was to get worse"
    for score in record.result.scores:
        assert set(score.metrics) == {"held_out", "validation", "oracle"}
        assert score.accuracy <= score.metrics["oracle"]
    assert [score.metrics for score in record.result.also] == [{}, {}], "the headline alone is read along its training"
    without = run_here(job_of(walk, peek=SECRET, curve_seeds=0), tmp_path / "without")
    assert (without.result.snapshots, without.result.scores) == (None, record.result.scores)


WHOLE = 2 + 2 + 5 + 5 + 1
"""the headline, the start, further ways, snapshots, the finished one"""


@pytest.mark.parametrize(
    "call",
    [call if call == 8 else pytest.param(call, marks=pytest.mark.slow) for call in range(WHOLE)],
)
def test_an_evaluation_interrupted_anywhere_goes_on(
    walk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    job = job_of(walk, also=ALSO, peek=SECRET)
    whole = run_here(job, tmp_path / "whole")
    score, calls = ImageEvaluator.score, list[int]()

    def interrupted(self: ImageEvaluator, *given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == call + 1:
            raise KeyboardInterrupt
        return score(self, *given, **named)

    monkeypatch.setattr(ImageEvaluator, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(job, tmp_path / "run", tmp_path / "cache", CPU, lambda stage, share: None)
    kept = tmp_path / "run" / "scores.partial"
    assert len(json.loads(bytes(read_sealed(kept) or b'{"scores": {}}'))["scores"]) == call
    record = run_here(job, tmp_path / "run")
    assert len(calls) == 1 + WHOLE, "a score was computed twice"
    assert record.result == whole.result


# -- what methods see -----------------------------------------------------------------------------------------------


def test_held_out_images_are_the_ones_that_selection_is_by() -> None:
    whole = load_dataset("digits")
    rest, held_out = whole.holding_out(SECRET), whole.validation(SECRET)
    assert torch.equal(rest.train_images, held_out.train_images)
    assert torch.equal(rest.train_labels, held_out.train_labels)
    assert len(rest.train_labels) + len(held_out.test_labels) == len(whole.train_labels)
    assert torch.equal(rest.test_images, whole.test_images)
    assert torch.equal(rest.test_labels, whole.test_labels)
    assert rest.digest == f"{whole.digest}+held_out({SECRET})"


def test_a_method_never_sees_the_held_out_images(walk: str, tmp_path: Path) -> None:
    run_here(job_of(walk, peek=SECRET), tmp_path / "run")
    images, _ = METHODS.get("walk").distill.__globals__["SEEN"][-1]
    whole, held_out = load_dataset("digits"), load_dataset("digits").validation(SECRET)
    transform = Preprocessing.for_dataset(whole).fit(whole)
    assert len(images) == len(whole.train_labels) - len(held_out.test_labels)
    secret = {image.numpy().tobytes() for image in transform(held_out.test_images)}
    assert len(secret) == len(held_out.test_labels)
    assert not secret & {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("held_back", [{"peek": SECRET}, {"validation": SECRET}, {}])
@pytest.mark.parametrize(
    "command", [partial(ddbench.show, out=Path("grid.png")), partial(ddbench.score, protocol="short-6@1", count=1)]
)
def test_an_artefact_is_read_as_its_run_read_it(
    walk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_back: dict[str, float], command: Any
) -> None:
    fitted, fit = list[str](), Preprocessing.fit
    run_here(job_of(walk, **held_back, entry={"preprocessing": "zca"}), tmp_path / "run")
    file = tmp_path / "run" / "artifact.safetensors"
    monkeypatch.setattr(Preprocessing, "fit", lambda self, data: fitted.append(data.digest) or fit(self, data))
    monkeypatch.chdir(tmp_path)
    command(file)
    assert fitted == [DistilledDataset.load(file).provenance["dataset_digest"]]


def test_a_digest_names_the_split() -> None:
    data = load_dataset("digits")
    for part in (
        data,
        data.validation(0.1),
        data.validation(0.00005),
        data.validation(0.5, seed=3),
        data.holding_out(0.2),
    ):
        again = data.split(part.digest)
        assert again.digest == part.digest
        assert torch.equal(again.train_labels, part.train_labels)
        assert torch.equal(again.test_labels, part.test_labels)
    with pytest.raises(
        UserError, match=r"split 'half' is neither validation\(...\) nor held_out\(...\); write the art"
    ):
        data.split(f"{data.digest}+half")


def test_given_networks_were_not_trained_on_the_held_out_images(
    walk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = set[int]()
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        pools, "RealData", lambda data, *rest: sizes.add(len(data.train_labels)) or RealData(data, *rest)
    )
    pool = {"dataset": "digits", "train": 1, "held_out": 2, "steps": 30}
    run_here(job_of(walk, peek=SECRET, setting="pretrained", entry={"pool": pool}), tmp_path / "run")
    assert sizes == {len(load_dataset("digits").validation(SECRET).train_labels)}
