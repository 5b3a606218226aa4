"""Pictures of curves: what they carry, and labels that do not overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from PIL import Image
from sklearn.isotonic import isotonic_regression

from ddbench.leaderboard import Interval, Origin, boards, plot_curves
from ddbench.leaderboard.curves import Curve, Panel
from ddbench.leaderboard.plots import _figure, _hues, _looks, drawn_from, numbers, spread
from ddbench.records.schema import Record

RECORDS = Path(__file__).resolve().parent.parent / "leaderboards" / "records" / "quickstart"
ORIGINS = {"backprop": Origin("backprop through optimisation", "https://example.org")}


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return boards(RECORDS)["quickstart"]


def test_a_picture_carries_the_digest_of_its_numbers_and_no_versions(records: list[Record], tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    plot_curves(records, first, ORIGINS)
    plot_curves(records[::-1], second, ORIGINS)
    assert first.read_bytes() == second.read_bytes()
    assert drawn_from(first) == numbers(records, ORIGINS)
    with Image.open(first) as image:
        assert list(image.info) == ["ddbench numbers", "dpi"]


def test_another_number_or_family_is_another_digest(records: list[Record]) -> None:
    edited = list(records)
    index = next(index for index, record in enumerate(records) if record.result.curve)
    result = records[index].result
    point = result.curve[0].model_copy(update={"accuracy": result.curve[0].accuracy + 0.01})
    # the median over five seeds hides one; the range does not
    curve = [point.model_copy(update={"accuracy": 0.999}), *result.curve[1:]]
    edited[index] = records[index].model_copy(update={"result": result.model_copy(update={"curve": curve})})
    assert len({numbers(records), numbers(edited), numbers(records, ORIGINS)}) == 3


def test_what_is_no_picture_of_ours_was_drawn_from_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"no picture")
    assert drawn_from(path) is None
    Image.new("RGB", (2, 2)).save(path)
    assert drawn_from(path) is None


def test_a_family_keeps_its_colour_and_its_methods_differ_by_mark() -> None:
    def drawn(*methods: tuple[str, str]) -> list[Panel]:
        curves = tuple(Curve(name, name, family, (), 1.0, Interval(0.5, None, 1)) for name, family in methods)
        return [Panel("x", curves, None)]

    families = {name: Origin(family, "") for name, family in {"a": "one", "b": "two", "c": "control"}.items()}
    full = _looks(drawn(("a", "one"), ("a2", "one"), ("b", "two"), ("c", "control"), ("mine", "")), _hues(families))
    assert full["a"].colour == full["a2"].colour
    assert full["a"].marker != full["a2"].marker
    assert len({full[name].colour for name in ("a", "b", "c", "mine")}) == 4
    assert _looks(drawn(("b", "two")), _hues(families))["b"] == full["b"]
    unknown = _looks(drawn(*((str(index), "") for index in range(7))), _hues({}))
    assert len({look.colour for look in unknown.values()}) == 7


def test_a_wide_interval_ends_where_accuracies_do() -> None:
    panel = Panel("x", (Curve("a", "a", "", (), 1.0, Interval(0.75, 0.5, 3)),), None)
    (bars,) = (made for made in _figure([panel], _hues({})).axes[0].containers if isinstance(made, ErrorbarContainer))
    ((segment,),) = (lines.get_segments() for lines in bars.lines[2])
    assert segment[:, 1].tolist() == pytest.approx([25.0, 100.0])


def test_labels_move_no_further_than_they_must() -> None:
    assert spread([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9])
    assert spread([0.0, 0.0], 0.1) == pytest.approx([0.0, 0.1])
    assert spread([1.0, 1.0], 0.1) == pytest.approx([0.9, 1.0])
    assert spread([], 0.1) == []
    draws = np.random.default_rng(0)
    for count in (2, 5, 20):
        heights = np.sort(draws.uniform(size=count))
        gaps = 0.04 * np.arange(count)
        expected = np.clip(isotonic_regression(heights - gaps), 0, 1 - gaps[-1]) + gaps
        assert spread(heights.tolist(), 0.04) == pytest.approx(expected.tolist())
