"""Every layout of a release, written as its authors' code writes it, scores as the same images given directly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.artifacts.recipe import Recipe
from ddbench.artifacts.release_layouts import LAYOUTS, recognise
from ddbench.artifacts.releases import convert, read_release
from ddbench.compute.generators import seeded
from ddbench.data import Dataset, Preprocessing, Transform, load_dataset
from ddbench.decoders import Hallucinators, MultiFormation, Pixels
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.score_file import score
from ddbench.records.notation import make_network
from ddbench.registry import PROTOCOLS, discover

EACH, CLASSES = 4, 10
NETWORK, PROTOCOL = "convnet,depth=1,width=8", "brief-60@1"
PASSES = 15
"""epochs of the seed paper's steps"""
POINT = 0.01


@pytest.fixture(autouse=True)
def brief(register: Callable[..., None]) -> None:
    """A protocol of 60 steps, which follows step sizes, order and epochs that a release has."""
    rules = Protocol(PROTOCOL, "test", steps=60, short=60, batch_size=20, honours=("lr", "order", "epochs"))
    register(PROTOCOLS, PROTOCOL, rules)


@dataclass(frozen=True)
class Given:
    """The images that a release holds, 4 real digits of each class, class by class."""

    data: Dataset
    raw: Tensor
    """(40, 1, 8, 8) uint8"""
    labels: Tensor
    """(40,)"""
    unit: str = "processed"
    """`processed`, `unit` for pixels in [0, 1], or `bytes`"""

    def transform(self, kind: str = "normalize") -> Transform:
        return Preprocessing.for_dataset(self.data, kind).fit(self.data)

    def images(self, kind: str = "normalize") -> Tensor:
        """What authors store who preprocess images so, in whatever unit this has."""
        return {"unit": self.pixels, "bytes": self.raw}.get(self.unit, self.transform(kind)(self.raw))

    @property
    def pixels(self) -> Tensor:
        return self.raw.float() / 255

    @property
    def one_hot(self) -> Tensor:
        return nn.functional.one_hot(self.labels, CLASSES).float()


@cache
def given() -> Given:
    discover()
    data = load_dataset("digits")
    where = torch.cat([(data.train_labels == label).nonzero()[:EACH, 0] for label in range(CLASSES)])
    return Given(data, data.train_images[where], data.train_labels[where])


# -- what the authors' code leaves; each function returns what `ddbench convert` is given -----------------------------


def dc(folder: Path, given: Given) -> Path:
    """`main.py` of DC and DSA, and `main_DM.py`: an entry for each experiment, the last one is complete."""
    images, labels = given.images(), given.labels
    path = folder / f"res_DM_digits_ConvNet_{EACH}ipc.pt"
    torch.save({"data": [[torch.zeros_like(images), labels], [images, labels]], "accs_all_exps": {"ConvNet": []}}, path)
    return path


def datadam(folder: Path, given: Given) -> Path:
    torch.save(given.images(), folder / f"Digits_IPC{EACH}_images.pt")
    torch.save(given.labels.float(), folder / f"Digits_IPC{EACH}_labels.pt")
    return folder / f"Digits_IPC{EACH}_images.pt"


def idc(folder: Path, given: Given) -> Path:
    """IDC, DREAM and NCFM: a list of pixels and targets."""
    torch.save([given.raw if given.unit == "bytes" else given.pixels, given.labels], folder / "data_best.pt")
    (folder / "args.txt").write_text("{}")
    return folder


def mtt(folder: Path, given: Given) -> Path:
    """MTT: the last step, the best one by its authors' count, and images that were turned back into pixels."""
    for name in ("5000", "best"):
        images = given.images() if name == "best" else torch.zeros_like(given.images())
        torch.save(images, folder / f"images_{name}.pt")
        torch.save(given.labels, folder / f"labels_{name}.pt")
    torch.save(given.pixels, folder / "images_zca_5000.pt")
    return folder


def datm(folder: Path, given: Given) -> Path:
    """FTD and DATM: a learned step size, and logits that were learned."""
    torch.save(given.images(), folder / "images_best.pt")
    torch.save(8 * given.one_hot - 2, folder / "labels_best.pt")
    torch.save(torch.tensor(0.02), folder / "lr_best.pt")
    return folder


def ddranking(folder: Path, given: Given) -> Path:
    torch.save(given.images(), folder / "images.pt")
    torch.save(given.labels, folder / "labels.pt")
    return folder


def parts(folder: Path, given: Given) -> Path:
    for part in range(2):
        torch.save(given.images()[20 * part : 20 * part + 20], folder / f"images_best_{part}.pt")
        torch.save(given.labels[20 * part : 20 * part + 20], folder / f"labels_best_{part}.pt")
    return folder


def kip(folder: Path, given: Given) -> Path:
    images = given.images().permute(0, 2, 3, 1).numpy()
    np.savez(folder / "kip.npz", images=images, labels=given.one_hot.numpy() - 0.1)
    return folder / "kip.npz"


def frepo(folder: Path, given: Given) -> Path:
    images = given.images().permute(0, 2, 3, 1).numpy()
    np.savez(folder / "best_ckpt.npz", image=images, label=given.one_hot.numpy() - 0.1)
    return folder / "best_ckpt.npz"


def rfad(folder: Path, given: Given) -> Path:
    rest = {"k": np.float32(1), "jit": 5e-3}
    np.savez(folder / "best.npz", images=given.images().numpy(), labels=given.one_hot.numpy() - 0.1, **rest)
    return folder / "best.npz"


def wang2018(folder: Path, given: Given) -> Path:
    """The seed paper: images, labels and step size of each step, an image a class, the epochs one after the other."""
    images = given.images("standardize").unflatten(0, (CLASSES, EACH)).unbind(1)
    steps = [(images[step], given.labels[::EACH], torch.tensor([0.1])) for step in range(EACH)]
    torch.save(steps * PASSES, folder / "results.pth")
    return folder / "results.pth"


def class_folders(folder: Path, given: Given, name: str, file: str, **options: Any) -> Path:
    for number, (image, label) in enumerate(zip(given.raw, given.labels.tolist(), strict=True)):
        path = folder / name.format(label) / file.format(label, number)
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).convert("RGB" if options else "L").save(path, **options)
    return folder


def rded(folder: Path, given: Given) -> Path:
    return class_folders(folder, given, "{:05d}", "class{:05d}_id{:05d}.jpg")


def sre2l(folder: Path, given: Given) -> Path:
    return class_folders(folder, given, "new{:03d}", "class{:03d}_id{:03d}.jpg")


def d4m(folder: Path, given: Given) -> Path:
    return class_folders(folder, given, "{}", "{}-{}.png")


class Hallucinator(nn.Module):
    """A hallucinator with the names and shapes of the authors'."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.dec = nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 1, 3)
        self.scale, self.shift = nn.Parameter(torch.ones(1, 2, 6, 6)), nn.Parameter(torch.zeros(1, 2, 6, 6))

    def forward(self, bases: Tensor) -> Tensor:
        made: Tensor = self.dec(self.scale * self.enc(bases) + self.shift)
        return made


def hallucinators() -> nn.ModuleList:
    """Two of them, which give something like their bases."""
    made, generator = nn.ModuleList([Hallucinator() for _ in range(2)]), seeded(0)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))
            if name.endswith("scale"):
                weight += 1
            if name.endswith("weight"):
                weight[:, :, 1, 1] += 0.7
    return made


def haba(folder: Path, given: Given) -> Path:
    torch.save(given.images(), folder / "images_best.pt")
    torch.save(hallucinators().state_dict(), folder / "weights_best.pt")
    return folder


# -- the same images as an artefact of ours ---------------------------------------------------------------------------


def of_pixels(images: Tensor, labels: Tensor, kind: LabelKind = "index", **recipe: Any) -> DistilledDataset:
    return DistilledDataset({"images": images, "labels": labels}, Pixels(), kind, Recipe(**recipe))


def plain(given: Given, _: Path) -> DistilledDataset:
    return of_pixels(given.images(), given.labels)


def with_logits(given: Given, _: Path) -> DistilledDataset:
    return of_pixels(given.images(), 8 * given.one_hot - 2, "logits", lr=torch.tensor(0.02))


def with_targets(given: Given, _: Path) -> DistilledDataset:
    return of_pixels(given.images(), given.one_hot - 0.1, "targets")


def in_steps(given: Given, _: Path) -> DistilledDataset:
    first = torch.arange(EACH * CLASSES).view(CLASSES, EACH).T.flatten()  # an image of each class, then the next
    order = torch.arange(EACH * CLASSES).view(EACH, CLASSES)
    lr = torch.full((PASSES * EACH,), 0.1)
    return of_pixels(given.images("standardize")[first], given.labels[first], lr=lr, order=order, epochs=PASSES)


def as_files(given: Given, path: Path) -> DistilledDataset:
    """The pictures as Pillow reads them."""
    files = sorted(path.rglob("*.*"), key=lambda file: int(file.stem.rpartition("id")[2].rpartition("-")[2]))
    raw = torch.stack([torch.from_numpy(np.array(Image.open(file)))[None] for file in files])
    return of_pixels(given.transform()(raw), given.labels)


def in_tiles(given: Given, _: Path) -> DistilledDataset:
    tiles = [given.images()[:, :, down : down + 4, right : right + 4] for down in (0, 4) for right in (0, 4)]
    return DistilledDataset({"tiles": torch.stack(tiles, 1), "labels": given.labels}, MultiFormation(factor=2))


def hallucinated(given: Given, _: Path) -> DistilledDataset:
    with torch.no_grad():
        images = torch.stack([one(given.images()) for one in hallucinators()], 1).flatten(0, 1)
    return of_pixels(images, given.labels.repeat_interleave(2))


Write = Callable[[Path, Given], Path]
Direct = Callable[[Given, Path], DistilledDataset]
RELEASES: list[tuple[str, Write, Direct]] = [
    ("dc", dc, plain),
    ("mtt", datadam, plain),
    ("pair", idc, plain),
    ("mtt", mtt, plain),
    ("mtt", datm, with_logits),
    ("mtt", ddranking, plain),
    ("mtt", parts, plain),
    ("haba", haba, hallucinated),
    ("kip", kip, with_targets),
    ("kip", frepo, with_targets),
    ("kip", rfad, with_targets),
    ("wang2018", wang2018, in_steps),
    ("folder", rded, as_files),
    ("folder", sre2l, as_files),
    ("folder", d4m, as_files),
]
NAMES = [write.__name__ for _, write, _ in RELEASES]


def converted(path: Path, folder: Path, **options: Any) -> Path:
    out = folder / "converted.safetensors"
    convert(path, options.pop("layout", "auto"), "digits", out, network=NETWORK, protocol=PROTOCOL, **options)
    return out


def accuracy(path: Path) -> float:
    return score(path, count=1, device="cpu")[0].accuracy


def place(tmp_path: Path) -> Path:
    (tmp_path / "release").mkdir()
    return tmp_path / "release"


def direct_accuracy(artifact: DistilledDataset, path: Path, folder: Path) -> float:
    """Score images that never were a release, described as a run of ours would."""
    kind = "standardize" if artifact.recipe.order is not None else "normalize"
    provenance = {
        "method": "direct",
        "dataset": "digits",
        "dataset_digest": given().data.digest,
        "preprocessing": given().transform(kind).describe(),
        "network": make_network(NETWORK).model_dump(mode="json"),
        "ipc": len(artifact.parts["labels"]) // CLASSES,
        "protocol": PROTOCOL,
    }
    artifact.with_provenance(provenance).save(folder / "direct.safetensors")
    return accuracy(folder / "direct.safetensors")


def test_every_layout_is_tried() -> None:
    assert {layout for layout, _, _ in RELEASES} == set(LAYOUTS)


@pytest.mark.parametrize(("layout", "write", "direct"), RELEASES, ids=NAMES)
def test_a_release_scores_as_its_images_do(layout: str, write: Write, direct: Direct, tmp_path: Path) -> None:
    path = write(place(tmp_path), given())
    assert layout == recognise(path if layout != "pair" else path / "data_best.pt")
    found = accuracy(converted(path, tmp_path))
    assert found == pytest.approx(direct_accuracy(direct(given(), path), path, tmp_path), abs=POINT)
    assert found > 0.5


def test_tiles_score_as_the_images_that_they_are_cut_from(tmp_path: Path) -> None:
    """IDC with its factor of 2: an artefact of four tiles an image, cut by hand, has the same score."""
    path = idc(place(tmp_path), given())
    found = accuracy(converted(path, tmp_path, decoder="multi_formation,factor=2"))
    assert found == pytest.approx(direct_accuracy(in_tiles(given(), path), path, tmp_path), abs=POINT)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    images, labels = given().images(), given().labels
    held: dict[str, Any] = {"dc": {"data": [[images, labels]]}, "pair": [images, labels], "mtt": images}
    held["wang2018"] = [(images, labels, torch.tensor([0.02]))]
    torch.save(labels, tmp_path / "labels.pt", pickle_protocol=protocol)
    for layout, value in held.items():
        torch.save(value, tmp_path / "images.pt", pickle_protocol=protocol)
        released = read_release(tmp_path / "images.pt", recognise(tmp_path / "images.pt"))
        assert recognise(tmp_path / "images.pt") == layout
        assert torch.equal(released.images, images)
        assert released.labels is not None
        assert torch.equal(released.labels, labels)
    weights = hallucinators().state_dict()
    (tmp_path / "labels.pt").unlink()
    torch.save(images, tmp_path / "images.pt", pickle_protocol=protocol)
    torch.save(weights, tmp_path / "weights.pt", pickle_protocol=protocol)
    assert read_release(tmp_path, "haba").decoder == Hallucinators(count=2, channels=2, scale=1)


# -- what is in another unit, or another order ------------------------------------------------------------------------

TENSORS = [write for layout, write, _ in RELEASES if layout not in ("pair", "folder")]
"""layouts whose authors store preprocessed images; `pair` is told by its numbers, and pictures are pixels"""


@pytest.mark.parametrize("write", TENSORS, ids=lambda write: write.__name__)
def test_pixels_where_preprocessed_images_belong_are_warned_of_or_refused(write: Write, tmp_path: Path) -> None:
    path = write(place(tmp_path), replace(given(), unit="unit"))
    with pytest.warns(RuntimeWarning, match=r"they look like pixels in \[0, 1\]; convert with --preprocessing none"):
        converted(path, tmp_path)
    path = write(path if path.is_dir() else path.parent, replace(given(), unit="bytes"))
    with pytest.raises(
        UserError, match=r"holds images of type uint8 from 0 to 255, which '\w+' does not give; convert"
    ):
        converted(path, tmp_path)


def test_a_pair_is_read_in_whichever_unit_it_is(tmp_path: Path) -> None:
    kept = []
    for unit in ("unit", "bytes"):
        path = idc(tmp_path, replace(given(), unit=unit))
        kept.append(DistilledDataset.load(converted(path / "data_best.pt", tmp_path)).parts["images"])
    assert torch.allclose(kept[0], given().images(), atol=1e-6)
    assert torch.allclose(kept[1], kept[0], atol=1e-6)


@pytest.mark.parametrize("write", [write for _, write, _ in RELEASES], ids=NAMES)
def test_labels_in_another_order_are_warned_of(write: Write, tmp_path: Path) -> None:
    """Images of each class stand where those of the next belong, as where classes were counted from another."""
    turned = replace(given(), raw=given().raw.roll(EACH, 0))
    if write is d4m:  # folders that bear the names of the classes: those of other numbers
        assert tuple(map(str, range(CLASSES))) == given().data.classes
    with pytest.warns(
        RuntimeWarning, match=r"labels may be in another order than the data set's classes: images of '0'"
    ):
        converted(write(place(tmp_path), turned), tmp_path)


# -- HaBa -------------------------------------------------------------------------------------------------------------


def test_bases_are_stored_with_what_makes_images_of_them(tmp_path: Path) -> None:
    torch.save(given().images(), tmp_path / "images_15000.pt")
    torch.save(hallucinators().state_dict(), tmp_path / "styles_15000.pt")
    artifact = DistilledDataset.load(converted(tmp_path, tmp_path))
    assert torch.equal(artifact.parts["bases"], given().images())
    assert torch.allclose(artifact.decode()[0], hallucinated(given(), tmp_path).parts["images"], atol=1e-5)
    numbers = 40 * 64 + 2 * (2 * 9 + 2 + 2 * 36 * 2 + 2 * 9 + 1)
    assert artifact.stored_bytes()["images"] == 4 * numbers
    assert artifact.provenance["ipc"] == -(-numbers // 640)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("1.shift"), "is no state of HaBa's hallucinators; is it of another layout"),
        (lambda state: state.update({"0.more": torch.zeros(1)}), "is no state of HaBa's hallucinators"),
        (lambda state: state.update({"0.shift": 3}), "holds a shift that is no tensor of numbers"),
        (
            lambda state: state.update({"1.shift": torch.zeros(1, 2, 5, 5)}),
            r"holds parts of shapes \(2, 5, 5\), \(2, 6",
        ),
        (
            lambda state: state.update({f"{i}.dec.bias": torch.zeros(1, 1) for i in (0, 1)}),
            "of other shapes than HaBa's",
        ),
        (
            lambda state: state.update({f"{i}.scale": torch.zeros(1, 2, 4, 4) for i in (0, 1)}),
            r"kernels \(1, 3, 3\) and maps \(4, 4\), which do not fit bases of shape \(1, 8, 8\) in .*images_best.pt",
        ),
    ],
)
def test_hallucinators_that_are_none_are_refused(
    change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    state = dict(hallucinators().state_dict())
    change(state)
    torch.save(given().images(), tmp_path / "images_best.pt")
    torch.save(state, tmp_path / "weights_best.pt")
    with pytest.raises(UserError, match=message):
        converted(tmp_path, tmp_path)


def test_bases_without_hallucinators_or_of_uneven_classes_are_refused(tmp_path: Path) -> None:
    torch.save(given().images()[:-1], tmp_path / "images_best.pt")
    with pytest.raises(UserError, match=r"has no hallucinators beside it; save them there as weights_best.pt"):
        read_release(tmp_path, "haba")
    torch.save(hallucinators().state_dict(), tmp_path / "weights_best.pt")
    with pytest.raises(UserError, match=r"holds 39 images for 10 classes of digits; give one with as many of each"):
        converted(tmp_path, tmp_path)
