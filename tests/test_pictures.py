from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ddbench.artifacts.pictures import GAP, grid, save_figure
from ddbench.errors import UserError

DIGITS = [str(i) for i in range(10)]


def drawn(figure: Figure) -> AxesImage:
    (axis,) = figure.axes
    (image,) = axis.images
    return image


def places(figure: Figure, side: int) -> tuple[int, int]:
    """Rows and columns of the mosaic of images that are enlarged to `side`."""
    height, width = np.asarray(drawn(figure).get_array()).shape[:2]
    return (height + GAP) // (side + GAP), (width + GAP) // (side + GAP)


def test_one_image_per_class_is_a_single_row() -> None:
    figure = grid(torch.rand(10, 1, 8, 8), torch.arange(10), DIGITS, "digits")
    assert places(figure, 96) == (1, 10)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == DIGITS


def test_ten_images_per_class_are_a_square() -> None:
    figure = grid(torch.rand(100, 3, 8, 8), torch.arange(100) % 10, DIGITS, "digits")
    assert places(figure, 96) == (10, 10)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == DIGITS


def test_images_stand_in_the_row_of_their_class_and_are_clipped() -> None:
    images = torch.stack([torch.full((1, 8, 8), value) for value in (2.0, 0.25, -1.0)])
    figure = grid(images, torch.tensor([1, 0, 1]), ["a", "b"], "x")
    mosaic = np.asarray(drawn(figure).get_array())
    assert mosaic[0, 0].tolist() == [0.25, 0.25, 0.25]
    assert mosaic[96 + GAP, 0].tolist() == [1.0, 1.0, 1.0]
    assert mosaic[96 + GAP, 96 + GAP].tolist() == [0.0, 0.0, 0.0]
    assert mosaic[0, 96 + GAP].tolist() == [1.0, 1.0, 1.0]  # class a has one image


def test_soft_labels_count_as_their_largest() -> None:
    soft = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    figure = grid(torch.stack([torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.5)]), soft, ["a", "b"], "x")
    assert np.asarray(drawn(figure).get_array())[0, 0].tolist() == [0.5, 0.5, 0.5]


def test_what_is_left_out_is_said() -> None:
    labels = torch.arange(25).repeat(12)
    figure = grid(torch.rand(300, 1, 8, 8), labels, [f"class {i}" for i in range(25)], "many")
    assert places(figure, 96) == (20, 10)
    assert figure.texts[0].get_text() == "many\nthe first 20 of 25 classes, the first 10 of 12 images per class"


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.rand(2, 2, 8, 8), torch.zeros(2), r"shape \(2, 2, 8, 8\)"),
        (torch.rand(2, 1, 8, 8), torch.zeros(3), "labels of shape"),
        (torch.rand(2, 1, 8, 8), torch.tensor([0, 5]), "from 0 to 5"),
    ],
)
def test_what_cannot_be_drawn_is_named(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        grid(images, labels, ["a", "b"], "x")


def test_pixels_reach_the_file_unsmoothed_and_bytes_repeat(tmp_path: Path) -> None:
    images = torch.tensor([0.0, 1.0]).repeat(32).reshape(1, 1, 8, 8)
    for name in ("a.png", "b.png"):
        save_figure(grid(images, torch.tensor([0]), ["stripes"], "x"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = _read(tmp_path / "a.png")
    line = pixels[40 + 60]
    black = np.flatnonzero(line == 0)
    runs = np.split(black, np.flatnonzero(np.diff(black) > 1) + 1)
    assert [len(run) for run in runs] == [12, 12, 12, 12]


def _read(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(io.BytesIO(path.read_bytes()), format="png"))[..., 0]


def test_classes_without_images_stay_white() -> None:
    figure = grid(torch.zeros(2, 1, 8, 8), torch.tensor([22, 22]), [str(i) for i in range(23)], "x")
    assert np.asarray(drawn(figure).get_array()).min() == 1.0


def test_names_with_dollars_are_no_formulas(tmp_path: Path) -> None:
    figure = grid(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), [r"$\frac{$", "$5"], r"$x$ \and $\y")
    save_figure(figure, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000
