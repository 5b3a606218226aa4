"""Findings from a board's run to the tables: asked by a board, submitted, checked, tabulated and shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from ddbench.boards.board import make_board
from ddbench.boards.jobs import Job, resolve
from ddbench.errors import UserError
from ddbench.io.atomic import digest
from ddbench.leaderboard import check_tables
from ddbench.leaderboard.finding_pages import findings_markdown
from ddbench.leaderboard.findings import analysis_tables, text
from ddbench.leaderboard.origins import Origin, origins
from ddbench.leaderboard.summaries import NOTHING
from ddbench.records.cell import NetworkSpec
from ddbench.records.files import read_records
from ddbench.records.finding_files import finding_paths, read_finding, write_finding
from ddbench.records.findings import AnalysisRecord, Measure, Series
from ddbench.records.schema import Record
from ddbench.registry import discover
from ddbench.runs.analyse import analyse_run
from ddbench.runs.context import RunContext, RunMonitor
from ddbench.runs.executors import Event
from ddbench.runs.executors.lane import Ended, Lane
from ddbench.runs.executors.scoring import AnalyseRun
from ddbench.runs.plan import plan_runs, run_jobs
from ddbench.runs.status import Outcome
from ddbench.site.analysis_pages import analysis_values
from ddbench.site.board_pages import board_values
from ddbench.site.content import read_content
from ddbench.site.finding_charts import finding_chart
from ddbench.site.method_pages import method_values
from ddbench.site.record_pages import record_values
from ddbench.site.rendering import Renderer
from ddbench.site.tables import tables_of
from ddbench.stats import kendall_interval, kendall_tau
from ddbench.submissions.submit import submit
from factories import Call, make_finding, make_record, run

BOARD: dict[str, Any] = {
    "board": "tiny",
    "datasets": "digits",
    "ipc": 1,
    "network": "convnet,depth=1,width=8",
    "protocol": "quick-300@1",
    "networks": 1,
    "steps": 3,
    "compile": False,
    "analyses": [{"name": "calibration", "held_out": 100}],
    "entries": [{"methods": "random_real"}],
}


# -- a board asks ------------------------------------------------------------------------------------------------------


def context_of(job: Job, folder: Path) -> RunContext:
    return RunContext.of(job, folder, folder / "cache", torch.device("cpu"), RunMonitor())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a board's run, carried out in this process, for reading."""
    discover()
    out = tmp_path_factory.mktemp("made") / "runs"
    (job,) = resolve(make_board(BOARD), "cpu")
    record = run(job, out / job.folder, out / "cache", torch.device("cpu"))
    context = context_of(job, out / job.folder)
    evaluator = job.modality.evaluator(job.cell, job.dataset, context.place)
    assert list(analyse_run(context, str(record.result.artifact), lambda: evaluator)) == []
    return out


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of it, beside a folder of tables that is empty and the board's YAML."""
    (tmp_path / "tables" / "records").mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text(yaml.safe_dump(BOARD))
    return Path(shutil.copytree(made, tmp_path / "runs"))


def check_asked(folder: Path) -> None:
    (path,), (record,) = finding_paths(folder), read_records(folder)
    found = read_finding(path)
    assert path.parent == next(folder.rglob("record.json")).parent
    assert (found.artifact, found.analysis, found.networks) == (record.result.artifact, "calibration@1", 1)
    assert found.settings == {"bins": 15, "resamples": 20, "held_out": 100}
    assert "analyses" not in record.model_dump_json()


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_what_a_board_asks_lies_beside_the_record_and_is_not_asked_twice(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_asked(runs)
    (job,), (record,) = resolve(make_board(BOARD), "cpu"), read_records(runs)
    monkeypatch.setattr("ddbench.runs.analyse.analyse", None)
    assert not list(analyse_run(context_of(job, runs / job.folder), str(record.result.artifact), lambda: None))  # type: ignore[arg-type,return-value]


@pytest.mark.slow  # in processes of its own; what they do is tested by default in this one
def test_a_board_asks_after_scoring_in_a_process_of_its_own(tmp_path: Path) -> None:
    discover()
    events = list[Event]()
    run_jobs(plan_runs(resolve(make_board(BOARD), "cpu"), tmp_path), tmp_path, device="cpu", on_event=events.append)
    check_asked(tmp_path)
    assert [event.stage for event in events if event.kind == "warning"] == []
    assert [event.kind for event in events][-1] == "finished"


def test_a_run_whose_analyses_end_early_keeps_its_scores(tmp_path: Path) -> None:
    discover()
    events = list[Event]()
    lane = Lane(torch.device("cpu"), tmp_path / "cache", events.append)
    (job,) = resolve(make_board(BOARD), "cpu")
    lane._analyst = SimpleNamespace(ask=lambda request, watch: "process")  # type: ignore[assignment]
    steps = lane._analysed(AnalyseRun(job, tmp_path, digest(b"")))
    assert next(steps) == "process"
    with pytest.raises(StopIteration):
        steps.throw(Ended(Outcome("crashed", "it was killed")))
    assert [event.kind for event in events] == ["progress", "warning"]
    assert events[-1].stage == "its analyses ended early, and `ddbench analyze` goes on with them: it was killed"


def test_what_fails_is_said_and_the_others_go_on(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = {**BOARD, "analyses": ["calibration", {"name": "classes", "full_data": 0}]}
    (job,) = resolve(make_board(board), "cpu")
    (record,) = read_records(runs)
    context = context_of(job, next(runs.rglob("record.json")).parent)

    def broken(*given: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("ddbench.runs.analyse.subject_of", lambda *given: None)
    monkeypatch.setattr("ddbench.runs.analyse.analyse", broken)
    said = list(analyse_run(context, str(record.result.artifact), lambda: None))  # type: ignore[arg-type,return-value]
    assert said == [
        f"{name} failed, and `ddbench analyze` tries it again: ZeroDivisionError: by nothing"
        for name in ("calibration@1", "classes@1")
    ]


@pytest.mark.parametrize(
    ("analyses", "complaint"),
    [
        (["calibratio"], "unknown analysis 'calibratio'; did you mean 'calibration@1'"),
        ([{"name": "calibration", "bins": 0}], "bins=0 of calibration@1: input should be greater than 0"),
        ([{"bins": 3}], "analysis {'bins': 3} has no name"),
    ],
)
def test_a_board_with_an_unknown_analysis_is_refused(analyses: list[Any], complaint: str) -> None:
    discover()
    with pytest.raises(UserError, match=complaint.replace("{", r"\{").replace("}", r"\}")):
        resolve(make_board({**BOARD, "analyses": analyses}), "cpu")


def test_analyses_are_no_part_of_a_runs_key() -> None:
    discover()
    (with_one,), (without,) = (resolve(make_board({**BOARD, "analyses": a}), "cpu") for a in (["calibration"], []))
    assert with_one.key == without.key


# -- submitted and checked ---------------------------------------------------------------------------------------------


def filed(runs: Path) -> Path:
    """Submit, and give the folder of tables."""
    found = submit(runs, runs.parent / "tables", configs=runs.parent / "configs")
    assert found.complaints == []
    return runs.parent / "tables"


def test_findings_are_filed_with_their_record_and_shown(runs: Path) -> None:
    tables = filed(runs)
    (path,), (record,) = finding_paths(tables), (tables / "records").rglob("*.json")
    assert path.parent == tables / "analyses" / "tiny" / "random_real"
    assert path.name.startswith(f"{record.stem}-calibration@1-")
    assert check_tables(tables, origins()) == []
    page = (tables / "analyses" / "tiny.md").read_text()
    assert "### digits, 1 image per class, held_out=100" in page
    content, renderer = read_content(tables), Renderer()
    (board,) = content.boards
    page = renderer.render("analyses/tiny.html", "analyses.html", analysis_values(board)).decode()
    assert "<th scope=col class=num>ece_excess" in page
    assert "accuracy of the bin" in page
    values = board_values(board, tables_of(board), content, "tiny.csv")
    assert "../analyses/tiny.html" in renderer.render("boards/tiny.html", "board.html", values).decode()
    own = renderer.render("records/x/y.html", "records.html", record_values(board.entries, {}, board.findings)).decode()
    assert "calibration@1, 1 convnet(depth=1, width=8) under quick-300@1" in own
    shown = {board.name: tables_of(board)}
    card = renderer.render("methods/x.html", "method.html", method_values("random_real", shown, content, [])).decode()
    assert "<a href=../analyses/tiny.html#calibration@1>calibration@1</a>" in card
    assert (
        "Beyond accuracy"
        not in renderer.render("methods/x.html", "method.html", method_values("k_means", shown, content, [])).decode()
    )
    again = submit(runs, tables, configs=runs.parent / "configs")
    assert (again.complaints, again.written) == ([], [])


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_findings_of_filed_records_are_filed_later(runs: Path) -> None:
    (path,) = finding_paths(runs)
    content = path.read_bytes()
    path.unlink()
    tables = filed(runs)
    assert not finding_paths(tables)
    path.write_bytes(content)
    assert filed(runs) == tables
    assert [found.read_bytes() for found in finding_paths(tables)] == [content]


def changed(path: Path, **changes: Any) -> None:
    """Seal a finding with other content, under the name that this has."""
    found = read_finding(path).model_copy(update=changes)
    found = found.model_copy(update={"key": found.expected_key()})
    path.unlink()
    write_finding(path.with_name(found.name), found)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"artifact": digest(b"")}, "no record of its board and method has the artefact"),
        ({"dataset_digest": digest(b"")}, "and its record of others"),
    ],
)
def test_findings_of_something_else_are_not_filed(runs: Path, changes: dict[str, Any], complaint: str) -> None:
    (path,) = finding_paths(runs)
    changed(path, **changes)
    found = submit(runs, runs.parent / "tables", configs=runs.parent / "configs")
    assert complaint in " ".join(found.complaints)
    assert not found.written


def test_findings_under_another_protocol_of_that_name_are_not_filed(runs: Path) -> None:
    (path,) = finding_paths(runs)
    changed(path, protocol={**read_finding(path).protocol, "steps": 299})
    found = submit(runs, runs.parent / "tables", configs=runs.parent / "configs")
    assert "says that quick-300@1 has steps 299; it has 300" in " ".join(found.complaints)


def test_an_edited_or_foreign_finding_fails_the_check(runs: Path, call: Call) -> None:
    tables = filed(runs)
    (path,) = finding_paths(tables)
    content = path.read_text()
    path.write_text(content.replace('"held_out": 100', '"held_out": 101'))
    (problem,) = check_tables(tables, origins())
    assert "was edited after it was written" in problem
    assert problem.endswith("restore it or run `ddbench analyze` again")
    assert call("leaderboard", tables, "--check")[0] == 1
    path.write_text(content)
    other = tables / "analyses" / "tiny" / "herding" / path.name
    other.parent.mkdir()
    path.rename(other)
    (problem,) = check_tables(tables, origins())
    assert "no record of its board and method has the artefact" in problem
    shutil.rmtree(tables / "analyses" / "tiny")
    (problem,) = check_tables(tables, origins())
    assert "tiny.md is of no board with such records; remove it" in problem


# -- tables by hand ----------------------------------------------------------------------------------------------------


def records_of(accuracies: dict[str, list[float]]) -> dict[str, list[Record]]:
    return {
        method: [
            make_record(method, seed, (share,), artifact=digest(f"{method}{seed}".encode()))
            for seed, share in enumerate(shares)
        ]
        for method, shares in accuracies.items()
    }


def test_a_table_has_one_artefact_over_networks_and_several_over_artefacts() -> None:
    discover()
    made = records_of({"good": [0.9, 0.8], "bad": [0.5], "odd": [0.6], "unasked": [0.7]})
    findings = [
        make_finding(made["good"][0], {"nll": [0.2, 0.4], "gap": [0.1]}),
        make_finding(made["good"][1], {"nll": [0.5], "gap": [0.1]}),
        make_finding(made["bad"][0], {"nll": [1.0, 2.0]}),
        make_finding(made["odd"][0], {}, "it regresses"),
    ]
    (table,) = analysis_tables([run for runs in made.values() for run in runs], findings)
    good, bad = table.lines()
    assert (good["method"], good["accuracy %"], good["n"]) == ("good", "85.0", "2")
    assert good["nll"] == f"0.400 ± {12.7062 * 0.1:.3f}"  # t with one degree of freedom, of (0.3, 0.5)
    assert good["gap"] == "0.100"
    assert (bad["nll"], bad["gap"], bad["n"]) == (f"1.500 ± {12.7062 * 0.5:.3f}", NOTHING, "1")
    assert table.reasons == ("odd: it regresses",)
    page = findings_markdown("tiny", [table])
    assert "# tiny: beyond accuracy" in page
    assert "- **nll**: mean negative log-likelihood" in page
    assert "Not applicable to odd: it regresses." in page


def with_curve(finding: AnalysisRecord, bins: list[tuple[float, float]]) -> AnalysisRecord:
    columns = {"confidence": [x for x, _ in bins], "accuracy": [y for _, y in bins]}
    findings = finding.findings.model_copy(update={"series": {"reliability": Series(columns=columns)}})
    return finding.model_copy(update={"findings": findings})


def test_a_figure_has_a_line_a_row_the_mean_over_its_artefacts() -> None:
    discover()
    made = records_of({"good": [0.9, 0.8], "bad": [0.5], "bare": [0.4]})
    findings = [
        with_curve(make_finding(made["good"][0], {"nll": [0.2]}), [(0.5, 0.4), (0.9, 0.6), (0.9, 0.8)]),
        with_curve(make_finding(made["good"][1], {"nll": [0.2]}), [(0.9, 0.9), (0.5, 0.6), (1.0, 1.0)]),
        with_curve(make_finding(made["bad"][0], {"nll": [0.2]}), [(0.5, 0.2), (1.0, 0.4)]),
        make_finding(made["bare"][0], {"nll": [0.2]}),
    ]
    (table,) = analysis_tables([run for runs in made.values() for run in runs], findings)
    lines = {row.label: row.points for row in table.rows}
    assert lines["good"] == ((0.5, pytest.approx(0.5)), (0.9, pytest.approx(0.8)))  # 1.0 is in one of them alone
    assert (lines["bad"], lines["bare"]) == (((0.5, 0.2), (1.0, 0.4)), ())

    chart = finding_chart(table)
    assert chart is not None
    assert [(line.label, line.value) for line in chart.lines] == [("good", "0.8"), ("bad", "0.4")]
    (left, high), (_, top) = chart.lines[0].marks
    (same, low), (right, _) = chart.lines[1].marks
    assert left == same == chart.size.left
    assert (right, top, low) == (chart.size.end - 16, chart.size.top, chart.size.floor)
    assert chart.size.top < high < chart.size.floor
    assert (chart.x_label, chart.y_label) == ("mean confidence of a bin", "accuracy of the bin")
    assert chart.description.endswith("At the right end: good 0.8; bad 0.4.")


def test_without_lines_there_is_no_figure() -> None:
    discover()
    made = records_of({"bare": [0.4]})
    (table,) = analysis_tables(made["bare"], [make_finding(made["bare"][0], {"nll": [0.2]})])
    assert finding_chart(table) is None


def test_tables_are_apart_where_artefacts_were_analysed_otherwise() -> None:
    discover()
    made = records_of({"good": [0.9]})
    usual = make_finding(made["good"][0], {"nll": [0.2]})
    wide = usual.model_copy(update={"network": NetworkSpec(name="mlp")})
    few = usual.model_copy(update={"settings": {**usual.settings, "bins": 5}})
    headings = {table.heading for table in analysis_tables(made["good"], [usual, wide, few])}
    assert headings == {
        "digits, 1 image per class",
        "digits, 1 image per class, 2 networks mlp under dsa-1000@1",
        "digits, 1 image per class, bins=5",
    }


def test_agreement_with_accuracy() -> None:
    discover()
    made = records_of({f"m{i}": [0.1 * i] for i in range(1, 7)})
    findings = [make_finding(made[f"m{i}"][0], {"nll": [1.0 - 0.1 * i], "brier": [1.0]}) for i in range(1, 7)]
    (table,) = analysis_tables([run for runs in made.values() for run in runs], findings)
    whole = "-1.00 (-1.00 to -1.00)"
    assert table.agreement() == [{"measure": "nll", "among": "all", "rows": "6", "Spearman": whole, "tau": whole}]


def test_agreement_at_equal_image_counts_and_without_methods_that_minimise_the_measure() -> None:
    discover()
    made = records_of({f"m{i}": [0.1 * i] for i in range(1, 9)})
    # m1 has more images; m2 to m4 minimise distances of features, and alone spoil the order
    distances = {1: 0.0, 2: 0.05, 3: 0.06, 4: 0.07, 5: 0.9, 6: 0.8, 7: 0.7, 8: 0.6}
    findings = [
        make_finding(
            made[f"m{i}"][0],
            {
                "mmd_fresh": [d],
                "mmd_pixels": [d],
                "images_per_class": [4.0 if i == 1 else 1.0],
                "mmd_fresh_floor": [0.01],
            },
            analysis="discrepancy",
        )
        for i, d in distances.items()
    ]
    families = {f"m{i}": Origin("distribution matching", "") for i in (2, 3, 4)}
    (table,) = analysis_tables([run for runs in made.values() for run in runs], findings, families)
    found = {(line["measure"], line["among"]): line for line in table.agreement()}
    assert {name: line["rows"] for name, line in found.items()} == {
        ("mmd_fresh", "all"): "8",
        ("mmd_fresh", "equal images"): "7",
        ("mmd_fresh", "equal images, not minimised"): "4",
        ("mmd_pixels", "all"): "8",
        ("mmd_pixels", "equal images"): "7",  # which nobody minimises
    }  # without images_per_class, which only m1 has otherwise: a third of a bootstrap's draws lack it
    assert found["mmd_fresh", "equal images, not minimised"]["Spearman"].startswith("-1.00 (-1.00 to ")
    assert not found["mmd_fresh", "equal images"]["tau"].startswith("-1.00")
    floor = table.lines()[-1]
    assert (floor["method"], floor["mmd_fresh"], floor["mmd_pixels"]) == ("other real images (floor)", "0.010", NOTHING)


def test_a_column_of_small_values_has_two_digits_of_the_largest() -> None:
    discover()
    made = records_of({"m1": [0.5], "m2": [0.6]})
    findings = [
        make_finding(made[name][0], {"mmd_fresh": [small], "mmd_pixels": [0.5]}, analysis="discrepancy")
        for name, small in (("m1", 0.00312), ("m2", 0.00004))
    ]
    (table,) = analysis_tables([run for runs in made.values() for run in runs], findings)
    lines = {line["method"]: (line["mmd_fresh"], line["mmd_pixels"]) for line in table.lines()}
    assert lines == {"m1": ("0.0031", "0.500"), "m2": ("0.0000", "0.500")}


def test_the_bootstrap_of_tau_is_scipys_on_the_same_draws() -> None:
    import numpy as np

    random = np.random.RandomState(5)
    one, other = random.rand(8).round(1), random.rand(8).round(1)
    draws = np.random.RandomState(0).randint(8, size=(2000, 8))[:200]
    found = kendall_interval(list(one), list(other))
    assert found is not None
    taus = [kendall_tau(list(one[draw]), list(other[draw])) for draw in draws]
    low, high = np.quantile([tau for tau in taus if tau is not None], [0.025, 0.975])
    assert found == pytest.approx((low, high), abs=0.15)  # of a tenth of the draws
    assert kendall_interval([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None
    assert kendall_interval([1.0] * 4, [1.0] * 4) is None


def test_a_measure_is_written_with_its_ends_where_they_are_not_even() -> None:
    assert text(Measure(values=[0.5], of="images", low=0.4, high=0.7)) == "0.500 (0.400 to 0.700)"
    assert text(Measure(values=[0.5], of="images", low=0.4, high=0.6)) == "0.500 ± 0.100"


# -- from elsewhere ----------------------------------------------------------------------------------------------------

PACKAGE = '''
"""An analysis in a package of its own."""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import Findings, Measure, Metric, Subject, register_analysis


@register_analysis("brightness@1")
@dataclass(frozen=True)
class Brightness:
    """How bright an artefact's images are, as a network sees them."""

    measures: ClassVar[tuple[Metric, ...]] = (Metric("brightness", "mean value of a pixel", -100, 100),)
    headline: ClassVar[tuple[str, ...]] = ("brightness",)

    def analyse(self, subject: Subject) -> Findings:
        images, _ = subject.artifact.decode()  # (N, C, H, W)
        return Findings(metrics={"brightness": Measure.over(images.mean((1, 2, 3)).tolist(), "images")})
'''


def test_an_analysis_of_another_package_is_found_and_asked(
    runs: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, register: Callable[..., None]
) -> None:
    from ddbench.registry import ANALYSES
    from processes import install

    monkeypatch.setattr(ANALYSES, "_objects", dict(ANALYSES._objects))
    site = tmp_path / "site-packages"
    site.mkdir()
    install(site, "ddbench.analyses", "outside_brightness", PACKAGE)
    monkeypatch.syspath_prepend(site)
    discover()
    assert json.loads(call("list", "analyses", "--json")[1])["brightness@1"].startswith("How bright")
    code, out, err = call("analyze", runs, "--what", "brightness", "--device", "cpu")
    assert (code, err) == (0, "")
    assert "brightness@1, written in" in out
    assert "10 images" in out


def test_shipped_analyses_declare_what_tables_show() -> None:
    discover()
    from ddbench.registry import ANALYSES

    assert {"calibration@1", "classes@1"} <= set(ANALYSES)
    for name in ANALYSES:
        declared = [metric.name for metric in ANALYSES.get(name).measures]
        assert len(set(declared)) == len(declared)
        assert set(ANALYSES.get(name).headline) <= set(declared)
