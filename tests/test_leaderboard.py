from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json, digest
from ddbench.leaderboard import (
    boards,
    check_tables,
    csv_table,
    markdown,
    plot_curves,
    render,
    rich_table,
    rows,
    write_tables,
)
from ddbench.leaderboard.tables import READING
from ddbench.records.cell import Budget, Scoring
from ddbench.records.files import dump_record, write_record
from ddbench.records.loops import main_loop
from ddbench.records.schema import Record
from ddbench.stats import Interval, interval, paired_difference
from factories import CONVNET, make_record


def with_loops(record: Record, planned: dict[str, int], flops: int | None) -> Record:
    """The same run with these loops, all but a step of each done."""
    done = {name: steps - 1 for name, steps in planned.items()}
    return record.model_copy(
        update={
            "result": record.result.model_copy(update={"steps_planned": planned, "steps_done": done}),
            "measured": record.measured.model_copy(update={"flops_per_step": flops}),
        }
    )


@pytest.mark.parametrize("order", [list, reversed])
@pytest.mark.parametrize(
    ("planned", "flops", "steps"),
    [
        ({"distil": 5}, 7, "4/5"),
        ({"distil": 5}, None, "4/5"),
        ({"distil": 5, "experts": 9}, 7, "4/5"),
        ({"outer": 5}, 7, "4/5"),
        ({"experts": 9, "outer": 5}, 7, "4/5"),
        ({"warm-up": 2, "experts": 9, "outer": 5}, 7, "4/5"),
        ({"feature network": 9}, None, "–"),  # noqa: RUF001
        ({"experts": 9}, None, "–"),  # noqa: RUF001
        ({}, None, "–"),  # noqa: RUF001
    ],
)
def test_steps_are_those_of_the_loop_that_makes_the_artefact(
    planned: dict[str, int], flops: int | None, steps: str, order: Callable[[Any], Iterable[tuple[str, int]]]
) -> None:
    """Whatever a method calls it; the keys of a record have no order."""
    run = make_record("good", 0, (0.5,), seconds={"distil": 1.0, "experts": 1.0})
    (row,) = rows([with_loops(run, dict(order(list(planned.items()))), flops)])
    assert row.steps == steps


def test_a_loop_that_has_snapshots_need_not_have_counted_operations() -> None:
    run = make_record("good", 0, (0.5,), curve=((1.0, 0.5),))
    assert main_loop(with_loops(run, {"outer": 5}, None)) == "outer"


RANDOM = [0.40, 0.42, 0.44, 0.46, 0.48]
GOOD = [0.70, 0.71, 0.75, 0.75, 0.79]


@pytest.fixture
def tiny() -> list[Record]:
    """The reference on 20 seeds, a good method on 5, a cut-short one on 2, and one that always diverges."""
    records = [make_record("random_real", seed, (RANDOM[seed % 5],), seconds={"distil": 0.01}) for seed in range(20)]
    for seed, accuracy in enumerate(GOOD):
        curve = ((2.0, 0.5), (4.0 + seed, 0.6 + seed / 100))
        scores = (accuracy - 0.01, accuracy + 0.01)
        records.append(make_record("good", seed, scores, steps=(100, 100), curve=curve, seconds={"distil": 9.0 + seed}))
    for seed, accuracy in ((0, 0.41), (1, 0.41)):
        records.append(make_record("slow", seed, (accuracy,), steps=(30, 100), status="truncated"))
    records.append(make_record("wild", 0, (), steps=(7, 100), status="diverged", reason="loss is NaN | step 7"))
    return records


def test_interval_uses_students_t() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    # t(0.975, 4) = 2.776, standard deviation 1.5811, square root of n 2.2361
    assert found.mean == 3.0
    assert found.half_width == pytest.approx(2.776 * 1.58114 / 2.23607, rel=1e-3)
    assert found.n == 5


def test_interval_of_one_value_has_no_width() -> None:
    assert interval([0.5]) == Interval(0.5, None, 1)
    assert not interval([0.5]).excludes_zero
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_paired_difference_takes_common_seeds() -> None:
    found = paired_difference({0: 0.5, 1: 0.7, 9: 0.0}, {0: 0.4, 1: 0.4, 2: 1.0})
    assert found is not None
    # differences 0.1 and 0.3: mean 0.2, deviation 0.141421, t(0.975, 1) = 12.706
    assert found.mean == pytest.approx(0.2)
    assert found.half_width == pytest.approx(12.7062 * 0.1414214 / 1.4142136, rel=1e-4)
    assert found.n == 2
    assert not found.excludes_zero
    assert paired_difference({0: 0.5}, {1: 0.5}) is None


def test_rows_are_means_over_networks_then_seeds(tiny: list[Record]) -> None:
    by_method = {row.method: row for row in rows(tiny)}
    good = by_method["good"]
    assert good.accuracy is not None
    assert good.accuracy.mean == pytest.approx(0.74)
    # deviations -.04 -.03 .01 .01 .05: squares sum to .0052, deviation .0360555
    assert good.accuracy.half_width == pytest.approx(2.776445 * 0.0360555 / 5**0.5, rel=1e-4)
    assert good.versus_random is not None
    # differences .30 .29 .31 .29 .31: mean .30, deviation .01
    assert good.versus_random.mean == pytest.approx(0.30)
    assert good.versus_random.half_width == pytest.approx(2.776445 * 0.01 / 5**0.5, rel=1e-4)
    assert (good.seconds, good.steps, good.seeds) == (11.0, "100/100", [0, 1, 2, 3, 4])
    assert good.seconds_by_phase == {"distil": 11.0}
    assert good.budget == "120 s"
    assert by_method["random_real"].versus_random is None
    assert by_method["random_real"].steps == "–"  # noqa: RUF001


def test_rows_are_ordered_by_accuracy_with_failures_last(tiny: list[Record]) -> None:
    assert [row.method for row in rows(tiny)] == ["good", "random_real", "slow", "wild"]
    later = [make_record("a", 0, (0.1,), ipc=10), make_record("b", 0, (0.1,), dataset="apples")]
    assert [row.method for row in rows(tiny + later)] == ["b", "good", "random_real", "slow", "wild", "a"]


def test_failed_row_is_shown_with_status_and_reason(tiny: list[Record]) -> None:
    wild = rows(tiny)[-1]
    assert wild.accuracy is None
    assert wild.statuses == {"diverged": 1}
    assert wild.reasons == {"diverged": ("loss is NaN | step 7",)}
    line = next(line for line in markdown(tiny, "x").splitlines() if line.startswith("|      – | wild"))  # noqa: RUF001
    assert line.endswith(r"| 1 diverged (loss is NaN \| step 7) |")


def test_partly_failed_row_keeps_its_scores() -> None:
    records = [make_record("mixed", 0, (0.5,)), make_record("mixed", 1, (), status="failed", seconds={"distil": 99.0})]
    (row,) = rows(records)
    assert row.accuracy == Interval(0.5, None, 1)
    assert (row.seconds, row.seeds, row.statuses) == (10.0, [0, 1], {"ok": 1, "failed": 1})


def test_newest_attempt_wins_whatever_the_zone() -> None:
    old = make_record("good", 0, (0.1,), finished="2025-01-01T12:00:00+02:00")
    new = make_record("good", 0, (0.9,), finished="2025-01-01T11:00:00Z")
    for records in ([old, new], [new, old]):
        (row,) = rows(records)
        assert row.accuracy == Interval(0.9, None, 1)


def test_what_else_a_run_was_scored_with_makes_no_other_row() -> None:
    way = Scoring(network=CONVNET, protocol="long@1", networks=1)
    old = make_record("good", 0, (0.1,), finished="2025-01-01T12:00:00+00:00")
    new = make_record("good", 0, (0.9,), finished="2025-01-01T13:00:00+00:00", also=[way])
    (row,) = rows([old, new])
    assert row.accuracy == Interval(0.9, None, 1)


def test_reference_may_have_another_budget_but_not_another_protocol() -> None:
    ours = make_record("good", 0, (0.75,))
    other_budget = make_record("random_real", 0, (0.35,), budget=Budget(steps=1), hyperparameters={})
    other_protocol = make_record("random_real", 0, (0.5,), protocol="long@1")
    by_method = {row.method: row for row in rows([ours, other_budget])}
    assert by_method["good"].versus_random == Interval(0.4, None, 1)
    assert all(row.versus_random is None for row in rows([ours, other_protocol]))


def test_the_spread_of_evaluation_networks_is_pooled_over_runs() -> None:
    # variances 0.01 and 0.04 of ten networks each: sqrt(0.025)
    first, second = (
        tuple(0.5 + (variance * 9 / 10) ** 0.5 * (-1) ** index for index in range(10)) for variance in (0.01, 0.04)
    )
    records = [make_record("good", 0, first), make_record("good", 1, second)]
    (row,) = rows(records)
    assert row.spread == pytest.approx(0.025**0.5)
    text = markdown(records, "x")
    assert "|   std % |" in text
    assert "|    15.8 |" in text
    (few,) = rows([make_record("good", 0, first[:9])])
    assert few.spread is None
    assert "std %" not in markdown([make_record("good", 0, first[:9])], "x")


def test_markdown_of_a_tiny_board() -> None:
    records = [make_record("random_real", seed, (RANDOM[seed],), seconds={"distil": 0.0}) for seed in range(5)]
    records += [make_record("good", seed, (GOOD[seed],), steps=(60, 100)) for seed in range(5)]
    records += [make_record("wild", 0, (), steps=(7, 100), status="diverged", reason="loss is NaN")]
    assert markdown(records, "Tiny") == EXPECTED


READ = "\n".join(
    f"- **{column}**: {READING[column]}"
    for column in ("rank", "accuracy %", "n", "vs random", "seconds", "stored kB", "state")
)
EXPECTED = f"""\
# Tiny

Accuracy under `dsa-1000@1` (convnet(depth=2), 2 evaluation networks a run, setting random, preprocessing normalize, \
test split, cpu, 1 thread) with a budget of 120 s a run.

How to read:

{READ}

## digits, 1 image per class

|   rank | method      |   accuracy % |   n |       vs random |   seconds |   stored kB | state   | status                   |
|-------:|:------------|-------------:|----:|----------------:|----------:|------------:|:--------|:-------------------------|
|      1 | good        |   74.0 ± 4.5 |   5 | **+30.0 ± 1.2** |      10.0 |         2.6 | claimed | ok                       |
|      2 | random_real |   44.0 ± 3.9 |   5 |               – |       0.0 |         2.6 | claimed | ok                       |
|      – | wild        |            – |   0 |               – |      10.0 |         2.6 | –       | 1 diverged (loss is NaN) |

### Cost

| method      | charged seconds   | not charged   |   peak MB |   steps |               stored kB |
|:------------|:------------------|:--------------|----------:|--------:|------------------------:|
| good        | distil 10.0       | 0.0           |         4 |  60/100 | images 2.6 + labels 0.1 |
| random_real | 0.0               | 0.0           |         4 |       – | images 2.6 + labels 0.1 |
| wild        | distil 10.0       | 0.0           |         4 |   7/100 | images 2.6 + labels 0.1 |
"""  # noqa: E501, RUF001


def test_tables_say_what_a_protocol_is() -> None:
    own, other = {"name": "long@1", "source": "ours"}, {"name": "a@1", "source": "theirs"}
    record = make_record("good", 0, (0.9,)).model_copy(update={"protocol": own, "also_protocols": {"a@1": other}})
    assert "How to read:\n\n- **a@1**: theirs.\n- **long@1**: ours.\n- **rank**" in markdown([record], "x")


def test_tables_split_and_name_what_differs() -> None:
    records = [
        make_record("good", 0, (0.5,)),
        make_record("good", 0, (0.6,), hyperparameters={"lr": 1.0}),
        make_record("good", 0, (0.7,), protocol="long@1"),
        make_record("good", 0, (0.7,), protocol="long@1", budget=Budget(steps=500)),
    ]
    text = markdown(records, "x")
    assert "## digits, 1 image per class, dsa-1000@1" in text
    assert "## digits, 1 image per class, long@1" in text
    assert "| good (lr=1.0) " in text
    assert "| good (500 steps) " in text
    assert "budget of 120 s, 500 steps a run" in text


def test_tables_do_not_depend_on_the_order_of_records(tiny: list[Record], tmp_path: Path) -> None:
    shuffled = list(tiny)
    random.Random(0).shuffle(shuffled)
    assert markdown(tiny, "x") == markdown(shuffled, "x")
    assert csv_table(tiny) == csv_table(shuffled)
    plot_curves(tiny, tmp_path / "a.png")
    plot_curves(shuffled, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_csv_can_be_read_back(tiny: list[Record]) -> None:
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(csv_table(tiny)))}
    good, wild = lines["good"], lines["wild"]
    assert (good["accuracy"], good["accuracy_n"]) == ("0.740000", "5")
    assert (good["versus_random"], good["versus_random_n"]) == ("0.300000", "5")
    assert json.loads(good["hyperparameters"]) == {"lr": 0.5}
    assert json.loads(good["stored_bytes"]) == {"images": 2560, "labels": 80}
    assert (wild["accuracy"], wild["accuracy_half_width"], wild["accuracy_n"]) == ("", "", "0")
    assert json.loads(wild["reasons"]) == {"diverged": ["loss is NaN | step 7"]}
    assert csv_table([]) == ""


def test_terminal_tables_hold_the_same_lines(tiny: list[Record]) -> None:
    (table,) = rich_table(tiny)
    assert str(table.title) == "digits, 1 image per class"
    assert [str(column.header) for column in table.columns][:5] == ["rank", "method", "accuracy %", "n", "vs random"]
    assert [str(cell) for cell in table.columns[1].cells] == ["good", "random_real", "slow", "wild"]
    assert [str(cell) for cell in table.columns[4].cells][:2] == ["+30.0 ± 1.2", "–"]  # noqa: RUF001


def test_small_negative_difference_is_not_minus_zero() -> None:
    records = [make_record("good", 0, (0.49999,)), make_record("random_real", 0, (0.5,))]
    assert " +0.0 " in markdown(records, "x")


def test_plot_without_curves_or_seconds(tmp_path: Path) -> None:
    plot_curves([], tmp_path / "none.png")
    plot_curves([make_record("herding", 0, (0.5,), seconds={"distil": 0.0})], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 0


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_render_writes_what_there_is(tiny: list[Record], tmp_path: Path) -> None:
    for record in tiny:
        write_record(tmp_path / "records" / f"{record.key}.json", record)
    written = render(tmp_path / "records", tmp_path / "out", "Tiny")
    assert [path.name for path in written] == ["leaderboard.md", "leaderboard.csv", "curves.png"]
    assert (tmp_path / "out" / "leaderboard.md").read_text() == markdown(tiny, "Tiny")
    without = [record for record in tiny if not record.result.curve]
    assert [path.name for path in render(without, tmp_path / "b", "x")] == ["leaderboard.md", "leaderboard.csv"]


def test_render_of_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `ddbench evaluate` first"):
        render(tmp_path, tmp_path / "out", "x")


def test_empty_markdown() -> None:
    assert markdown([], "x") == "# x\n\nNo records yet.\n"


@pytest.fixture
def committed(tiny: list[Record], tmp_path: Path) -> Path:
    """A folder as it stands in a repository: records of a board, and the tables they give."""
    folder = tmp_path / "tables"
    for record in tiny:
        write_record(folder / "records" / "tiny" / record.result.cell.method / f"{record.key}.json", record)
    (tmp_path / "README.md").write_text(README)
    write_tables(folder, folder)
    return folder


README = """\
before
<!-- leaderboard: tiny -->
anything
<!-- end of leaderboard -->
after
"""


def test_committed_tables_are_what_the_records_give(committed: Path, tiny: list[Record]) -> None:
    assert (committed / "tiny.md").read_text() == markdown(tiny, "tiny")
    assert (committed / "tiny.csv").read_text() == csv_table(tiny)
    assert (committed / "tiny.png").is_file()
    assert [*boards(committed)] == ["tiny"]
    assert check_tables(committed) == []


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_an_edited_table_is_found(committed: Path) -> None:
    table = committed / "tiny.md"
    table.write_text(table.read_text().replace("74.0", "75.0"))
    (complaint,) = check_tables(committed)
    assert complaint == f"{table} is not what its records give; run `ddbench leaderboard {committed}`"


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_a_missing_table_is_found(committed: Path) -> None:
    (committed / "tiny.csv").unlink()
    (complaint,) = check_tables(committed)
    assert complaint.startswith(f"{committed / 'tiny.csv'} is missing; run `ddbench leaderboard")


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_an_edited_record_is_found(committed: Path) -> None:
    path = next((committed / "records" / "tiny" / "good").iterdir())
    path.write_text(path.read_text().replace('"accuracy": 0.6', '"accuracy": 0.9', 1))
    (complaint,) = check_tables(committed)
    assert complaint.startswith(f"{path} was edited after it was written")


def test_readme_shows_the_board_that_it_names(committed: Path) -> None:
    text = (committed.parent / "README.md").read_text()
    begin = "before\n<!-- leaderboard: tiny -->\n**Leaderboard [tiny](tables/tiny.md).** Accuracy under"
    assert text.startswith(begin)
    assert "[every record](tables/records/tiny) lies beside it.\n\n- Best on digits, ipc 1: good 74.0 ± 4.5, " in text
    assert "\n\n| method      |          digits, ipc 1 |\n" in text
    assert "| good        | **74.0 ± 4.5 (+23.0)** |\n" in text
    assert "| wild        |               diverged |\n" in text
    assert text.endswith("(tables/tiny.png)\n<!-- end of leaderboard -->\nafter\n")
    assert "anything" not in text
    assert "100/100" not in text
    assert check_tables(committed) == []


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_an_outdated_readme_is_found(committed: Path) -> None:
    readme = committed.parent / "README.md"
    readme.write_text(readme.read_text().replace("74.0", "75.0"))
    (complaint,) = check_tables(committed)
    assert complaint == f"{readme} does not show what the records give; run `ddbench leaderboard {committed}`"


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_a_readme_without_marks_or_of_another_board_is_left_alone(committed: Path) -> None:
    for text in ("no marks", README.replace("leaderboard: tiny", "leaderboard: other")):
        (committed.parent / "README.md").write_text(text)
        write_tables(committed, committed)
        assert (committed.parent / "README.md").read_text() == text
        assert check_tables(committed) == []


def test_the_digest_is_in_a_heading_only_where_one_name_stands_for_several_data() -> None:
    two_names = [make_record("good", 0, (0.5,)), make_record("good", 0, (0.5,), dataset="b", dataset_digest="sha256:e")]
    assert "## digits, 1 image per class\n" in markdown(two_names, "x")
    one_name = [make_record("good", 0, (0.5,)), make_record("good", 0, (0.5,), dataset_digest="sha256:e")]
    assert "## digits, 1 image per class, data e\n" in markdown(one_name, "x")


HOSTILE = "<img src=x onerror=alert(1)> | [x](http://y) ![x](z) `a` **b** \\\n# c\x1b]0;title\x07\u202e"


def hostile() -> list[Record]:
    """Two records of one method, told apart by a hyper-parameter, and one that failed for a reason."""
    settings = [{"init": HOSTILE}, {"init": HOSTILE + "2"}]
    records = [make_record("odd", 0, (0.5,), hyperparameters=setting) for setting in settings]
    named = {"dataset": "d<img src=x>[y](z)|*`", "preprocessing": "p<img src=x>[y](z)"}
    protocol = {"protocol": {"name": HOSTILE, "source": HOSTILE}}
    lost = make_record("lost", 0, (), status="failed", reason=HOSTILE, **named)
    return [*records, lost.model_copy(update=protocol)]


def test_markdown_shows_what_a_record_says_and_does_nothing_of_it() -> None:
    text = markdown(hostile(), "Title " + HOSTILE)
    assert text.replace("\n", "").isprintable()
    plain = re.sub(r"\\[\\|*<`\[]", "", text)
    assert "<" not in plain
    assert "[" not in plain
    assert sum(line.startswith("# ") for line in plain.splitlines()) == 1
    for table in plain.split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_terminal_shows_what_a_record_says_and_does_nothing_of_it() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=400, force_terminal=True, color_system=None)
    for table in rich_table(hostile()):
        console.print(table)
    assert shown.getvalue().replace("\n", "").isprintable()
    assert r"\x1b]0;title\x07" in shown.getvalue()
    assert "[x](http://y)" in shown.getvalue()


@pytest.mark.parametrize("board", ["../x", "/x", "a/b", ".x", "x](http:y"])
def test_no_board_leads_out_of_the_folder(tmp_path: Path, board: str) -> None:
    content = json.loads(dump_record(make_record("odd", 0, (0.5,)))) | {"board": board}
    del content["checksum"]
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "r.json").write_bytes(
        canonical_json(content | {"checksum": digest(canonical_json(content))})
    )
    with pytest.raises(UserError, match="board: string should match pattern"):
        write_tables(tmp_path / "records", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["r.json", "records"]


def test_names_with_dollars_are_drawn(tmp_path: Path) -> None:
    settings = [{"init": r"$\frac{$"}, {"init": "$2$"}]
    records = [
        make_record("odd", 0, (0.5,), hyperparameters=own, curve=((1.0, 0.5),), dataset="x $x$ {") for own in settings
    ]
    plot_curves(records, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000
