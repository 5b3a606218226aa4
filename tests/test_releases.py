"""Distilled sets, written here as their authors' code writes them, come back: images, labels, step sizes, order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.release_checks import order_warning, unit_warning
from ddbench.artifacts.release_layouts import LAYOUTS, found, recognise
from ddbench.artifacts.releases import convert, read_release
from ddbench.data import Dataset, Preprocessing, Transform, load_dataset, make_dataset
from ddbench.data.npz import save_npz
from ddbench.errors import UserError
from ddbench.registry import discover
from factories import Call

CLASSES, EACH, SIDE = 12, 2, 8
NETWORK = "convnet,depth=1,width=8"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data set of 12 classes of 20 images, whose blocks have colours of their class, and give its path."""
    discover()
    random = np.random.RandomState(0)
    blocks = random.randint(40, 215, (CLASSES, 2, 2, 3)).repeat(4, 1).repeat(4, 2)
    labels = np.arange(20 * CLASSES) % CLASSES
    images = (blocks[labels] + random.randint(-30, 31, (len(labels), SIDE, SIDE, 3))).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "blocks.npz"
    save_npz(path, make_dataset("blocks", images, labels, images[:24], labels[:24]))
    return path


@pytest.fixture(scope="module")
def data(place: Path) -> Dataset:
    return load_dataset(str(place))


@pytest.fixture(scope="module")
def transform(data: Dataset) -> Transform:
    return Preprocessing.for_dataset(data).fit(data)


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(CLASSES).repeat_interleave(EACH)


@pytest.fixture(scope="module")
def raw(data: Dataset, labels: Tensor) -> Tensor:
    """Real images of each class, (24, 3, 8, 8) uint8."""
    return torch.cat([data.train_images[data.train_labels == label][:EACH] for label in range(CLASSES)])


@pytest.fixture(scope="module")
def images(raw: Tensor, transform: Transform) -> Tensor:
    return transform(raw)


class Converter:
    """Converts a release and reads the artefact; `heard` is what it reported."""

    def __init__(self, place: Path, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.heard = list[str]()

    def __call__(self, file: Path, layout: str = "auto", **options: Any) -> DistilledDataset:
        out = self.folder / "out" / "converted.safetensors"
        out.parent.mkdir(exist_ok=True)
        convert(file, layout, str(self.place), out, network=NETWORK, report=self.heard.append, **options)
        return DistilledDataset.load(out)


@pytest.fixture
def converter(place: Path, tmp_path: Path) -> Converter:
    return Converter(place, tmp_path)


def folder(path: Path, **tensors: Any) -> Path:
    """A folder with a file of torch.save for each name."""
    path.mkdir(exist_ok=True)
    for name, value in tensors.items():
        torch.save(value, path / f"{name}.pt")
    return path


def same(artifact: DistilledDataset, images: Tensor, labels: Tensor, atol: float = 1e-6) -> bool:
    given, numbered = artifact.decode()
    return torch.allclose(given, images, atol=atol) and torch.equal(numbered, labels)


# -- one file of images and labels ------------------------------------------------------------------------------------


def test_the_last_of_the_experiments_of_dc(
    converter: Converter, tmp_path: Path, images: Tensor, labels: Tensor
) -> None:
    saved = [[torch.zeros_like(images), labels], [images.clone().requires_grad_().detach(), labels]]
    torch.save({"data": saved, "accs_all_exps": {"ConvNet": [np.float64(0.5)]}}, tmp_path / "res_DM_blocks.pt")
    assert same(converter(tmp_path / "res_DM_blocks.pt"), images, labels)
    assert converter.heard == [
        "read res_DM_blocks.pt as layout dc (DC, DSA, DM, DataDAM), preprocessing normalize",
    ]


@pytest.mark.parametrize("stored", ["parameters", "numpy", "channels last", "NHWC", "protocol 5", "with gradients"])
def test_tensors_are_read_however_they_were_stored(
    converter: Converter, tmp_path: Path, images: Tensor, labels: Tensor, stored: str
) -> None:
    pairs: Mapping[str, Any] = {
        "parameters": [torch.nn.Parameter(images), labels],
        "numpy": [images.numpy(), labels.numpy()],
        "channels last": [images.to(memory_format=torch.channels_last), labels],
        "NHWC": [images.permute(0, 2, 3, 1).contiguous(), labels],
        "protocol 5": [images, labels],
        "with gradients": [images.clone().requires_grad_(), labels],
    }
    torch.save({"data": [pairs[stored]]}, tmp_path / "res.pt", pickle_protocol=5 if stored == "protocol 5" else 2)
    assert same(converter(tmp_path / "res.pt"), images, labels)


@pytest.mark.parametrize("held", [list, tuple, lambda pair: dict(zip(("images", "labels"), pair, strict=True))])
def test_a_pair_of_pixels_and_targets_as_idc_and_ncfm_store_it(
    converter: Converter, tmp_path: Path, raw: Tensor, images: Tensor, labels: Tensor, held: Callable[[Any], Any]
) -> None:
    torch.save(held([raw.float() / 255, labels]), tmp_path / "data.pt")
    assert recognise(tmp_path / "data.pt") == "pair"
    artifact = converter(tmp_path / "data.pt")
    assert same(artifact, images, labels)
    assert artifact.provenance["preprocessing"]["kind"] == "normalize"
    assert converter.heard == ["read data.pt as layout pair (IDC, DREAM, NCFM), preprocessing none"]


def test_a_pair_of_normalised_images_is_told_from_pixels(
    converter: Converter, tmp_path: Path, images: Tensor, labels: Tensor
) -> None:
    torch.save({"images": images, "labels": labels}, tmp_path / "data.pt")
    assert same(converter(tmp_path / "data.pt"), images, labels)
    assert "preprocessing normalize" in converter.heard[0]


def test_the_only_file_of_a_folder_is_meant(
    converter: Converter, tmp_path: Path, raw: Tensor, images: Tensor, labels: Tensor
) -> None:
    run = folder(tmp_path / "conv3in_factor1_ipc2", data=[raw.float() / 255, labels])
    (run / "log.txt").write_text("x")
    assert found(run) == run / "data.pt"
    assert same(converter(run), images, labels)


def test_tiles_of_idc_decode_as_its_code_decodes_them(
    converter: Converter, tmp_path: Path, raw: Tensor, transform: Transform, labels: Tensor
) -> None:
    pixels = raw.float() / 255
    torch.save([pixels, labels], tmp_path / "data.pt")
    artifact = converter(tmp_path / "data.pt", decoder="multi_formation,factor=2")
    quarters = [pixels[:, :, top : top + 4, left : left + 4] for top in (0, 4) for left in (0, 4)]
    wanted = torch.nn.Upsample(size=(SIDE, SIDE), mode="bilinear")(torch.cat(quarters))
    images, numbered = artifact.decode()
    by_image = wanted.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1)
    assert torch.allclose(transform.inverse(images), by_image, atol=1e-5)
    assert torch.equal(numbered, labels.repeat_interleave(4))
    assert artifact.stored_bytes()["images"] == 4 * raw.numel()
    with pytest.raises(UserError, match="factor 3 of multi_formation does not divide images of 8x8"):
        converter(tmp_path / "data.pt", decoder="multi_formation,factor=3")


# -- tensors beside each other ----------------------------------------------------------------------------------------


def test_tensors_of_mtt_and_its_forks(converter: Converter, tmp_path: Path, images: Tensor, labels: Tensor) -> None:
    lr = torch.tensor(0.02, requires_grad=True)
    other = torch.zeros_like(images)
    cases: dict[str, dict[str, Any]] = {
        "mtt": {"images_best": images, "labels_best": labels, "images_0": other, "labels_0": labels},
        "tesla": {"images_best": images, "labels_best": labels, "lr_best": lr.item()},
        "lr": {"images_best": images, "labels_best": labels, "lr_best": lr},
        "double": {"images_best": images, "labels_best": labels, "lr_best": torch.tensor([0.02]).double()},
        "ftd": {"ema_images_best": images, "ema_labels_best": labels, "ema_lr_best": lr, "ema_images_9": other},
        "last": {"images_5000": images, "labels_5000": labels, "lr_5000": lr, "images_900": other},
        "ddranking": {"images": images, "labels": labels, "lr": lr},
        "parts": {
            "images_best_0": images[:10], "images_best_1": images[10:], "labels_best_0": labels[:10],
            "labels_best_1": labels[10:],
        },
    }  # fmt: skip
    for name, tensors in cases.items():
        run = folder(tmp_path / name, **tensors)
        artifact = converter(run)
        assert same(artifact, images, labels), name
        given = any("lr" in key for key in tensors)
        assert (artifact.recipe.lr is not None) == given, name
        assert not given or float(artifact.recipe.lr) == pytest.approx(0.02)
    assert all("as layout mtt " in sentence for sentence in converter.heard)


def test_two_tensors_of_datadam_are_found_by_the_file_of_images(
    converter: Converter, tmp_path: Path, images: Tensor, labels: Tensor
) -> None:
    run = folder(
        tmp_path / "sets", B_IPC2_images=images, B_IPC2_labels=labels.float(), B_IPC1_images=images[::2],
        B_IPC1_labels=labels[::2].float(),
    )  # fmt: skip
    assert same(converter(run / "B_IPC2_images.pt"), images, labels)
    assert same(converter(run / "B_IPC1_images.pt"), images[::2], labels[::2])
    with pytest.raises(UserError, match=r"holds several sets, B_IPC1_images.pt, B_IPC2_images.pt; give the file"):
        converter(run)
    with pytest.raises(UserError, match=r"B_IPC1_labels.pt is the file of labels; give that of the images"):
        converter(run / "B_IPC1_labels.pt")


def test_a_folder_of_tensors_that_lacks_something_is_refused(tmp_path: Path, images: Tensor, labels: Tensor) -> None:
    run = folder(tmp_path / "a", images_best=images)
    with pytest.raises(UserError, match=r"images_best.pt has no labels beside it; save them there as labels_best.pt"):
        read_release(run, "mtt")
    run = folder(tmp_path / "b", images_zca_best=images, labels_best=labels)
    with pytest.raises(UserError, match=r"images_zca_best.pt was turned back into pixels; give this file itself, with"):
        read_release(run, "mtt")
    assert torch.equal(read_release(run / "images_zca_best.pt", "mtt").images, images)
    run = folder(tmp_path / "c", images_best=images, labels_best=labels, lr_best=torch.ones(2))
    with pytest.raises(UserError, match=r"lr_best.pt holds 2 numbers where one step size is needed; remove it"):
        read_release(run, "mtt")
    run = folder(tmp_path / "d", images_best_0=images, images_best_1=images[:, :2], labels_best=labels)
    with pytest.raises(UserError, match=r"parts of shapes \(24, 2, 8, 8\), \(24, 3, 8, 8\); they have to differ"):
        read_release(run, "mtt")
    folder(tmp_path / "e").joinpath("Normal").mkdir()
    folder(tmp_path / "e" / "Normal", images_best=images, labels_best=labels)
    for read in (recognise, lambda path: read_release(path, "mtt")):
        with pytest.raises(UserError, match=r"; give its folder Normal$"):
            read(tmp_path / "e")


# -- arrays, steps, pictures ------------------------------------------------------------------------------------------


def test_arrays_of_kernel_methods(converter: Converter, tmp_path: Path, images: Tensor, labels: Tensor) -> None:
    targets = np.eye(CLASSES, dtype=np.float64)[labels] - 1 / CLASSES
    last = images.permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "frepo.npz", image=last, label=targets)
    np.savez(tmp_path / "kip.npz", images=last, labels=targets)
    np.savez(tmp_path / "rfad.npz", images=images.numpy(), labels=targets, k=np.float32(1), jit=1e-3)
    for name in ("frepo", "kip", "rfad"):
        artifact = converter(tmp_path / f"{name}.npz")
        assert artifact.label_kind == "targets"
        assert torch.equal(artifact.parts["images"], images)
        assert torch.allclose(artifact.parts["labels"], torch.from_numpy(targets).float())
    np.savez(tmp_path / "hard.npz", images=last, labels=labels.numpy())
    assert same(converter(tmp_path / "hard.npz"), images, labels)
    np.savez(tmp_path / "flat.npz", images=images.flatten(1).numpy(), labels=targets)
    with pytest.raises(
        UserError, match=r"images have shape \(192,\), the task's have \(3, 8, 8\); their axes cannot be"
    ):
        converter(tmp_path / "flat.npz")
    np.savez(tmp_path / "other.npz", pictures=last)
    with pytest.raises(UserError, match=r"is no .npz with images and labels as plain numbers \(has no images.npy\)"):
        converter(tmp_path / "other.npz")
    np.savez(tmp_path / "text.npz", images=np.array(["a"]), labels=targets)
    with pytest.raises(UserError, match=r"plain numbers \(has images of type <U1\)"):
        converter(tmp_path / "text.npz")


@pytest.mark.parametrize("passes", [1, 3])
def test_steps_of_the_seed_paper(
    converter: Converter, tmp_path: Path, data: Dataset, images: Tensor, labels: Tensor, passes: int
) -> None:
    order = labels.sort(stable=True).indices.view(CLASSES, EACH).T  # each step has an image of each class
    steps = [images[where].clone() for where in order]
    wang = Preprocessing.for_dataset(data, "standardize").fit(data)
    lrs = torch.nn.functional.softplus(torch.linspace(-3, 0, passes * EACH)[:, None]).unbind()
    shared = torch.arange(CLASSES)
    torch.save([(steps[i % EACH], shared, lr) for i, lr in enumerate(lrs)], tmp_path / "results.pth")
    artifact = converter(tmp_path / "results.pth")
    assert same(artifact, torch.cat(steps), shared.repeat(EACH))
    assert artifact.provenance["preprocessing"] == wang.describe()
    assert torch.equal(artifact.recipe.lr, torch.cat(lrs))
    assert torch.equal(artifact.recipe.order, torch.arange(len(images)).view(EACH, CLASSES))
    assert artifact.recipe.epochs == passes


def test_steps_that_are_none_are_refused(tmp_path: Path, images: Tensor, labels: Tensor) -> None:
    path = tmp_path / "results.pth"
    cases: list[tuple[Any, str]] = [
        ([(images, labels, torch.ones(2))], "has a step without one step size"),
        ([(images, labels, 0.1), (images[1:], labels[1:], 0.1)], "has steps of different numbers of images"),
        ([(images, labels[:, None], 0.1)], r"has labels of shape \(24, 1\); this layout has one class an image"),
        ([(images, labels)], "holds no steps of images, labels and step size"),
        ([(images, labels, 0.1)] * 10_001, "holds 10001 steps; 10000 are the most"),
        ([(images[:12], labels[:12], 0.1), (images.flip(0)[:12], labels[:12], 0.1)], None),
        ([(images[i : i + 12], labels[:12], 0.1) for i in range(12)], "parts that share their numbers"),
    ]  # fmt: skip
    for steps, message in cases:
        torch.save(steps, path)
        if message is None:
            read_release(path, "wang2018")
            continue
        with pytest.raises(UserError, match=message):
            read_release(path, "wang2018")


def pictures(path: Path, raw: Tensor, labels: Tensor, names: list[str], **options: Any) -> Path:
    for number, (image, label) in enumerate(zip(raw, labels, strict=True)):
        (path / names[label]).mkdir(parents=True, exist_ok=True)
        array = image.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(path / names[label] / f"class{label}_id{number:05d}.{options.pop('kind', 'png')}")
    return path


def test_class_folders_of_pictures(
    converter: Converter, tmp_path: Path, raw: Tensor, images: Tensor, labels: Tensor, transform: Transform
) -> None:
    for name, names in {
        "rded": [f"{label:05d}" for label in range(CLASSES)],
        "sre2l": [f"new{label:03d}" for label in range(CLASSES)],
        "plain": [str(label) for label in range(CLASSES)],
    }.items():
        path = pictures(tmp_path / name, raw, labels, names)
        (path / ".DS_Store").write_text("x")
        assert recognise(path) == "folder"
        assert same(converter(path), images, labels), name
    assert converter.heard[-1] == "read 24 pictures as layout folder (RDED, SRe2L, D4M), preprocessing none"


def test_lossy_pictures_are_read_as_they_look(
    converter: Converter, tmp_path: Path, raw: Tensor, labels: Tensor, transform: Transform
) -> None:
    names = [str(label) for label in range(CLASSES)]
    wanted = []
    for number, (image, label) in enumerate(zip(raw, labels, strict=True)):
        file = tmp_path / "jpg" / names[label] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, quality=90)
        with Image.open(file) as opened:
            wanted.append(torch.from_numpy(np.array(opened)).permute(2, 0, 1))
    assert same(converter(tmp_path / "jpg"), transform(torch.stack(wanted)), labels)


def test_folders_with_the_names_of_the_classes_go_by_these(
    place: Path, tmp_path: Path, raw: Tensor, images: Tensor, labels: Tensor
) -> None:
    names = ["zebra", "Ant", "bee", "cow", "yak", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay"]
    data = load_dataset(str(place))
    arrays = data.train_images.permute(0, 2, 3, 1).numpy(), data.train_labels.numpy()
    save_npz(tmp_path / "zoo.npz", make_dataset("zoo", *arrays, *arrays, classes=names))
    path = pictures(tmp_path / "pictures", raw, labels, [name.lower() for name in names])
    artifact = convert(path, "auto", str(tmp_path / "zoo.npz"), tmp_path / "a.safetensors", network=NETWORK)
    given, numbered = artifact.decode()
    assert torch.allclose(given[numbered.sort(stable=True).indices], images, atol=1e-6)


def test_folders_that_are_none_are_refused(converter: Converter, tmp_path: Path, raw: Tensor, labels: Tensor) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(UserError, match=r"is no folder; give one that holds a folder of pictures for each class"):
        read_release(tmp_path / "x", "folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no folders of pictures"):
        read_release(tmp_path / "empty", "folder")
    names = [str(label) for label in range(CLASSES)]
    path = pictures(tmp_path / "few", raw[: -2 * EACH], labels[: -2 * EACH], names)
    with pytest.raises(UserError, match=r"holds 10 folders of pictures for 12 classes; give one for each"):
        converter(path)
    Image.new("RGB", (9, 8)).save(path / "0" / "wide.png")
    with pytest.raises(UserError, match=r"wide.png is 9x8 pixels, .* is 8x8; give them one size"):
        converter(path)
    path = pictures(tmp_path / "small", raw[:, :, :4, :4], labels, names)
    with pytest.raises(
        UserError, match=r"images have shape \(3, 4, 4\), the task's have \(3, 8, 8\); give the data set"
    ):
        converter(path)
    (path / "0" / "broken.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"broken.png cannot be read as an image"):
        converter(path)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (lambda images: images, r"x.pt has no labels beside it; save them there as labels.pt"),
        (lambda images: {"net": images}, r"x.pt holds a dictionary of net, which is no known layout; docs/releases.md"),
        (lambda images: [images], r"x.pt holds a list of 1 items, which is no known layout"),
        (lambda images: 3, r"x.pt holds a int, which is no known layout"),
    ],
)
def test_what_is_no_release_is_not_recognised(
    converter: Converter, tmp_path: Path, images: Tensor, held: Callable[[Tensor], Any], message: str
) -> None:
    torch.save(held(images), tmp_path / "x.pt")
    with pytest.raises(UserError, match=message):
        converter(tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"nothing at .*; give a file or folder of a release"):
        converter(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds neither tensors of images and labels nor class folders of pictures"):
        converter(tmp_path / "empty")


def test_layouts_are_listed_in_the_documentation() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "releases.md").read_text()
    for name, layout in LAYOUTS.items():
        assert f"| `{name}` | {layout.papers} |" in page


def test_the_command_says_what_it_recognised_and_what_it_doubts(
    call: Call, place: Path, tmp_path: Path, raw: Tensor, labels: Tensor
) -> None:
    torch.save({"data": [[raw.float() / 255, labels]]}, tmp_path / "res.pt")
    out = str(tmp_path / "a.safetensors")
    code, _, messages = call("convert", str(tmp_path / "res.pt"), "-d", str(place), "--out", out)
    assert code == 0
    said, doubt, wrote = messages.splitlines()
    assert said == "read res.pt as layout dc (DC, DSA, DM, DataDAM), preprocessing normalize"
    assert doubt.startswith("warning: ")
    assert doubt.endswith("they look like pixels in [0, 1]; convert with --preprocessing none")
    assert wrote == f"wrote {out}; `ddbench score {out}` scores it"


# -- units ------------------------------------------------------------------------------------------------------------


def test_whole_numbers_are_refused_with_the_fix(
    converter: Converter, tmp_path: Path, raw: Tensor, images: Tensor, labels: Tensor
) -> None:
    torch.save({"data": [[raw, labels]]}, tmp_path / "res.pt")
    with pytest.raises(UserError, match=r"images of type uint8 from \d+ to \d+, which 'normalize' does not give; conv"):
        converter(tmp_path / "res.pt")
    assert same(converter(tmp_path / "res.pt", preprocessing="none"), images, labels)
    torch.save({"data": [[raw.long(), labels]]}, tmp_path / "res.pt")
    assert same(converter(tmp_path / "res.pt", preprocessing="none"), images, labels)
    torch.save({"data": [[raw.long() - 50, labels]]}, tmp_path / "res.pt")
    with pytest.raises(UserError, match=r"whole numbers from -\d+ to \d+; save pixels as 0..255"):
        converter(tmp_path / "res.pt", preprocessing="none")


def test_pixels_in_place_of_normalised_images_are_warned_of(
    converter: Converter, tmp_path: Path, raw: Tensor, images: Tensor, labels: Tensor
) -> None:
    torch.save({"data": [[raw.float() / 255, labels]]}, tmp_path / "res.pt")
    with pytest.warns(
        RuntimeWarning,
        match=r"mean 0\.\d+ and deviation 0\.\d+, and images of blocks under 'normalize' ha.*"
        r"look like pixels in \[0, 1\]; convert with --preprocessing none",
    ):
        converter(tmp_path / "res.pt")
    assert same(converter(tmp_path / "res.pt", preprocessing="none"), images, labels)
    torch.save({"data": [[images, labels]]}, tmp_path / "res.pt")
    with pytest.warns(RuntimeWarning, match=r"look like normalised ones; convert with --preprocessing normalize"):
        converter(tmp_path / "res.pt", preprocessing="none")
    torch.save({"data": [[raw.float(), labels]]}, tmp_path / "res.pt")
    with pytest.warns(
        RuntimeWarning, match=r"pixels in 0\.\.255; save them as uint8 and convert with --preprocessing no"
    ):
        converter(tmp_path / "res.pt")


def test_units_that_nothing_explains_are_warned_of(data: Dataset, transform: Transform, images: Tensor) -> None:
    for strange in (0.01 * images, images + 9):
        sentence = unit_warning(strange, data, transform)
        assert sentence is not None
        assert sentence.endswith("; if they did not go through that, say with --preprocessing what they went through")


def test_pixels_are_known_by_their_range(data: Dataset, transform: Transform, images: Tensor) -> None:
    sentence = unit_warning((100 * images).clamp(0, 1), data, transform)
    assert sentence is not None
    assert sentence.endswith("; they look like pixels in [0, 1]; convert with --preprocessing none")


@pytest.mark.parametrize("scale", [0.6, 1, 3, 30])
def test_distilled_images_may_have_deviations_of_their_own(
    data: Dataset, transform: Transform, images: Tensor, scale: float
) -> None:
    assert unit_warning(scale * images, data, transform) is None
    assert unit_warning(scale * torch.randn(images.shape), data, transform) is None


# -- order of labels --------------------------------------------------------------------------------------------------


def test_folders_that_were_numbered_in_the_order_of_texts_are_warned_of(
    converter: Converter, tmp_path: Path, raw: Tensor, labels: Tensor
) -> None:
    listed = sorted(map(str, range(CLASSES)))  # 0, 1, 10, 11, 2, ...
    path = pictures(tmp_path / "pictures", raw, labels, [f"class_{listed.index(str(k)):02d}" for k in range(CLASSES)])
    with pytest.warns(RuntimeWarning) as caught:
        converter(path)
    (sentence,) = (str(one.message) for one in caught)
    assert "images of '2' look like '10', '3' look like '11', '4' look like '2' and 7 classes more" in sentence
    assert sentence.endswith("; rename the folders as the data set's classes, or by their numbers from 0")


def test_labels_in_another_order_are_warned_of(
    converter: Converter, tmp_path: Path, images: Tensor, labels: Tensor
) -> None:
    torch.save({"data": [[images, labels.flip(0)]]}, tmp_path / "res.pt")
    with pytest.warns(
        RuntimeWarning,
        match=r"another order than the data set's classes: images of '0' look like '11'.*; "
        "number the labels as the data set's classes",
    ):
        converter(tmp_path / "res.pt")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["white", "smooth", "real", "faint"])
def test_honest_sets_are_not_doubted(
    data: Dataset, transform: Transform, images: Tensor, labels: Tensor, kind: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images.shape, generator=generator)
    if kind == "smooth":
        noise = torch.nn.functional.interpolate(noise[:, :, :2, :2], SIDE, mode="bilinear")
    if kind == "real":
        drawn = [torch.randint(20, (EACH,), generator=generator) + 0 * label for label in range(CLASSES)]
        real = [data.train_images[data.train_labels == label][where] for label, where in enumerate(drawn)]
        noise = transform(torch.cat(real))
    if kind == "faint":
        noise = noise + 0.3 * images
    assert order_warning(noise, labels, data, transform, "") is None


@pytest.mark.parametrize("soft", [False, True])
def test_order_is_judged_by_the_largest_label(
    data: Dataset, transform: Transform, images: Tensor, labels: Tensor, soft: bool
) -> None:
    turned = labels.roll(EACH)
    given = 0.8 * torch.nn.functional.one_hot(turned, CLASSES) + 0.01 if soft else turned
    assert order_warning(images, given, data, transform, "") is not None
    assert order_warning(images, torch.zeros_like(labels), data, transform, "") is None
