"""What the pages are made of: numbers, names, geometry, pictures and ddbench."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import shlex
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.leaderboard import rows
from ddbench.leaderboard.columns import groups
from ddbench.records.files import read_records
from ddbench.records.schema import Record
from ddbench.registry import METHODS, discover
from ddbench.site import charts, docs, reproduce
from ddbench.site import format as figures
from ddbench.site.content import read_content
from ddbench.site.families import look
from ddbench.site.format import relative, slug
from ddbench.site.pictures import picture
from ddbench.site.sparklines import sparklines
from ddbench.site.tables import tables_of
from factories import Call

STYLE = (Path(charts.__file__).parent / "style.css").read_text()


# -- numbers and names ------------------------------------------------------------------------------------------------


def test_numbers_have_true_signs_and_thin_spaces() -> None:
    assert figures.number(-0.04, 1) == "0.0"
    assert figures.number(1234567.0) == "1\u202f234\u202f567"
    assert figures.difference(0.0123) == "+1.2"
    assert figures.difference(-0.0123) == "\u22121.2"
    assert figures.percent(0.12345) == "12.3"
    assert [figures.significant(value) for value in (0.123456, 12, True, None, "x")] == [
        "0.1235", "12", "true", "none", "x"
    ]  # fmt: skip


def test_names_of_files_are_safe_and_do_not_meet() -> None:
    plain = ["backprop", "dsa-1000@1", "cpu-tuning"]
    assert list(map(slug, plain)) == plain
    strange = ["../../etc/passwd", "a/b", "a b", "a?b", "", ".hidden", "<script>", "x" * 300, "é"]
    assert len({slug(name) for name in strange}) == len(strange)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}", slug(name)) for name in strange)


def test_links_are_relative_to_their_page() -> None:
    assert relative("index.html", "boards/cpu.html") == "boards/cpu.html"
    assert relative("records/cpu/1.html", "style.css") == "../../style.css"


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("ink", ["ink", "soft", "link", "bad", "f0", "f1", "f2", "f3", "f4", "f5"])
def test_text_has_the_contrast_that_wcag_asks_for(theme: int, ink: str) -> None:
    colours = {name: pair.split(", ")[theme] for name, pair in re.findall(r"--(\w+): light-dark\((.*?)\);", STYLE)}
    for ground in ("page", "raised", "leading"):
        light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {ground}"


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2, of `#rgb` or `#rrggbb`."""
    digits = colour.removeprefix("#")
    parts = [
        int(part * (2 if len(digits) == 3 else 1), 16) / 255 for part in re.findall(r"." * (len(digits) // 3), digits)
    ]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# -- what the code says of itself -------------------------------------------------------------------------------------


def test_hyper_parameters_come_with_defaults_and_notes() -> None:
    discover()
    found = {setting.name: setting for setting in docs.settings(METHODS.get("backprop"))}
    assert [field.name for field in dataclasses.fields(METHODS.get("backprop"))] == list(found)
    assert found["lr_initial"] == docs.Setting(
        "lr_initial", "PositiveFloat, LogRange(0.002, 0.2)", "0.02", "initial value of each learned step size"
    )
    assert found["batch_real"].doc == "real images in the outer loss"


@dataclasses.dataclass
class Square:
    side: int = 3
    """side in pixels"""


@dataclasses.dataclass
class Mark(Square):
    colour: str = "red"
    """colour by name"""


def test_notes_of_a_base_are_shown_too() -> None:
    shown = [
        docs.Setting("side", "int", "3", "side in pixels"),
        docs.Setting("colour", "str", "'red'", "colour by name"),
    ]
    assert docs.settings(Mark) == shown


def test_prose_ends_where_sections_begin() -> None:
    def documented() -> None:
        """One.

        Two.

        Args:
            a, b: three
                four
            c: five
        """

    assert docs.prose(documented) == "One.\n\nTwo."
    assert docs.arguments(documented) == {"a": "three four", "b": "three four", "c": "five"}


def test_markdown_takes_no_html_and_loads_nothing() -> None:
    made = docs.render_markdown("a `b` <script>c</script> ![d](https://e) [f](javascript:g)")
    assert "<script" not in made
    assert "<img" not in made
    assert "href" not in docs.render_inline("[f](javascript:g)")
    assert "<code>b</code>" in made


# -- curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 120, [0, 20, 40, 60, 80, 100, 120]),
        (46.4, 72.1, [50, 55, 60, 65, 70]),
        (90, 90.5, [90, 90.1, 90.2, 90.3, 90.4, 90.5]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert charts.nice_ticks(low, high) == ticks


def test_a_chart_has_a_line_for_each_row_but_the_reference(some_records: Path) -> None:
    drawn = next(
        chart for chart in map(charts.chart, groups(rows(read_records(some_records)))) if chart and chart.reference
    )
    assert drawn is not None
    group = next(g for g in groups(rows(read_records(some_records))) if g.heading == drawn.title)
    assert [line.label for line in drawn.lines] == [
        group.label(row) for row in group.rows if row.method != "random_real"
    ]
    heights = [line.end[1] for line in drawn.lines]
    assert heights == sorted(heights), "a better method stands higher"
    assert drawn.reference is not None
    assert all(drawn.size.left <= x <= drawn.size.end for line in drawn.lines for x, _ in (*line.marks, line.end))
    assert all(high <= line.end[1] <= low for line in drawn.lines for high, low in [line.whisker])
    best = group.rows[0].accuracy
    assert best is not None
    assert drawn.lines[0].accuracy == f"{100 * best.mean:.1f}"
    assert f"{group.label(group.rows[0])} {100 * best.mean:.1f} % after" in drawn.description


def faster(record: Record, times: float) -> Record:
    seconds = {phase: spent / times for phase, spent in record.measured.seconds.items()}
    points = [spent / times for spent in record.measured.curve_seconds]
    measured = record.measured.model_copy(update={"seconds": seconds, "curve_seconds": points})
    return record.model_copy(update={"measured": measured})


@pytest.mark.parametrize(("times", "steps"), [(1, "even"), (100, "growing")])
def test_seconds_are_logarithmic_where_runs_differ_much(some_records: Path, times: int, steps: str) -> None:
    records = [
        faster(record, times if record.result.cell.method == "distribution_matching" else 1)
        for record in read_records(some_records / "records" / "cpu")
    ]
    group = next(group for group in groups(rows(records)) if group.heading == "mnist, 1 image per class")
    drawn = charts.chart(group)
    assert drawn is not None
    assert drawn.logarithmic == (steps == "growing")
    at = {text: x for x, text in drawn.seconds}
    if steps == "even":
        assert at["40"] - at["20"] == pytest.approx(at["60"] - at["40"], abs=0.2)
    else:
        assert at["10"] - at["1"] == pytest.approx(at["100"] - at["10"], abs=0.2)
    ends = {line.label: line.end[0] for line in drawn.lines}
    assert (ends["distribution_matching"] < ends["gradient_matching"] - 100) == (steps == "growing")


def test_labels_stand_a_line_apart_in_the_order_of_their_curves(some_records: Path) -> None:
    for group in groups(rows(read_records(some_records))):
        if drawn := charts.chart(group, charts.SMALL):
            marks = [(line.end[1], line.label_y) for line in drawn.lines]
            marks += [(drawn.reference.y, drawn.reference.label_y)] if drawn.reference else []
            labels = [label for _, label in sorted(marks)]
            assert all(b - a >= charts.LINE_HEIGHT - 0.2 for a, b in itertools.pairwise(labels))
            assert drawn.size.top <= labels[0]
            assert labels[-1] <= drawn.size.floor


def test_a_table_sets_rank_1_apart_and_draws_intervals_on_one_axis(some_records: Path) -> None:
    (board, _) = read_content(some_records).boards
    for made in tables_of(board):
        assert [line.row for line in made.lines if line.leading] == [row for row in made.group.rows if row.rank == 1]
        assert {part.heading for part in made.parts} >= {"Cost", "Anytime"}
        low = min(line.row.accuracy.mean - line.row.accuracy.half_width for line in made.lines)
        high = max(line.row.accuracy.mean + line.row.accuracy.half_width for line in made.lines)
        for line in made.lines:
            assert line.whisker is not None
            assert line.whisker.middle == pytest.approx(100 * (line.row.accuracy.mean - low) / (high - low), abs=0.1)
            assert 0 <= line.whisker.left <= line.whisker.middle <= line.whisker.right <= 100


def test_a_table_answers_whether_a_distilled_set_beats_the_best_selected_one(some_records: Path) -> None:
    (board, _) = read_content(some_records).boards
    (said,) = next(
        made for made in tables_of(board) if made.group.heading == "mnist, 1 image per class"
    ).against_selection
    found = re.match(
        r"Does any distilled set beat the best selected one \(hard labels\)\? (.+): \+([\d.]+) ± ([\d.]+) points, \w+ ",
        said,
    )
    assert found
    assert (found[1] == "Yes") == (float(found[2]) > float(found[3]))
    assert "against herding" in said


def test_words_and_numbers_of_a_table_are_told_apart(some_records: Path) -> None:
    (board, _) = read_content(some_records).boards
    cost, anytime, *_ = tables_of(board)[0].parts
    assert cost.words == {"charged seconds", "not charged", "stored kB"}
    assert anytime.words == set()


def test_what_was_logged_becomes_a_line_that_ends_where_it_ended(some_records: Path) -> None:
    record = next(record for record in read_records(some_records) if record.measured.log)
    for line in sparklines(record):
        series = record.measured.log[line.name]
        values = [value for _, value in series]
        assert (line.first, line.last, line.low, line.high) == (values[0], values[-1], min(values), max(values))
        moves = [tuple(map(int, move)) for move in re.findall(r"(-?\d+)\s?(-?\d+)", line.path)]
        assert len(moves) <= 45
        x, y = map(sum, zip(*moves, strict=True))
        assert x == 200
        assert y == round(36 * (line.high - line.last) / (line.high - line.low))


# -- pictures ---------------------------------------------------------------------------------------------------------


def artefact(path: Path, images: torch.Tensor, labels: torch.Tensor, kind: str = "normalize") -> Path:
    channels = images.shape[1]
    provenance = {"preprocessing": {"kind": kind, "mean": [0.5] * channels, "std": [0.25] * channels, "eps": 0.1}}
    DistilledDataset.pixels(images, labels).with_provenance(provenance).save(path)
    return path


def test_a_picture_undoes_the_preprocessing(tmp_path: Path) -> None:
    images = torch.tensor([-2.0, 0.0, 1.0, 9.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)  # 0, 0.5, 0.75, above 1
    made = picture(artefact(tmp_path / "a.safetensors", images, torch.tensor([1, 0, 0, 1])))
    assert made is not None
    pixels = matplotlib.image.imread(io.BytesIO(made.png))  # two classes in rows, two images each, gaps of one pixel
    assert pixels.shape == (5, 5, 4)
    seen = np.array([[pixels[0, 0], pixels[0, 4]], [pixels[4, 0], pixels[4, 4]]])
    np.testing.assert_allclose(seen[..., 0], [[0.5, 0.75], [0.0, 1.0]], atol=1 / 255)
    np.testing.assert_array_equal(seen[..., 3], 1.0)
    assert pixels[2, 2, 3] == 0.0, "gaps are transparent"
    assert made.note == "2 images of each class, all classes in their order"
    assert made.width == made.height == 5 * 58


def test_one_image_a_class_is_one_row(tmp_path: Path) -> None:
    made = picture(artefact(tmp_path / "a.safetensors", torch.zeros(12, 3, 4, 4), torch.arange(12)))
    assert made is not None
    assert matplotlib.image.imread(io.BytesIO(made.png)).shape == (4, 10 * 5 - 1, 4)
    assert made.note == "1 image of each class, the first 10 of 12 classes in their order"


def test_what_the_file_alone_cannot_say_has_no_picture(tmp_path: Path) -> None:
    images, labels = torch.zeros(2, 1, 2, 2), torch.arange(2)
    assert picture(artefact(tmp_path / "zca.safetensors", images, labels, "zca")) is None
    DistilledDataset.pixels(images, labels).save(tmp_path / "bare.safetensors")
    assert picture(tmp_path / "bare.safetensors") is None
    (tmp_path / "broken.safetensors").write_bytes(b"no artefact")
    assert picture(tmp_path / "broken.safetensors") is None


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_the_commands_of_a_record_make_its_artefact_and_scores_again(call: Call, tmp_path: Path) -> None:
    settings = {"batch_real": 16, "augment": False, "lr_images": 0.1}
    chosen = {"ipc": 1, "seed": 1, "network": "convnet,depth=1,width=8", "device": "cpu"}
    first = tmp_path / "first.safetensors"
    record = ddbench.distill("dm", "digits", first, budget="0.4s", settings=settings, **chosen)  # type: ignore[arg-type]
    assert record.result.status == "truncated"
    written = reproduce.of_run(record)
    assert written is not None
    assert "compile" not in written[0]
    printed = ""
    for command in written:
        program, *words = shlex.split(command.replace("\\\n", ""))
        code, out, err = call(*words, *(["--json"] if words[0] == "score" else []))
        assert (program, code) == ("ddbench", 0), err
        printed += out
    again = DistilledDataset.load(tmp_path / reproduce.DISTILLED).parts
    assert all(torch.equal(again[name], part) for name, part in DistilledDataset.load(first).parts.items())
    scores = [score.model_dump(mode="json") for score in ddbench.score(first)]
    assert json.loads(printed) == scores


@pytest.mark.parametrize("steps", [10, 5000])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_command_says_whether_to_compile_where_its_steps_would_decide_otherwise(
    steps: int, compiled: bool, some_records: Path
) -> None:
    record = read_records(some_records / "records" / "cpu" / "herding")[0]
    result = record.result.model_copy(update={"status": "truncated", "steps_done": {"distil": steps}})
    measured = record.measured.model_copy(update={"environment": {"compiled": compiled}})
    written = reproduce.of_run(record.model_copy(update={"result": result, "measured": measured}))
    assert written is not None
    said = {word for word in written[0].split() if "compile" in word}
    assert said == {(True, 10): {"--compile"}, (False, 5000): {"--no-compile"}}.get((compiled, steps), set())


def test_a_setting_that_the_method_lost_and_that_was_off_is_not_in_its_command(some_records: Path) -> None:
    record = read_records(some_records / "records" / "cpu" / "herding")[0]
    cell = record.result.cell
    lost = cell.model_copy(update={"hyperparameters": {**cell.hyperparameters, "lost": None, "gone": 3}})
    result = record.result.model_copy(update={"cell": lost})
    written = reproduce.of_run(record.model_copy(update={"result": result}))
    assert written is not None
    assert "gone=3" in written[0]
    assert "lost" not in written[0]


def test_what_options_cannot_say_has_the_command_of_its_board_alone(some_records: Path) -> None:
    record = read_records(some_records / "records" / "cpu" / "herding")[0]
    cell = record.result.cell
    assert reproduce.of_cell("cpu", cell).replace(" \\\n ", "") == (
        f"ddbench evaluate configs/cpu.yaml --method herding --dataset {cell.dataset} --ipc 1"
    )
    for change in ({"split": "validation(0.1)"}, {"preprocessing": "zca"}, {"threads": 2}):
        result = record.result.model_copy(update={"cell": cell.model_copy(update=change)})
        assert reproduce.of_run(record.model_copy(update={"result": result})) is None


def test_the_four_families_have_looks_of_their_own() -> None:
    names = ("backprop", "distribution_matching", "gradient_matching", "trajectory_matching", "random_real")
    assert [look(name) for name in names] == [0, 1, 2, 3, 4]
    assert {look(name) for name in ("kernel_inducing_points", "realistic_patches", "nobody's")} == {5}
