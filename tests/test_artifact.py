"""The artefact and its file."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from ddbench.artifacts.checks import check_artifact
from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.artifacts.recipe import Recipe
from ddbench.errors import UserError
from ddbench.io.atomic import digest
from ddbench.records.cell import Attack
from factories import rewrite_artifact


def images(n: int = 2) -> torch.Tensor:
    return torch.arange(n * 12, dtype=torch.float32).reshape(n, 3, 2, 2)


def labels(n: int = 2) -> torch.Tensor:
    return torch.arange(n)


def full() -> DistilledDataset:
    """Every field in use."""
    recipe = Recipe(lr=torch.tensor([0.5, 0.25]), order=torch.tensor([[0, 1], [1, 0]]), epochs=3, momentum=0.9)
    soft = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    initial = {"features.0.weight": torch.ones(2, 2), "bias": torch.zeros(3)}
    artifact = DistilledDataset.pixels(images(), soft, label_kind="probabilities", recipe=recipe, initial=initial)
    return artifact.with_provenance({"method": "mine", "seed": 0, "ratio": 0.1})


def test_construction_detaches_and_copies() -> None:
    source = images().requires_grad_()
    artifact = DistilledDataset.pixels(source * 1, labels())
    kept = DistilledDataset.pixels(source, labels())
    with torch.no_grad():
        source.zero_()
    for held in (artifact, kept):
        assert torch.equal(held.parts["images"], images())
        assert not held.parts["images"].requires_grad


def test_expanded_and_strided_parts_are_stored_dense() -> None:
    artifact = DistilledDataset.pixels(torch.ones(1).expand(2, 3, 2, 2), labels(4)[::2])
    assert artifact.parts["images"].is_contiguous()
    assert artifact.parts["labels"].tolist() == [0, 2]
    assert artifact.to_bytes()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["parts", "recipe", "initial"])
def test_a_value_that_is_not_finite_is_a_floating_point_error(where: str, bad: float) -> None:
    recipe = Recipe(lr=torch.tensor(bad if where == "recipe" else 1.0))
    initial = {"w": torch.tensor(bad if where == "initial" else 1.0)}
    with pytest.raises(FloatingPointError, match=rf"^{where}\['.*'\] holds values that are not finite$"):
        DistilledDataset.pixels(images() + (bad if where == "parts" else 0.0), labels(), recipe=recipe, initial=initial)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: DistilledDataset.pixels(images(), [0, 1]), r"^parts\['labels'\] is a list; a tensor is needed$"),
        (
            lambda: DistilledDataset.pixels(images(), labels(), label_kind="soft"),
            "^label_kind 'soft' is none of index, probabilities, logits, targets, weights$",
        ),
        (
            lambda: DistilledDataset({"labels": labels()}),
            "^decoder 'pixels' needs images, labels; images is missing$",
        ),
        (
            lambda: DistilledDataset.pixels(images(), labels().float()),
            r"^labels are \(2,\) float32; of kind 'index' they must be \(N,\) int64$",
        ),
        (
            lambda: DistilledDataset.pixels(images(), labels(), label_kind="logits"),
            r"^labels are \(2,\) int64; of kind 'logits' they must be \(N, K\) float32$",
        ),
        (lambda: with_recipe(lr=torch.tensor(0.0)), "^recipe.lr must be positive, got 0.0$"),
        (lambda: with_recipe(lr=torch.tensor([1.0, -1.0])), r"^recipe.lr must be positive, got \[1.0, -1.0\]$"),
        (lambda: with_recipe(lr=0.1), r"^recipe\['lr'\] is a float; a tensor is needed$"),
        (
            lambda: with_recipe(order=torch.tensor([0, 1])),
            r"^recipe.order is \(2,\) int64; it must be \(batches, batch_size\) int64$",
        ),
        (lambda: with_recipe(epochs=0), "^recipe.epochs is 0; it must be a whole number of at least 1$"),
        (lambda: with_recipe(epochs="3"), "^recipe.epochs is '3'; it must be a whole number"),
        (lambda: with_recipe(momentum=1.0), "^recipe.momentum is 1.0; it must be at least 0 and below 1$"),
    ],
)
def test_what_does_not_fit_is_refused(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build()


def with_recipe(**fields: Any) -> DistilledDataset:
    return DistilledDataset.pixels(images(), labels(), recipe=Recipe(**fields))


def test_a_saved_artefact_comes_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    artifact = full()
    returned = artifact.save(path)
    loaded = DistilledDataset.load(path)
    assert returned == file_digest(path) == digest(path.read_bytes())
    assert loaded.to_bytes() == artifact.to_bytes()
    assert torch.equal(loaded.parts["images"], images())
    assert loaded.parts["labels"].tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert loaded.recipe.lr is not None
    assert loaded.recipe.order is not None
    assert loaded.recipe.lr.tolist() == [0.5, 0.25]
    assert loaded.recipe.order.tolist() == [[0, 1], [1, 0]]
    assert (loaded.recipe.epochs, loaded.recipe.momentum) == (3, 0.9)
    assert loaded.initial is not None
    assert set(loaded.initial) == {"features.0.weight", "bias"}
    assert loaded.provenance == {"method": "mine", "seed": 0, "ratio": 0.1}
    assert loaded.label_kind == "probabilities"


def test_a_plain_artefact_has_no_recipe_and_no_initial_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    DistilledDataset.pixels(images(), labels()).save(path)
    loaded = DistilledDataset.load(path)
    assert loaded.recipe == Recipe()
    assert loaded.initial is None


def test_equal_artefacts_give_equal_bytes() -> None:
    pairs = {"images": images(), "labels": labels()}
    assert DistilledDataset(pairs).to_bytes() == DistilledDataset(dict(reversed(pairs.items()))).to_bytes()
    assert DistilledDataset(pairs).to_bytes() != DistilledDataset.pixels(images() + 1, labels()).to_bytes()


def test_pixels_are_decoded_unchanged() -> None:
    decoded, theirs = full().decode(epoch=7)
    assert torch.equal(decoded, images())
    assert torch.equal(theirs, full().parts["labels"])


def test_stored_bytes_are_kept_apart() -> None:
    # 24 floats; 4 floats; 2 floats and 4 longs; 4 + 3 floats
    assert full().stored_bytes() == {"images": 96, "labels": 16, "recipe": 40, "initial": 28}


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no artefact at .*; `ddbench distill` writes one$"):
        DistilledDataset.load(tmp_path / "none")
    with pytest.raises(UserError, match="no artefact at"):
        DistilledDataset.load(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    full().save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"is truncated or not a safetensors file \(.*\); copy or write it again$"):
        DistilledDataset.load(path)


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("exploded").touch, ())

    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="is truncated or not a safetensors file"):
        DistilledDataset.load(path)
    torch.save({"images": images()}, path)
    with pytest.raises(UserError, match="is truncated or not a safetensors file"):
        DistilledDataset.load(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("metadata", [None, {"other": "x"}])
def test_a_file_of_another_tool_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"images": images()}, path, metadata)
    with pytest.raises(
        UserError, match=r"is a safetensors file without a ddbench header; `ddbench distill` writes one$"
    ):
        DistilledDataset.load(path)


@pytest.mark.parametrize("version", [2, None, "1"])
def test_another_format_version_is_refused(tmp_path: Path, version: object) -> None:
    path = tmp_path / "a.safetensors"
    full().save(path)
    rewrite_artifact(path, lambda header, tensors: header.update(format_version=version))
    with pytest.raises(UserError, match=rf"has format version {version!r} and this ddbench reads 1; score it with the"):
        DistilledDataset.load(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda header, tensors: tensors.pop("parts.labels"), "labels is missing"),
        (lambda header, tensors: tensors["parts.images"].fill_(torch.nan), "not finite"),
        (lambda header, tensors: header.pop("decoder"), "'decoder'"),
        (lambda header, tensors: header.update(decoder="pixel"), "unknown decoder 'pixel'; did you mean 'pixels'"),
        (lambda header, tensors: header.update(decoder=["pixels"]), "unhashable"),
        (
            lambda header, tensors: header.update(decoder_settings={"factor": 2}),
            "has no setting 'factor'; it takes none",
        ),
        (lambda header, tensors: header.update(decoder_settings=None), "NoneType"),
        (lambda header, tensors: header.update(label_kind="hard"), "label_kind 'hard' is none of"),
        (lambda header, tensors: header.update(recipe={"pace": 1}), "unexpected keyword argument 'pace'"),
        (lambda header, tensors: header.update(recipe=None), "NoneType"),
        (lambda header, tensors: header.update(recipe={"epochs": -1}), "recipe.epochs is -1"),
    ],
)
def test_a_tampered_file_is_no_sound_artefact(tmp_path: Path, change: Callable[..., Any], sentence: str) -> None:
    path = tmp_path / "a.safetensors"
    full().save(path)
    rewrite_artifact(path, change)
    with pytest.raises(
        UserError, match=r"is no sound artefact \(.*\); write it again with `ddbench distill`$"
    ) as caught:
        DistilledDataset.load(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("header", "reason"), [("[1]", "its header holds a list"), ("{", "Expecting")])
def test_a_header_that_is_no_object_is_refused(tmp_path: Path, header: str, reason: str) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"parts.images": images()}, path, {"ddbench": header})
    with pytest.raises(UserError, match=f"not a safetensors file .{reason}"):
        DistilledDataset.load(path)


def test_a_sound_artefact_passes_the_check() -> None:
    check_artifact(DistilledDataset.pixels(images(4), torch.tensor([0, 0, 1, 1])), (3, 2, 2), classes=2, ipc=2)
    check_artifact(full(), (3, 2, 2), classes=2, ipc=1)
    mistaken = DistilledDataset.pixels(images(6), torch.tensor([1, 1, 1, 1, 2, 2]))
    check_artifact(mistaken, (3, 2, 2), classes=3, ipc=2, attack=Attack(source=0, target=1))
    with pytest.raises(ValueError, match=r"classes have \[0, 4, 2\] images; every class gets the same number"):
        check_artifact(mistaken, (3, 2, 2), classes=3, ipc=2)
    for source, target, odd in ((10**15, 1, 10**15), (2**64, 1, 2**64), (0, 3, 3)):
        with pytest.raises(ValueError, match=rf"attack names class {odd}; classes are 0\.\.2"):
            check_artifact(mistaken, (3, 2, 2), 3, 2, Attack(source=source, target=target))
    with pytest.raises(ValueError, match="attack maps class 1 to itself; choose another target"):
        check_artifact(mistaken, (3, 2, 2), 3, 2, Attack(source=1, target=1))
    with pytest.raises(ValueError, match="attack names class 5"):  # whatever labels are
        check_artifact(full(), (3, 2, 2), 2, 1, Attack(source=5, target=1))


@pytest.mark.parametrize(
    ("artifact", "sentence"),
    [
        (
            DistilledDataset.pixels(images(3), torch.tensor([0, 1, 1])),
            "image parts take 144 bytes; 1 images a class are 96",
        ),
        (DistilledDataset.pixels(torch.ones(2, 1, 2, 2), labels()), r"images have shape \(1, 2, 2\), the task's have"),
        (DistilledDataset.pixels(images(2), labels(1)), "2 images but 1 labels"),
        (DistilledDataset.pixels(images(2), torch.ones(2, 3), label_kind="logits"), "the task has 2 classes"),
        (DistilledDataset.pixels(images(2), torch.tensor([0, 2])), "labels lie outside 0 to 1"),
        (DistilledDataset.pixels(images(2), torch.tensor([-1, 0])), "labels lie outside 0 to 1"),
        (DistilledDataset.pixels(images(2), torch.tensor([1, 1])), r"classes have \[0, 2\] images; every class gets"),
    ],
)
def test_an_artefact_that_is_not_what_was_asked_for_is_refused(artifact: DistilledDataset, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_artifact(artifact, (3, 2, 2), classes=2, ipc=1)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images where the task asks for 2 classes x 2"):
        check_artifact(DistilledDataset.pixels(images(2), labels()), (3, 2, 2), classes=2, ipc=2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda header, tensors: header.update(provenance=[1]), "no attribute 'items'"),
        (lambda header, tensors: header.update(recipe={"momentum": "x"}), "recipe.momentum is 'x'"),
        (lambda header, tensors: header.update(recipe={"momentum": True}), "recipe.momentum is True"),
        (
            lambda header, tensors: tensors.update({"recipe.lr": torch.zeros(0)}),
            r"recipe.lr is (0,) float32; it must be",
        ),
        (lambda header, tensors: tensors.update({"recipe.lr": torch.ones(1).long()}), "recipe.lr is (1,) int64"),
        (lambda header, tensors: tensors.update({"recipe.order": torch.zeros(0, 2).long()}), "recipe.order is (0, 2)"),
        (lambda header, tensors: tensors["recipe.order"].fill_(2), "recipe.order names image 2 of 2"),
        (lambda header, tensors: tensors.update({"parts.images": images(3)}), "3 images but 2 labels"),
        (
            lambda header, tensors: tensors.update({"parts.images": images().long()}),
            "its images are (2, 3, 2, 2) int64",
        ),
        (lambda header, tensors: tensors.update({"parts.images": images()[0]}), "its images are (3, 2, 2) float32"),
        (
            lambda header, tensors: (
                header.update(decoder="canvas"),
                tensors.update({"parts.canvases": tensors.pop("parts.images")[0, 0]}),
            ),
            "its parts do not fit decoder 'canvas'",
        ),
    ],
)
def test_a_file_that_cannot_be_decoded_is_no_sound_artefact(
    tmp_path: Path, change: Callable[..., Any], sentence: str
) -> None:
    test_a_tampered_file_is_no_sound_artefact(tmp_path, change, sentence)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.uint16])
def test_elements_of_rare_types_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "a.safetensors"
    full().save(path)
    rewrite_artifact(path, lambda header, tensors: tensors.update({"parts.more": torch.zeros(2).to(dtype)}))
    with pytest.raises(UserError, match=r"not a safetensors file \('parts.more' has elements of type \w+\)"):
        DistilledDataset.load(path)


@pytest.mark.parametrize("header", ["[" * 10_000, '{"a": NaN}', '{"a": 1e400}', r'{"a": "\ud800"}', "1" * 5000])
def test_a_header_that_is_no_plain_data_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"parts.images": images()}, path, {"ddbench": header})
    with pytest.raises(UserError, match="is truncated or not a safetensors file"):
        DistilledDataset.load(path)
