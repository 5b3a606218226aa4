"""Normalisation and the two ZCA whitenings, against hand-made and independent results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from ddbench.data import Dataset, Preprocessing, make_dataset
from ddbench.data.preprocess import KINDS, WHITENING, Transform, measure
from ddbench.data.whitening import RegularizedZCA, typical, unit_images
from ddbench.errors import UserError
from factories import toy, toy_arrays


def test_normalisation_by_hand() -> None:
    dataset = toy(1)
    transform = Preprocessing("normalize", (0.5,), (0.25,)).fit(dataset)
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    out = transform(pixels)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.flatten(), torch.tensor([-2.0, -1.2, 2.0]))
    torch.testing.assert_close(transform.inverse(out).flatten(), torch.tensor([0.0, 0.2, 1.0]))


def test_each_channel_has_its_own_statistics() -> None:
    dataset = toy()
    images = dataset.train_images.double() / 255
    mean, std = measure(dataset)
    assert mean == tuple(round(value, 4) for value in images.mean((0, 2, 3)).tolist())
    assert std == tuple(round(value, 4) for value in images.std((0, 2, 3), correction=0).tolist())
    out = Preprocessing.for_dataset(dataset, "normalize").fit(dataset)(dataset.train_images)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), atol=3e-3, rtol=0)


def test_pinned_statistics_follow_the_name_and_the_channels() -> None:
    assert Preprocessing.for_dataset(make_dataset("cifar10", **toy_arrays()), "normalize").std == (
        0.2023,
        0.1994,
        0.2010,
    )
    assert Preprocessing.for_dataset(make_dataset("imagenette64", **toy_arrays())).mean == (0.485, 0.456, 0.406)
    assert Preprocessing.for_dataset(make_dataset("cifar10", **toy_arrays()), "zca").mean == (0.0, 0.0, 0.0)
    grey = make_dataset("cifar10", **toy_arrays(1))
    assert Preprocessing.for_dataset(grey, "normalize").mean == measure(grey)[0]


def test_a_constant_channel_stays_finite() -> None:
    blank = toy(train_images=np.full((21, 4, 4, 3), 51, np.uint8))
    assert measure(blank) == ((0.2, 0.2, 0.2), (1.0, 1.0, 1.0))


def test_zca_whitens_up_to_eps() -> None:
    dataset = toy(1, train_images=correlated())
    preprocessing = Preprocessing.for_dataset(dataset, "zca")
    assert preprocessing.eps == 0.1
    white = preprocessing.fit(dataset)(dataset.train_images)
    (mean,), (std,) = preprocessing.mean, preprocessing.std
    pixels = (dataset.train_images.numpy().reshape(21, 16) / 255.0 - mean) / std
    values, vectors = np.linalg.eigh(np.cov(pixels.T))
    expected = (pixels - pixels.mean(0)) @ (vectors / np.sqrt(values + 0.1)) @ vectors.T
    np.testing.assert_allclose(white.reshape(21, 16).numpy(), expected, atol=1e-4)
    spectrum = np.linalg.eigvalsh(np.cov(white.reshape(21, 16).numpy().T))
    np.testing.assert_allclose(spectrum, np.sort(values / (values + 0.1)), atol=1e-4)


def test_zca_with_little_eps_gives_the_identity_covariance() -> None:
    source = toy_arrays(1)
    images = np.random.RandomState(1).randint(0, 256, (400, 4, 4, 1)).astype(np.uint8)
    dataset = make_dataset("toy", images, np.arange(400) % 3, source["test_images"], source["test_labels"])
    white = Preprocessing("zca", (0.5,), (0.3,), 1e-6).fit(dataset)(dataset.train_images)
    np.testing.assert_allclose(np.cov(white.reshape(400, 16).numpy().T), np.eye(16), atol=1e-3)


def correlated() -> np.ndarray[Any, Any]:
    random = np.random.RandomState(3)
    steps = random.randint(0, 17, (21, 4, 4, 1)) + random.randint(0, 120, (21, 1, 1, 1))
    return steps.astype(np.uint8)


def test_zca_can_be_undone() -> None:
    dataset = toy()
    transform = Preprocessing.for_dataset(dataset, "zca").fit(dataset)
    pixels = transform.inverse(transform(dataset.test_images))
    torch.testing.assert_close(pixels, dataset.test_images / 255, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_description_survives_json(kind: str) -> None:
    dataset = toy()
    preprocessing = Preprocessing.for_dataset(dataset, kind)
    described = preprocessing.fit(dataset).describe()
    assert set(described) == {"kind", "mean", "std", "eps", "checksum"}
    assert described["eps"] == (0.1 if kind in WHITENING else 0.0)
    again = Preprocessing.from_description(json.loads(json.dumps(described)))
    assert again == preprocessing
    assert again.fit(dataset).describe() == described


@pytest.mark.parametrize("kind", KINDS)
def test_the_checksum_of_whitening_follows_the_data(kind: str) -> None:
    preprocessing = Preprocessing.for_dataset(toy(), kind)
    checksums = {preprocessing.fit(dataset).checksum for dataset in (toy(), toy().validation(0.2), toy())}
    assert len(checksums) == (2 if kind in WHITENING else 1)


def test_preprocessing_for_other_channels_is_refused() -> None:
    with pytest.raises(UserError, match="preprocessing is for 3 channels, data set 'toy' has 1; use Preprocessing"):
        Preprocessing.for_dataset(toy(), "zca").fit(toy(1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "normalise"}, "unknown preprocessing 'normalise'; did you mean 'normalize'?"),
        ({"kind": "standardise"}, "unknown preprocessing 'standardise'; did you mean 'standardize'?"),
        ({"kind": None}, "unknown preprocessing None; known: normalize, regularized_zca, standardize, zca"),
        ({"std": [1e-320]}, "give as many of each, std above 0"),
        ({"mean": [1e300]}, "preprocessing has mean [1e+300]; give a list of one finite number a channel"),
        ({"mean": None}, "preprocessing has mean None; give a list of one finite number a channel"),
        ({"mean": [float("nan")]}, "preprocessing has mean [nan]; give a list of one finite number"),
        ({"std": ["1"]}, "preprocessing has std ['1']; give a list of one finite number a channel"),
        ({"std": [0]}, "preprocessing has mean (0.5,) and std (0.0,); give as many of each, std above 0"),
        ({"std": [1, 1]}, "preprocessing has mean (0.5,) and std (1.0, 1.0); give as many of each"),
        ({"kind": "zca"}, "preprocessing 'zca' has eps 0.0; give a number above 0, as 0.1"),
        ({"kind": "regularized_zca"}, "preprocessing 'regularized_zca' has eps 0.0; give a number above 0, as 0.1"),
        ({"kind": "zca", "eps": "0.1"}, "preprocessing 'zca' has eps '0.1'; give a number above 0"),
    ],
)
def test_a_bad_description_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        Preprocessing.from_description({"kind": "normalize", "mean": [0.5], "std": [0.2], **changes})
    assert sentence in str(caught.value)


def test_an_unknown_kind_for_a_dataset_is_refused() -> None:
    with pytest.raises(UserError, match="unknown preprocessing 'zac'; did you mean 'zca'"):
        Preprocessing.for_dataset(toy(), "zac")


@pytest.mark.parametrize("kind", WHITENING)
def test_images_too_large_to_whiten_are_refused(kind: str) -> None:
    images, labels = np.zeros((2, 74, 74, 3), np.uint8), np.arange(2)
    large = make_dataset("large", images, labels, images, labels)
    with pytest.raises(UserError) as caught:
        Preprocessing.for_dataset(large, kind).fit(large)
    assert str(caught.value) == f"images of 'large' are too large for {kind!r}, (3, 74, 74); use 'normalize'"


# -- standardisation ------------------------------------------------------------------------------------------------


def test_standardisation_takes_the_statistics_of_all_pixels_whatever_the_name() -> None:
    named = make_dataset("cifar10", **toy_arrays())
    pixels = named.train_images.double() / 255
    standardize = Preprocessing.for_dataset(named, "standardize")
    assert standardize.mean == tuple(round(value, 4) for value in pixels.mean((0, 2, 3)).tolist())
    assert standardize.std == tuple(round(value, 4) for value in pixels.std((0, 2, 3), correction=0).tolist())
    assert (standardize.kind, standardize.eps) == ("standardize", 0.0)
    assert standardize.mean != Preprocessing.for_dataset(named, "normalize").mean == (0.4914, 0.4822, 0.4465)
    out = standardize.fit(named)(named.train_images)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), atol=3e-3, rtol=0)


def test_standardisation_is_normalisation_where_no_constants_are_pinned() -> None:
    one, two = (Preprocessing.for_dataset(toy(), kind).fit(toy()) for kind in ("normalize", "standardize"))
    assert torch.equal(one(toy().test_images), two(toy().test_images))
    assert one.checksum != two.checksum


def test_standardisation_can_be_undone() -> None:
    dataset = make_dataset("cifar10", **toy_arrays())
    transform = Preprocessing.for_dataset(dataset, "standardize").fit(dataset)
    pixels = transform.inverse(transform(dataset.test_images))
    torch.testing.assert_close(pixels, dataset.test_images / 255, atol=1e-6, rtol=0)


# -- whitening ------------------------------------------------------------------------------------------------------

Rows = np.ndarray[Any, np.dtype[np.float64]]


def rows(images: torch.Tensor) -> Rows:
    return images.numpy().reshape(len(images), -1).astype(np.float64)


def whitened(kind: str, train: Rows, images: Rows) -> Rows:
    """Textbook whitening of rows of pixels in 0..255 by statistics of others, by the eigenvectors of a sum."""
    if kind == "zca":
        centred, images = (some / 255 - train.mean(0) / 255 for some in (train, images))
        moment, ridge = centred.T @ centred / (len(train) - 1), 0.1
    else:
        centred, images = (some - some.mean(1, keepdims=True) for some in (train, images))
        centred, images = (some / np.sqrt((some**2).sum(1, keepdims=True)) for some in (centred, images))
        moment = centred.T @ centred / len(train)
        ridge = 0.1 * np.trace(moment) / len(moment)
    values, vectors = np.linalg.eigh(moment + ridge * np.eye(len(moment)))
    found: Rows = images @ (vectors @ np.diag(values**-0.5) @ vectors.T)
    return found


@pytest.mark.parametrize("kind", WHITENING)
@pytest.mark.parametrize("channels", [1, 3])
def test_whitening_is_that_of_a_textbook(kind: str, channels: int) -> None:
    dataset = toy(channels)
    transform = Preprocessing.for_dataset(dataset, kind).fit(dataset)
    for images in (dataset.train_images, dataset.test_images):
        before = images.clone()
        out = transform(images)
        assert (out.dtype, out.shape) == (torch.float32, images.shape)
        np.testing.assert_allclose(rows(out), whitened(kind, rows(dataset.train_images), rows(images)), atol=1e-4)
        assert torch.equal(images, before)


def test_regularised_whitening_leaves_shrunken_eigenvalues() -> None:
    dataset = toy(1, train_images=correlated())
    white = regularized(dataset)(dataset.train_images)
    units = rows(unit_images(dataset.train_images.float()))
    values = np.linalg.eigvalsh(units.T @ units / 21)
    np.testing.assert_allclose(values.sum(), 1, atol=1e-6)
    spectrum = np.linalg.eigvalsh(rows(white).T @ rows(white) / 21)
    np.testing.assert_allclose(spectrum, np.sort(values / (values + 0.1 / 16)), atol=1e-4)


def test_images_fitted_in_chunks_whiten_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = toy()
    whole, said = regularized(dataset)(dataset.test_images), typical(dataset)
    monkeypatch.setattr("ddbench.data.whitening.CHUNK", 4)
    torch.testing.assert_close(regularized(dataset)(dataset.test_images), whole, atol=1e-5, rtol=0)
    assert typical(dataset) == said


def regularized(dataset: Dataset) -> Transform:
    return Preprocessing.for_dataset(dataset, "regularized_zca").fit(dataset)


def faint(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """21 images of values to 80."""
    return np.random.RandomState(seed).randint(0, 81, (21, 4, 4, 3)).astype(np.uint8)


def test_images_of_other_brightness_or_contrast_whiten_alike() -> None:
    transform, images = regularized(toy()), torch.from_numpy(faint(1)).permute(0, 3, 1, 2).contiguous()
    white = transform(images)
    for other in (images + 90, images * 3, images * 2 + 60):
        torch.testing.assert_close(transform(other), white, atol=1e-4, rtol=0)
    torch.testing.assert_close(transform(255 - images), -white, atol=1e-4, rtol=0)
    torch.testing.assert_close(transform(images.float() / 255), white, atol=1e-4, rtol=0)


def test_training_images_of_other_brightness_or_contrast_fit_the_same_whitening() -> None:
    plain, changed = faint(2), faint(2)
    changed[::2] = changed[::2] * 3
    changed[1::3] += 10
    one, two = (regularized(toy(train_images=images)) for images in (plain, changed))
    torch.testing.assert_close(one(toy().test_images), two(toy().test_images), atol=1e-4, rtol=0)


def test_what_regularised_whitening_undoes_is_of_average_mean_and_length() -> None:
    dataset = toy()
    transform = regularized(dataset)
    (mean, *_), (length, *_) = transform.preprocessing.mean, transform.preprocessing.std
    white = transform(dataset.test_images)
    pixels = transform.inverse(white)
    torch.testing.assert_close(pixels.mean((1, 2, 3)), torch.full((6,), mean), atol=1e-5, rtol=0)
    around = (pixels - pixels.mean((1, 2, 3), keepdim=True)).flatten(1).norm(dim=1)
    torch.testing.assert_close(around, torch.full((6,), length), atol=1e-4, rtol=0)
    centred = dataset.test_images.double() - dataset.test_images.double().mean((1, 2, 3), keepdim=True)
    units = centred / centred.flatten(1).norm(dim=1).view(6, 1, 1, 1)
    torch.testing.assert_close(pixels.double(), units * length + mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(transform(pixels), white, atol=1e-4, rtol=0)


def test_an_average_image_by_hand() -> None:
    # means 0.5 and 0.2; the first is 0.5 from its own in each of four pixels, the second nowhere
    images = np.array([[[0, 255], [255, 0]], [[51, 51], [51, 51]]], np.uint8)
    assert typical(make_dataset("two", images, np.arange(2), images, np.arange(2))) == (0.35, 0.5)
    flat = images[[1, 1]]
    assert typical(make_dataset("flat", flat, np.arange(2), flat, np.arange(2))) == (0.2, 1.0)
    colours = Preprocessing.for_dataset(toy(), "regularized_zca")
    assert (len(set(colours.mean)), len(set(colours.std)), len(colours.mean)) == (1, 1, 3)


def test_unit_images_by_hand() -> None:
    images = torch.tensor([[[[1.0, 1.0], [3.0, 3.0]]], [[[0.0, 8.0], [0.0, 0.0]]], [[[7.0, 7.0], [7.0, 7.0]]]])
    third = 12**-0.5
    expected = torch.tensor([[-0.5, -0.5, 0.5, 0.5], [-third, 3 * third, -third, -third], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(unit_images(images).flatten(1), expected)


@pytest.mark.parametrize("value", [0, 51, 255])
def test_a_constant_image_becomes_zeros(value: int) -> None:
    transform = regularized(toy())
    images = torch.full((2, 3, 4, 4), value, dtype=torch.uint8)
    assert torch.equal(transform(images), torch.zeros(2, 3, 4, 4))
    assert transform.inverse(transform(images)).std() < 1e-6


def test_a_black_training_image_adds_nothing_but_its_share() -> None:
    images = toy().train_images.clone()
    images[0] = 0
    transform = RegularizedZCA(0.1).fit(images)
    out = transform(images.float())
    assert torch.isfinite(out).all()
    assert not out[0].any()
    units = rows(unit_images(images.float()))
    moment = units.T @ units / 21
    assert np.trace(moment) == pytest.approx(20 / 21, abs=1e-6)
    values, vectors = np.linalg.eigh(moment + 0.1 * 20 / 21 / 48 * np.eye(48))
    np.testing.assert_allclose(rows(out), units @ vectors @ np.diag(values**-0.5) @ vectors.T, atol=1e-4)
