"""Analyses of artefacts: what they get, what they leave, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch

import ddbench
from ddbench.analyses import references
from ddbench.analyses.analysis import make_analysis
from ddbench.analyses.references import Origin, References
from ddbench.analyses.subject import Subject
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import Preprocessing, load_dataset
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.io.atomic import canonical_json, digest
from ddbench.records.cell import NetworkSpec
from ddbench.records.files import read_records
from ddbench.records.finding_files import check_finding, read_finding
from ddbench.records.findings import Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import ANALYSES, Registry, discover, register_analysis
from factories import Call, jobs_of, run, toy
from tasks import setting_of

CPU = torch.device("cpu")
NETWORK = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8})
THREE = Protocol("three@1", "test", steps=3, batch_size=5)


def evaluator_on(data: Any, kind: str = "normalize") -> ImageEvaluator:
    transform = Preprocessing.for_dataset(data, kind).fit(data)
    return ImageEvaluator(data, transform, THREE, NETWORK, CPU, setting_of(NETWORK, data))


def subject_on(data: Any, artifact: DistilledDataset | None = None, networks: int = 2) -> Subject:
    evaluator = evaluator_on(data)
    known = References(evaluator, Origin(data.digest, str(NETWORK), 1, 0))
    return Subject(artifact or known.random_images(), evaluator, networks, known, "test@1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discover()
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "user-cache"))


# -- documents ---------------------------------------------------------------------------------------------------------


def test_a_measure_has_students_interval_over_its_replicates() -> None:
    measure = Measure.over([1.0, 2.0, 3.0])
    assert measure.mean == 2.0
    assert (measure.low, measure.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert Measure.over([0.5]).low is None


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Measure(values=[1.0], of="networks", low=0.5), "an interval has two ends"),
        (lambda: Measure(values=[1.0], of="networks", low=2, high=3), "lies outside its interval"),
        (lambda: Measure(values=[float("nan")], of="networks"), "finite"),
        (lambda: Measure(values=[], of="networks"), "at least 1"),
        (lambda: Series(columns={"a": [1.0], "b": [1.0, 2.0]}), r"its columns have 1 \(a\), 2 \(b\) rows"),
        (lambda: Series(columns={"a": [0.0] * 2001}), "2001 rows; 2000 are the most"),
        (lambda: Findings(), "findings have metrics, or say why"),
        (lambda: Findings(metrics={"a b": Measure.over([1.0])}), "pattern"),
    ],
)
def test_what_is_no_finding_is_refused(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


# -- what an analysis gets ---------------------------------------------------------------------------------------------


def test_generators_are_the_same_for_every_artefact_and_differ_by_analysis_network_and_replicate() -> None:
    data = toy()
    one, other = subject_on(data), subject_on(data, DistilledDataset.pixels(torch.ones(3, 3, 4, 4), torch.arange(3)))

    def drawn(subject: Subject, replicate: int = 0) -> list[float]:
        return torch.rand(3, generator=subject.generator("probes", replicate)).tolist()

    assert drawn(one) == drawn(other)
    assert len({tuple(drawn(s, r)) for s, r in [(one, 0), (one, 1), (one.asked_by("x@1", print), 0)]}) == 3


def test_networks_are_those_of_the_scores_and_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_on(toy(), networks=2)
    logits = [subject.test_logits(weights) for weights in subject.trained()]
    for number, found in enumerate(logits):
        accuracy = float((found.argmax(1) == subject.data.test_labels).double().mean())
        assert accuracy == pytest.approx(subject.evaluator.score(subject.artifact, seed=number).accuracy)
    monkeypatch.setattr(ImageEvaluator, "train", None)
    assert len(list(subject.trained())) == 2
    assert not any(weight.requires_grad for weights in subject.trained() for weight in weights.values())


@pytest.mark.parametrize("kind", ["normalize", "zca", "regularized_zca"])
def test_pixels_are_transformed_differentiably_as_whole_images_are(kind: str) -> None:
    data = toy()
    transform = Preprocessing.for_dataset(data, kind).fit(data)
    images = data.test_images.clone()
    images[0] = 7  # a constant image, whose length around its mean is 0
    pixels = (images.float() / 255).requires_grad_()
    made = transform.of_pixels(pixels)
    torch.testing.assert_close(made, transform(images), rtol=1e-4, atol=1e-5)
    probe = torch.randn(made.shape, generator=torch.Generator().manual_seed(0))
    (made * probe).sum().backward()
    assert pixels.grad is not None
    assert bool(pixels.grad.isfinite().all())
    step = 1e-2 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1))
    step[0] = 0
    with torch.no_grad():
        ahead, behind = (float((transform.of_pixels(pixels + s * step) * probe).sum()) for s in (1, -1))
    assert float((pixels.grad * step).sum()) == pytest.approx((ahead - behind) / 2, rel=0.02, abs=1e-3)


def test_references_are_cached_and_random_images_are_the_runs(
    tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs_of("random_real", networks=1, curve_seeds=0, snapshots=[])[0]
    record = run(job, tmp_path / "run", tmp_path / "cache", CPU)
    made = DistilledDataset.load(tmp_path / "run" / "artifact.safetensors")
    cell, data = record.result.cell, load_dataset("digits")
    evaluator = evaluator_on(data)
    known = References(evaluator, Origin(cell.dataset_digest, str(cell.network), cell.ipc, record.result.seed))
    assert known.random_images().holds_what(made)
    ours, theirs = known.random_real(1), evaluator.train(made, 1)
    assert ours is not None
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    monkeypatch.setattr(ImageEvaluator, "train", None)
    again = References(evaluator, known.origin).random_real(1)
    assert again is not None
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)
    assert References(evaluator, Origin(data.digest, "x", 1, 0, "fixed")).random_real(0) is None


def test_a_trajectory_starts_fresh_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "SNAPSHOTS", (0, 1, 40))
    data = load_dataset("digits")
    evaluator = evaluator_on(data)
    path = References(evaluator, Origin(data.digest, str(NETWORK), 1, 0)).trajectory(0)
    assert tuple(path) == (0, 1, 40)
    images, labels = evaluator.transform(data.train_images), data.train_labels
    losses = [torch.nn.functional.cross_entropy(evaluator.forward(w, images), labels) for w in path.values()]
    assert float(losses[0]) > 2.0
    assert float(losses[-1]) < 1.5


# -- registration ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Count:
    """Counts images."""

    measures: ClassVar[tuple[Metric, ...]] = (Metric("images", "how many there are", 0, 100),)
    headline: ClassVar[tuple[str, ...]] = ("images",)
    fail: bool = False

    def analyse(self, subject: Subject) -> Findings:
        if self.fail:
            return Findings(not_applicable="nothing can be counted")
        return Findings(metrics={"images": Measure.over([float(len(subject.artifact.decode()[1]))], "artefacts")})


@pytest.fixture
def count(register: Callable[[Registry[Any], str, Any], None]) -> None:
    Count.name = "count@1"  # type: ignore[attr-defined]
    register(ANALYSES, "count@1", Count)


def test_analyses_are_found_by_name_the_newest_without_a_version(
    call: Call, register: Callable[..., None], count: None
) -> None:
    register(ANALYSES, "count@10", Count)
    register(ANALYSES, "count@9", Count)
    assert isinstance(make_analysis("count"), Count)
    assert make_analysis("count@1", {"fail": True}) == Count(True)
    with pytest.raises(UserError, match="unknown analysis 'calibraton@1'; did you mean 'calibration@1'"):
        make_analysis("calibraton@1")
    with pytest.raises(UserError, match=r"unknown setting 'bin' of calibration@1; did you mean 'bins'\?"):
        make_analysis("calibration", {"bin": 3})
    assert "calibration@1" in json.loads(call("list", "analyses", "--json")[1])


def test_what_is_no_analysis_is_not_registered() -> None:
    with pytest.raises(ValueError, match="analysis 'count': a name has a version"):
        register_analysis("count")(Count)
    with pytest.raises(TypeError, match="put @register_analysis above"):
        register_analysis("count@2")(dict)
    with pytest.raises(TypeError, match="Protocol needs measures and analyse"):
        register_analysis("count@2")(Protocol)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path, short: None) -> Path:
    """The folder of a board with two runs on digits."""
    for job in jobs_of("random_real", networks=1, curve_seeds=0, snapshots=[], seeds=2):
        run(job, tmp_path / "board" / job.folder, tmp_path / "cache", CPU)
    return tmp_path / "board"


def test_findings_of_a_folder_lie_beside_its_records_and_are_not_made_again(
    finished: Path, call: Call, count: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = call("analyze", finished, "--what", "count", "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.count("count@1, written in") == 2
    assert "images                   10, 1 artefacts" in out
    files = sorted(finished.rglob("count@1-*.json"))
    assert [path.parent for path in files] == sorted(path.parent for path in finished.rglob("record.json"))
    assert len(read_records(finished)) == 2
    found = read_finding(files[0])
    assert found.artifact == digest((files[0].parent / "artifact.safetensors").read_bytes())
    monkeypatch.setattr(Count, "analyse", None)
    code, out, _ = call("analyze", finished, "--what", "count", "--device", "cpu")
    assert (code, out.count("count@1, kept in")) == (0, 2)


def test_a_damaged_finding_is_set_aside_and_made_again(finished: Path, count: None) -> None:
    (first, *_) = ddbench.analyze(finished, "count", device="cpu")
    path = sorted(finished.rglob("count@1-*.json"))[0]
    path.write_text(path.read_text().replace("10.0", "11.0"))
    with pytest.warns(RuntimeWarning, match="is damaged .*edited after it was written"):
        again = ddbench.analyze(finished, "count", device="cpu")
    assert again[0].findings == first.findings
    assert path.with_name(f"{path.name}.damaged").exists()


def test_of_a_file_findings_are_printed_or_kept_where_one_says(finished: Path, call: Call, count: None) -> None:
    file = sorted(finished.rglob("artifact.safetensors"))[0]
    code, out, _ = call("analyze", file, "--what", "count@1", "--device", "cpu", "--json")
    (said,) = json.loads(out)
    assert (code, said["findings"]["metrics"]["images"]["values"], said["networks"]) == (0, [10.0], 1)
    assert not list(finished.rglob("count@1-*.json"))
    code, _, _ = call("analyze", file, "--what", "count", "--device", "cpu", "--out", "kept", "--count", "3")
    (path,) = (finished.parent / "kept").glob("artifact-count@1-*.json")
    assert (code, read_finding(path).networks) == (0, 3)


def test_what_is_not_applicable_says_so(finished: Path, count: None) -> None:
    (found, _) = ddbench.analyze(finished, {"name": "count", "fail": True}, device="cpu")
    assert found.findings.not_applicable == "nothing can be counted"
    assert found.settings == {"fail": True}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere", "--what", "count"], "no artefact or folder at nowhere; `ddbench distill` writes an artefact"),
        ([".", "--what", "count"], "no artefacts below .; name a file, a folder of runs, or"),
        (["board", "--what", "clases"], "unknown analysis 'clases'; did you mean 'classes@1'?"),
        (["board", "--what", ","], "no analysis is named; `ddbench list analyses` shows them"),
    ],
)
def test_bad_input_gets_a_sentence(
    call: Call, count: None, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "board").mkdir()
    code, _, err = call("analyze", *arguments)
    assert (code, complaint in err) == (2, True), err


def test_an_artefact_that_cannot_be_analysed_does_not_stop_the_others(finished: Path, call: Call, count: None) -> None:
    path = sorted(finished.rglob("artifact.safetensors"))[0]
    other = finished.parent / "other.safetensors"
    other.write_bytes(path.read_bytes()[:100])
    code, out, err = call("analyze", other, path, "--what", "count", "--device", "cpu")
    assert (code, out.count("count@1")) == (1, 1)
    assert "other.safetensors is truncated" in err


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> list[str]:
    """What is wrong with a file whose content was changed, and sealed anew."""
    content = json.loads(path.read_text())
    del content["checksum"]
    change(content)
    content["checksum"] = digest(canonical_json(content))
    path.write_text(json.dumps(content))
    return check_finding(path)[1]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.update(networks=9), "is not that of its content"),
        (lambda c: c["findings"]["metrics"]["images"].update(values=[101.0]), "'images' is 101; it lies between 0 and"),
        (
            lambda c: c["findings"]["metrics"].update(image=c["findings"]["metrics"]["images"]),
            "'image' is not declared",
        ),
        (lambda c: c.update(surplus=1), "surplus: extra inputs"),
        (lambda c: c["findings"]["metrics"]["images"].update(values=["ten"]), "should be a valid number"),
        (lambda c: c.update(schema_version=2), "has schema version 2"),
    ],
)
def test_every_rule_of_a_finding_is_checked(
    finished: Path, count: None, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    ddbench.analyze(finished, "count", device="cpu")
    path = sorted(finished.rglob("count@1-*.json"))[0]
    assert complaint in edited(path, change)[0]


def test_a_finding_is_named_as_its_content_and_of_a_known_analysis(
    finished: Path, count: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddbench.analyze(finished, "count", device="cpu")
    path = sorted(finished.rglob("count@1-*.json"))[0]
    renamed = path.rename(path.with_name(f"count@1-{'0' * 16}.json"))
    assert "it is named otherwise than its content" in check_finding(renamed)[1][0]
    path = renamed.rename(path)
    monkeypatch.delitem(ANALYSES._objects, "count@1")
    assert "unknown analysis 'count@1'" in check_finding(path)[1][0]


def test_the_example_for_contributors_works(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text()
    source = text.partition("## Add an analysis")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.setattr(ANALYSES, "_objects", dict(ANALYSES._objects))
    module = ModuleType("example_of_an_analysis")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(source, vars(module))
    found = make_analysis("noise@1", {"deviation": 0.5}).analyse(subject_on(load_dataset("digits"), networks=2))
    assert len(found.metrics["noisy"].values) == 2
    silent = make_analysis("noise@1", {"deviation": 1e-9}).analyse(subject_on(load_dataset("digits"), networks=1))
    assert silent.metrics["lost"].mean == 0.0
