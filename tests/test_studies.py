"""Studies: what they distil, what they leave, how they resume, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import ddbench
from ddbench.data import load_dataset, load_split
from ddbench.data.derived import derived, is_part, only
from ddbench.data.preprocess import channel_statistics
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.io.atomic import canonical_json, digest
from ddbench.leaderboard import check_tables
from ddbench.leaderboard.origins import origins
from ddbench.leaderboard.studies import studies_markdown, study_problems, study_tables
from ddbench.leaderboard.summaries import NOTHING
from ddbench.records.findings import Findings
from ddbench.records.schema import Record
from ddbench.records.source_digest import source_digest
from ddbench.records.studies import StudyRecord
from ddbench.records.study_files import check_study, read_study, study_paths, write_study
from ddbench.registry import METHODS, PROTOCOLS, STUDIES, discover, register_study
from ddbench.runs.plan import Plan
from ddbench.runs.speeds import Speed
from ddbench.site.content import read_content
from ddbench.site.overview import overview_values
from ddbench.site.rendering import Renderer
from ddbench.site.study_page import study_values
from ddbench.studies.board import make_study_board
from ddbench.studies.conduct import Watcher
from ddbench.studies.continual import Continual
from ddbench.studies.rows import CEILING_PROTOCOL, resolve_rows
from ddbench.studies.study import make_study
from ddbench.submissions.submit import submit
from factories import Call, run, toy, write_board
from factories import make_study_row as row
from methods.random_real import RandomReal
from processes import install

CPU = torch.device("cpu")
LEADERBOARDS = Path(__file__).resolve().parent.parent / "leaderboards"
ASKED: dict[str, Any] = {
    "dataset": "digits",
    "methods": ["dm,iterations=2,batch_real=4"],
    "seconds": 50.0,
    "seeds": 1,
    "network": "convnet,depth=1,width=8",
    "protocol": "short-3@1",
    "networks": 1,
    "compile": False,
}


def in_process(plan: Plan, out: Path, **options: Any) -> list[Record]:
    """Carry a plan out in this process."""
    return [*plan.records, *(run(job, folder, out / "cache", CPU) for job, folder in plan.jobs)]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, short: None) -> None:
    discover()
    monkeypatch.setattr("ddbench.studies.conduct.run_jobs", in_process)
    monkeypatch.setattr("ddbench.runs.speeds.Speeds._measure", lambda *given: Speed(0.0, 1e-3))


def carried_out(out: Path, **changes: Any) -> list[StudyRecord]:
    """Carry out a study of two steps."""
    return ddbench.study("continual", {**ASKED, "settings": {"steps": 2}, **changes}, out, device="cpu")


# -- derived data ------------------------------------------------------------------------------------------------------


def test_a_part_has_its_classes_renumbered_and_the_name_and_statistics_of_the_whole() -> None:
    data = load_dataset("digits")
    part = derived(data, f"{data.digest}+{only([7, 3])}")
    assert (part.digest, part.name, part.classes) == (f"{data.digest}+only(3,7)", "digits", ("3", "7"))
    assert torch.equal(part.train_images, data.train_images[(data.train_labels == 3) | (data.train_labels == 7)])
    assert int((part.test_labels == 1).sum()) == int((data.test_labels == 7).sum())
    assert channel_statistics(part) == channel_statistics(data)
    assert load_split("digits", "only(3,7)").digest == part.digest
    assert derived(data, data.digest) is data
    assert derived(data, f"{data.digest}+validation(0.5)").digest.endswith("+validation(0.5)")
    assert is_part("only(3,7)")
    assert not is_part("validation(0.1)")
    with pytest.raises(UserError, match="digits has no class 10; its classes are 0 to 9"):
        load_split("digits", "only(3,10)")
    with pytest.raises(UserError, match="one class of digits is nothing to tell apart"):
        load_split("digits", "only(3)")


# -- carried out -------------------------------------------------------------------------------------------------------


def test_a_study_distils_parts_with_equal_seconds_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, register: Callable[..., None]
) -> None:
    said = list[str]()
    assert CEILING_PROTOCOL == "full-data-10@1"
    on_all = Protocol("three-full@1", "test", steps=3, batch_size=20, kind="full_data")
    register(PROTOCOLS, on_all.name, on_all)
    monkeypatch.setattr("ddbench.studies.rows.CEILING_PROTOCOL", on_all.name)
    assert Continual.references == ("random_real", "herding", "joint:{first}", "full_data")
    monkeypatch.setattr(Continual, "references", ("joint:{first}", "full_data"))  # herding trains a network
    watcher = Watcher(on_start=lambda todo, forecast: said.append(f"{len(todo.jobs)}: {forecast}"))
    asked = {**ASKED, "settings": {"steps": 2}}
    records = ddbench.study("continual", asked, tmp_path, device="cpu", watcher=watcher)
    labels = ["distribution_matching", "joint:distribution_matching", "full_data"]
    assert [record.label for record in records] == labels
    assert said[0].startswith("3: 3 runs, about ")
    assert said[0].endswith(("min", " s"))
    ours = records[0]
    assert [(found.split, found.share) for found in ours.runs] == [
        (part.split, 0.5) for part in Continual(steps=2).parts(load_dataset("digits"), None, 0)
    ]
    assert [len(record.runs) for record in records] == [2, 1, 0]
    budgets = {record.result.cell.budget.seconds for record in map(ddbench.read_record, tmp_path.rglob("record.json"))}
    assert budgets == {25.0, 50.0}
    assert ours.findings.metrics["stored_bytes"].mean == 10 * 64 * 4 + 10 * 8
    assert "stored_bytes" not in records[-1].findings.metrics
    assert (records[-1].cell.protocol, records[-1].cell.networks) == ("three-full@1", 1)
    assert study_paths(tmp_path) == sorted(tmp_path / record.name for record in records)
    assert [check_study(path)[1] for path in study_paths(tmp_path)] == [[]] * 3
    monkeypatch.setattr(Continual, "measure", None)
    monkeypatch.setattr("ddbench.studies.conduct.run_jobs", lambda plan, *given, **options: [*plan.records, *plan.jobs])
    assert ddbench.study("continual", asked, tmp_path, device="cpu", watcher=watcher) == records
    assert said[1] == "0: nothing left to do"
    path = tmp_path / ours.name
    path.write_text(path.read_text().replace('"seeds": 1', '"seeds": 2'))
    with pytest.warns(RuntimeWarning, match="is damaged .*edited after it was written"):
        again = ddbench.study("continual", asked, tmp_path, device="cpu", watcher=watcher)[0]
    assert again.findings == ours.findings  # from what was kept of the seed
    assert said[2].startswith("0: nothing left to distil; then networks are trained for about ")


def test_what_another_release_has_kept_of_a_seed_is_measured_anew(tmp_path: Path) -> None:
    (record,) = carried_out(tmp_path, methods=["joint:random_real"], references=False)
    (kept,) = (tmp_path / "measured").iterdir()
    content = b'{"later": 1}'
    kept.write_bytes(f"{digest(content)}\n".encode() + content)
    (tmp_path / record.name).unlink()
    with pytest.warns(RuntimeWarning, match="another release wrote it"):
        (again,) = carried_out(tmp_path, methods=["joint:random_real"], references=False)
    assert again.findings == record.findings


def test_a_row_whose_runs_fail_is_named_and_the_others_go_on(
    tmp_path: Path, call: Call, write: Callable[..., str]
) -> None:
    discover()
    bad = write("bad", "raise ValueError('on purpose')")
    METHODS.register("random_real")(RandomReal)
    command = [
        "study",
        "continual",
        "-m",
        bad,
        "-m",
        "random_real",
        "--no-references",
        "--seconds",
        "10s",
        "--count",
        1,
        "--set",
        "steps=2",
    ]
    rest = ["--seeds", 1, "--network", "convnet,depth=1,width=8", "--protocol", "short-3@1", "--device", "cpu"]
    code, out, err = call(*command, *rest, "--out", "there")
    assert code == 1
    assert "bad is not measured: 2 of its runs left no artefact that counts, the first only(1,2,4,8,9) at seed 0" in err
    assert out.startswith("random_real: continual@1, 1 seeds, ")
    assert "  forgetting " in out
    code, out, _ = call(*command, *rest, "--out", "there", "--json")
    assert (code, [said["cell"]["method"] for said in json.loads(out)]) == (1, ["random_real"])


STUDY: dict[str, Any] = {**ASKED, "study": "continual", "settings": {"steps": 2}, "methods": ["random_real"]}


def board(folder: Path, *studies: dict[str, Any]) -> list[str]:
    """Write a board with studies and give its command."""
    short = {"protocol": "short-3@1", "snapshots": [], "studies": list(studies)}
    return write_board(folder, "random_real", **short)


@pytest.mark.slow  # carries out a board and a study
def test_the_studies_of_a_board_follow_its_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ddbench.runs.api.run_jobs", in_process)
    command = board(tmp_path, {**STUDY, "references": False})
    code, out, err = call(*command)
    assert code == 0, err
    assert out.startswith("random_real: continual@1, 1 seeds, ")
    (path,) = study_paths(tmp_path / "out-continual")
    assert read_study(path).label == "random_real"
    assert len(list((tmp_path / "out").rglob("record.json"))) == 1
    monkeypatch.setattr("ddbench.studies.of_board.study", lambda *given, **options: pytest.fail("a part was asked for"))
    assert call(*command, "--method", "random_real")[0] == 0


def test_a_study_of_a_board_that_does_not_fit_is_named_before_anything_runs(tmp_path: Path) -> None:
    board(tmp_path, {**STUDY, "references": False}, {**STUDY, "settings": {"steps": 3}})
    with pytest.raises(UserError, match=r"board.yaml: studies.1: 10 classes of digits do not come in 3 equal steps"):
        ddbench.evaluate(tmp_path / "board.yaml", tmp_path / "out", device="cpu")
    board(tmp_path, {"methods": ["dm"], "seconds": 1})
    with pytest.raises(UserError, match=r"studies.0: study: study: field required"):
        ddbench.evaluate(tmp_path / "board.yaml", tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # in processes of its own; what they do is tested by default in this one
def test_a_study_in_processes_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    records = carried_out(tmp_path, protocol="quick-300@1")
    assert [len(record.runs) for record in records] == [2, 2, 2, 1, 0]
    assert all(record.findings.metrics["final"].mean > 0.1 for record in records)


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"study": "contnual"}, "unknown study 'contnual'; did you mean 'continual@1'?"),
        ({"settings": {"stepz": 2}}, "unknown setting 'stepz' of continual@1; did you mean 'steps'?"),
        (
            {"settings": {"steps": 3}},
            "10 classes of digits do not come in 3 equal steps of two or more; set steps to 2",
        ),
        ({"methods": ["alone:dm"]}, "continual@1 has no variant 'alone'; known: joint"),
        ({"methods": ["dm,lr"]}, "row 'dm,lr': 'lr' is not KEY=VALUE"),
        ({"methods": ["dmm"]}, "unknown method 'dmm'; did you mean 'dm'?"),
        ({"method": ["dm"]}, "study: unknown key 'method'; did you mean 'methods'?"),
        ({"seconds": 0}, "study: seconds: input should be greater than 0"),
        ({"ipc": 500}, "ipc 500 is larger than the smallest class of digits"),
    ],
)
def test_bad_input_gets_a_sentence(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as error:
        resolve_rows(make_study_board({"study": "continual", **ASKED, **changes}), "cpu")
    assert complaint in str(error.value)


def test_data_that_cannot_come_in_steps_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"3 classes of toy do not come in 5 equal steps .*; choose a data set with more"
    ):
        Continual().check(toy())
    untested = replace(load_dataset("digits"), test_labels=torch.zeros(359, dtype=torch.int64))
    with pytest.raises(UserError, match="class '1' of digits has no test images; leave it out, or add some"):
        Continual().check(untested)


def test_what_is_no_study_is_not_registered() -> None:
    with pytest.raises(ValueError, match="study 'continual': a name has a version"):
        register_study("continual")(Continual)
    with pytest.raises(TypeError, match="put @register_study above"):
        register_study("other@2")(dict)
    with pytest.raises(TypeError, match=r"needs measures and measure\(self, bench, made, seed\)"):
        register_study("other@2")(Watcher)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.update(seeds=3), "is not that of its content"),
        (lambda c: c.update(surplus=1), "surplus: extra inputs"),
        (
            lambda c: c["findings"]["metrics"]["final"].update(values=[2.0], low=None, high=None),
            "it lies between 0 and 1",
        ),
        (lambda c: c["runs"][0].update(seed=2), "a run of seed 2, and it has seeds 0 to 1"),
        (lambda c: c["runs"][0].update(status="overdrawn"), "has status overdrawn, and does not count"),
        (
            lambda c: c["runs"][0].update(seconds=40.0),
            "40 s charged to run 0000000000000000, which has a budget of 24 s",
        ),
    ],
)
def test_every_rule_of_a_row_is_checked(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    path = tmp_path / row().name
    write_study(path, row())
    assert read_study(path) == row()
    content = json.loads(path.read_text())
    del content["checksum"]
    change(content)
    content["checksum"] = digest(canonical_json(content))
    path.write_text(json.dumps(content))
    assert complaint in " ".join(check_study(path)[1])
    with pytest.raises(UserError):
        read_study(path)


def test_a_row_of_an_unknown_study_or_under_another_name_is_refused(tmp_path: Path) -> None:
    found = row(study="discontinual@1")
    write_study(tmp_path / found.name, found)
    assert "unknown study 'discontinual@1'; did you mean 'continual@1'?" in check_study(tmp_path / found.name)[1][0]
    write_study(tmp_path / f"x-{row().name}", row())
    assert "it is named otherwise than its content" in check_study(tmp_path / f"x-{row().name}")[1][0]


# -- tables ------------------------------------------------------------------------------------------------------------


def test_rows_measured_alike_stand_in_one_table_the_best_first() -> None:
    real = row("full_data", 0.9, runs=[])
    (other, first) = study_tables(
        [
            row("dm", 0.4),
            row("dm", 0.6, "joint"),
            real.model_copy(
                update={"cell": real.cell.model_copy(update={"protocol": "full-data-10@1", "networks": 1})}
            ),
            row("dm", seeds=1),
            row("odd", findings=Findings(not_applicable="it regresses")),
        ]
    )
    assert [line["method"] for line in first.lines()] == ["full_data", "joint:dm", "dm"]
    assert first.lines()[2] == {"method": "dm", "final": "0.450 ± 0.635", "seeds": "2", "seconds": "6"}
    assert first.lines()[0]["seconds"] == NOTHING
    assert first.reasons == ["odd: it regresses"]
    assert first.heading.startswith(
        "digits, 1 image per class, 120 s on cpu, 2 convnet(depth=2) under quick-300@1, 2 seeds"
    )
    assert [line["method"] for line in other.lines()] == ["dm"]
    page = studies_markdown("continual@1", [first])
    assert "forgetting is the confusion that more classes bring" in page
    assert "Not applicable to odd: it regresses." in page


def test_rows_of_one_method_are_told_apart_by_what_differs() -> None:
    cell = row().cell
    rows = [row(cell=cell.model_copy(update={"hyperparameters": {"lr": lr, "steps": 1}})) for lr in (1, 2)]
    (table,) = study_tables(rows)
    assert sorted(line["method"] for line in table.lines()) == ["good, lr=1", "good, lr=2"] or sorted(
        line["method"] for line in table.lines()
    ) == ["dm, lr=1", "dm, lr=2"]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder of tables with the records of one method, and no published figures."""
    of_one = Path("records", "quickstart", "k_means")
    shutil.copytree(LEADERBOARDS / of_one, tmp_path / "tables" / of_one)
    (tmp_path / "tables" / "published.yaml").write_text("sources: {}\nentries: []\n")
    return tmp_path / "tables"


def filed(tables: Path, found: StudyRecord) -> Path:
    """File a row without its submission."""
    path = tables / "studies" / found.study / found.name
    write_study(path, found)
    return path


def test_rows_are_submitted_checked_and_shown(tables: Path, call: Call) -> None:
    found, out = row("random_real", method_source=source_digest(RandomReal)), tables.parent / "out"
    write_study(out / found.name, found)
    code, _, err = call("submit", out, "--to", tables)
    assert (code, "ready for a pull request" in err) == (0, True), err
    (path,) = (tables / "studies" / "continual@1").iterdir()
    assert read_study(path) == found
    assert "| random_real" in (tables / "studies" / "continual@1.md").read_text()
    assert submit(out, tables).written == []
    path.unlink()
    assert "continual@1.md is of no board with such records; remove it" in check_tables(tables, origins())[0]


def test_an_edited_or_misplaced_row_fails_the_check(tables: Path) -> None:
    path = filed(tables, row("random_real"))
    assert list(study_problems(tables)) == []
    text = path.read_text()
    path.write_text(text.replace('"seeds": 2', '"seeds": 1'))
    (problem,) = check_tables(tables)
    assert "was edited after it was written" in problem
    path.write_text(text)
    other = tables / "studies" / "continual@2" / path.name
    other.parent.mkdir()
    path.rename(other)
    (problem,) = study_problems(tables)
    assert "it is of continual@1; move it to" in problem


def test_the_site_has_a_page_of_studies_where_there_are_some(tables: Path) -> None:
    filed(tables, row("random_real"))
    content, renderer = read_content(tables), Renderer()
    page = renderer.render("studies.html", "studies.html", study_values(content)).decode()
    assert "<th scope=row>random_real" in page
    assert "forgetting is the confusion" in page
    assert "studies.html" in renderer.render("index.html", "index.html", overview_values(content, [])).decode()
    without = overview_values(replace(content, studies=()), [])
    assert "studies.html" not in renderer.render("index.html", "index.html", without).decode()


def test_a_row_under_another_protocol_or_of_an_unknown_method_is_not_filed(tmp_path: Path) -> None:
    (tmp_path / "tables" / "records").mkdir(parents=True)
    described = {**row().protocol, "steps": 299}
    for found in (row("random_real", protocol=described), row("nowhere")):
        write_study(tmp_path / found.name, found)
    complaints = " ".join(submit(tmp_path, tmp_path / "tables").complaints)
    assert "says that quick-300@1 has steps 299; it has 300" in complaints
    assert "method 'nowhere' is not here as it ran" in complaints


# -- from elsewhere ----------------------------------------------------------------------------------------------------

PACKAGE = '''
"""A study in a package of its own."""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import Findings, Measure, Metric, register_study
from ddbench.studies.study import Part


@register_study("twice@1")
@dataclass(frozen=True)
class Twice:
    """How much do two distillations of the same data differ?"""

    measures: ClassVar[tuple[Metric, ...]] = (Metric("images", "how many there are", 0, 1e6),)
    headline: ClassVar[tuple[str, ...]] = ("images",)
    caption: ClassVar[str] = "It shows nothing else."
    variants: ClassVar[tuple[str, ...]] = ()
    references: ClassVar[tuple[str, ...]] = ()
    protocol: ClassVar[str] = "quick-300@1"
    networks: ClassVar[int] = 1
    seeds: ClassVar[int] = 2

    def check(self, data):
        pass

    def parts(self, data, variant, seed):
        return [Part("test", 0.5), Part("only(0,1)", 0.5)]

    def trainings(self, size, cell, variant):
        return []

    def refusal(self, made):
        return None

    def measure(self, bench, made, seed):
        return {"images": [float(sum(len(one.decode()[1]) for one in made))]}

    def findings(self, replicates):
        return Findings(metrics={"images": Measure(values=[one["images"][0] for one in replicates], of="seeds")})
'''


def test_a_study_of_another_package_is_found_and_carried_out(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STUDIES, "_objects", dict(STUDIES._objects))
    site = tmp_path / "site-packages"
    site.mkdir()
    install(site, "ddbench.studies", "outside_twice", PACKAGE)
    monkeypatch.syspath_prepend(site)
    discover()
    assert json.loads(call("list", "studies", "--json")[1])["twice@1"].startswith("How much")
    assert make_study("twice").name == "twice@1"
    code, out, err = call("study", "twice", "-m", "random_real", "--seconds", "1s", "--seeds", 1, "--device", "cpu")
    assert (code, "12, 1 seeds" in out) == (0, True), err
