"""Normalisation and ZCA whitening, against hand-made and independent results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from ddbench.data import Preprocessing, make_dataset
from ddbench.data.preprocess import measure
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


@pytest.mark.parametrize("kind", ["normalize", "zca"])
def test_a_description_survives_json(kind: str) -> None:
    dataset = toy()
    preprocessing = Preprocessing.for_dataset(dataset, kind)
    described = preprocessing.fit(dataset).describe()
    assert set(described) == {"kind", "mean", "std", "eps", "checksum"}
    assert described["eps"] == (0.1 if kind == "zca" else 0.0)
    again = Preprocessing.from_description(json.loads(json.dumps(described)))
    assert again == preprocessing
    assert again.fit(dataset).describe() == described


def test_the_checksum_of_zca_follows_the_data() -> None:
    def checksums(kind: str) -> set[str]:
        preprocessing = Preprocessing.for_dataset(toy(), kind)
        return {preprocessing.fit(dataset).checksum for dataset in (toy(), toy().validation(0.2), toy())}

    assert len(checksums("normalize")) == 1
    assert len(checksums("zca")) == 2


def test_preprocessing_for_other_channels_is_refused() -> None:
    with pytest.raises(UserError, match="preprocessing is for 3 channels, data set 'toy' has 1; use Preprocessing"):
        Preprocessing.for_dataset(toy(), "zca").fit(toy(1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "normalise"}, "unknown preprocessing 'normalise'; did you mean 'normalize'?"),
        ({"kind": None}, "unknown preprocessing None; known: normalize, zca"),
        ({"std": [1e-320]}, "give as many of each, std above 0"),
        ({"mean": [1e300]}, "preprocessing has mean [1e+300]; give a list of one finite number a channel"),
        ({"mean": None}, "preprocessing has mean None; give a list of one finite number a channel"),
        ({"mean": [float("nan")]}, "preprocessing has mean [nan]; give a list of one finite number"),
        ({"std": ["1"]}, "preprocessing has std ['1']; give a list of one finite number a channel"),
        ({"std": [0]}, "preprocessing has mean (0.5,) and std (0.0,); give as many of each, std above 0"),
        ({"std": [1, 1]}, "preprocessing has mean (0.5,) and std (1.0, 1.0); give as many of each"),
        ({"kind": "zca"}, "preprocessing 'zca' has eps 0.0; give a number above 0, as 0.1"),
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


def test_images_too_large_to_whiten_are_refused() -> None:
    images, labels = np.zeros((2, 74, 74, 3), np.uint8), np.arange(2)
    large = make_dataset("large", images, labels, images, labels)
    with pytest.raises(UserError, match=r"images of 'large' are too large for 'zca', \(3, 74, 74\); use 'normalize'"):
        Preprocessing.for_dataset(large, "zca").fit(large)
