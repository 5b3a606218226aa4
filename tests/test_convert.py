"""Releases of others, written here in their layouts, become artefacts that score; what is no data is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.releases import convert, read_release
from ddbench.data import Preprocessing, load_dataset, resized
from ddbench.data.npz import save_npz
from ddbench.data.preprocess import PINNED
from ddbench.errors import UserError
from ddbench.evaluation.score_file import score
from ddbench.registry import discover
from ddbench.testing import tiny_dataset

NETWORK = "convnet,depth=1,width=8"


@pytest.fixture(autouse=True)
def registered() -> None:
    discover()


def chosen(each: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Preprocessed real digits, `each` of every class, class by class."""
    data = load_dataset("digits")
    where = torch.cat([torch.nonzero(data.train_labels == c)[:each, 0] for c in range(10)])
    images = Preprocessing.for_dataset(data).fit(data)(data.train_images[where])
    return images, data.train_labels[where]


def dc_file(folder: Path, images: torch.Tensor, labels: torch.Tensor) -> Path:
    path = folder / "res_DC_digits_ConvNet_2ipc.pt"
    accuracies = {"ConvNet": [np.float64(0.5), np.float64(0.75)]}
    torch.save({"data": [[torch.zeros_like(images), labels], [images, labels]], "accs_all_exps": accuracies}, path)
    return path


def mtt_folder(folder: Path, images: torch.Tensor, labels: torch.Tensor, lr: float | None = None) -> Path:
    torch.save(images, folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    if lr is not None:
        torch.save(torch.tensor(lr), folder / "lr_best.pt")
    return folder


def test_the_last_experiment_of_a_condensation_file_scores(tmp_path: Path) -> None:
    images, labels = chosen()
    out = tmp_path / "a.safetensors"
    convert(dc_file(tmp_path, images, labels), "dc", "digits", out, network=NETWORK, protocol="quick-300@1")
    artifact = DistilledDataset.load(out)
    assert torch.equal(artifact.parts["images"], images)
    assert torch.equal(artifact.parts["labels"], labels)
    assert artifact.provenance["ipc"] == 2
    assert artifact.provenance["classes"] == [str(digit) for digit in range(10)]
    (found,) = score(out, count=1)
    assert found.accuracy > 0.4


def test_a_folder_of_trajectory_matching_scores_with_its_step_size(tmp_path: Path) -> None:
    images, labels = chosen()
    out = tmp_path / "a.safetensors"
    logits = 5 * torch.nn.functional.one_hot(labels, 10).float()
    convert(mtt_folder(tmp_path, images, logits, 0.02), "mtt", "digits", out, network=NETWORK, protocol="quick-300@1")
    artifact = DistilledDataset.load(out)
    assert artifact.label_kind == "logits"
    assert artifact.recipe.lr is not None
    assert float(artifact.recipe.lr) == pytest.approx(0.02)
    assert score(out, count=1)[0].accuracy > 0.4


def converted(file: Path, layout: str, **options: Any) -> DistilledDataset:
    return convert(file, layout, "digits", file.parent / "converted.safetensors", network=NETWORK, **options)


def test_kinds_of_labels_are_told_apart(tmp_path: Path) -> None:
    images, labels = chosen()
    rows = torch.nn.functional.one_hot(labels, 10)
    soft = 0.5 * rows + 0.05
    for given in (labels, labels.int(), labels.float(), labels[:, None], rows, rows.float()):
        artifact = converted(mtt_folder(tmp_path, images, given), "mtt")
        assert artifact.label_kind == "index"
        assert torch.equal(artifact.parts["labels"], labels)
    assert converted(mtt_folder(tmp_path, images, soft), "mtt").label_kind == "probabilities"
    assert converted(mtt_folder(tmp_path, images, soft.double()), "mtt").label_kind == "probabilities"
    assert converted(mtt_folder(tmp_path, images, 5 * soft - 2), "mtt").label_kind == "logits"


def test_images_of_kernel_methods_have_their_channels_moved(tmp_path: Path) -> None:
    images, labels = chosen()
    targets = torch.nn.functional.one_hot(labels, 10).float() - 0.1
    np.savez(tmp_path / "k.npz", images=images.permute(0, 2, 3, 1).numpy(), labels=targets.numpy())
    out = tmp_path / "a.safetensors"
    artifact = convert(tmp_path / "k.npz", "kip", "digits", out, network=NETWORK, protocol="quick-300@1")
    assert torch.equal(artifact.parts["images"], images)
    assert artifact.label_kind == "targets"
    assert score(out, count=1)[0].accuracy > 0.3


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (str(Path.cwd() / "exploded"),)


@pytest.mark.parametrize("layout", ["dc", "mtt"])
def test_a_pickle_that_would_run_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "images_best.pt"
    torch.save(Bomb(), path)
    torch.save(torch.zeros(1), tmp_path / "labels_best.pt")
    with pytest.raises(
        UserError, match=r"images_best.pt holds more than tensors and numbers \(posix mkdir\), and was not read"
    ):
        read_release(path if layout == "dc" else tmp_path, layout)
    assert not (tmp_path / "exploded").exists()


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", images=np.array([Bomb()], object), labels=np.zeros((1, 10)))
    with pytest.raises(UserError, match=r"k.npz is no .npz with images and labels as plain numbers"):
        read_release(tmp_path / "k.npz", "kip")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    images, labels = chosen()
    out = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match=r"unknown layout 'dm'; "):
        read_release(tmp_path, "dm")
    with pytest.raises(UserError, match=r"nothing at .*; give the res_"):
        read_release(tmp_path / "none.pt", "dc")
    with pytest.raises(UserError, match=r"holds no tensors of images; give the folder with images_best.pt"):
        read_release(tmp_path, "mtt")
    torch.save({"images": images}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"holds no 'data' with images and labels"):
        read_release(tmp_path / "x.pt", "dc")
    with pytest.raises(UserError, match=r"images of shape \(20,\) and labels of shape \(20,\)"):
        read_release(dc_file(tmp_path, labels, labels), "dc")
    with pytest.raises(UserError, match=r"holds 19 images for 10 classes of digits; give one with as many of each"):
        convert(dc_file(tmp_path, images[1:], labels[1:]), "dc", "digits", out)
    with pytest.raises(UserError, match=r"does not fit 'digits': images have shape \(1, 7, 8\)"):
        convert(dc_file(tmp_path, images[:, :, 1:], labels), "dc", "digits", out)
    with pytest.raises(UserError, match=r"does not fit 'digits': classes have \[1, 3, "):
        convert(dc_file(tmp_path, images, labels.index_fill(0, torch.tensor(0), 1)), "dc", "digits", out)
    with pytest.raises(UserError, match=r"holds labels from 1 to 10; number the 10 classes from 0 to 9"):
        convert(dc_file(tmp_path, images, labels + 1), "dc", "digits", out)
    with pytest.raises(UserError, match=r"labels that are no whole numbers"):
        convert(dc_file(tmp_path, images, labels + 0.5), "dc", "digits", out)
    with pytest.raises(UserError, match=r"labels of shape \(20, 1, 1\); save one class or one row"):
        convert(dc_file(tmp_path, images, labels[:, None, None]), "dc", "digits", out)
    with pytest.raises(UserError, match=r"does not end in .safetensors"):
        convert(dc_file(tmp_path, images, labels), "dc", "digits", tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"decoder 'canvas' is that of no release"):
        convert(dc_file(tmp_path, images, labels), "dc", "digits", out, decoder="canvas")
    with pytest.raises(UserError, match=r"unknown preprocessing 'normalise'; did you mean 'normalize'"):
        convert(dc_file(tmp_path, images, labels), "dc", "digits", out, preprocessing="normalise")
    (tmp_path / "y.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"y.pt "):
        read_release(tmp_path / "y.pt", "dc")
    assert not out.exists()


def test_what_is_no_sound_set_is_refused(tmp_path: Path) -> None:
    images, labels = chosen()
    path = tmp_path / "x.pt"
    for content in ({"data": [[1, 2]]}, {"data": [[images, None]]}):
        torch.save(content, path)
        with pytest.raises(UserError, match=r"x.pt holds a \w+ where a tensor is needed; is it of another layout\?"):
            read_release(path, "dc")
    torch.save({"data": [[images / 0, labels]]}, path)
    with pytest.raises(UserError, match=r"x.pt does not make a sound artefact \(.*not finite\); give another release"):
        converted(path, "dc")
    with pytest.raises(UserError, match=r"lr_best.pt holds the step size -1.0; remove it to train with the protocol's"):
        read_release(mtt_folder(tmp_path, images, labels, -1.0), "mtt")
    with pytest.raises(UserError, match="one label for each"):
        read_release(mtt_folder(tmp_path, images, torch.tensor(1), 0.1), "mtt")


def test_the_format_of_old_releases_of_pytorch_is_refused_with_the_fix(tmp_path: Path) -> None:
    torch.save(chosen(), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(
        UserError, match=r"x.pt is in the format of PyTorch before 1.6; save it again .*torch\.save\(tor"
    ):
        read_release(tmp_path / "x.pt", "pair")


def test_numbers_of_any_precision_are_read(tmp_path: Path) -> None:
    images, labels = chosen()
    artifact = converted(mtt_folder(tmp_path, images.half(), labels, 0.5), "mtt")
    assert torch.equal(artifact.parts["images"], images.half().float())


def test_cifar100_of_the_authors_is_normalised_as_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz(tmp_path / "cifar100.npz", resized(tiny_dataset(), (3, 8, 8)))
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    images, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 0, 1, 1, 2, 2])
    np.savez(tmp_path / "k.npz", images=images.permute(0, 2, 3, 1).numpy(), labels=np.eye(3)[labels])
    files = {"dc": dc_file(tmp_path, images, labels), "mtt": mtt_folder(tmp_path, images, labels)}

    def preprocessing(layout: str, kind: str = "normalize") -> dict[str, Any]:
        file, out = files.get(layout, tmp_path / "k.npz"), tmp_path / "a.safetensors"
        found = convert(file, layout, "cifar100", out, preprocessing=kind, network=NETWORK).provenance["preprocessing"]
        return dict(found)

    means = {layout: tuple(preprocessing(layout)["mean"]) for layout in ("dc", "mtt", "kip")}
    assert means == {"dc": PINNED["cifar10"][0], "mtt": PINNED["cifar10"][0], "kip": PINNED["cifar100"][0]}
    assert preprocessing("mtt", "zca")["kind"] == "zca"
