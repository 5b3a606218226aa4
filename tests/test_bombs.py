"""Small files that ask for terabytes, or for ever: each is refused with a gigabyte of memory, in one sentence."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.lib import format as npy
from PIL import Image

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.artifacts.releases import read_release
from ddbench.boards.board import load_board
from ddbench.boards.jobs import resolve
from ddbench.data import load_dataset, make_dataset
from ddbench.decoders import make_decoder
from ddbench.errors import UserError
from ddbench.io.safetensors_files import tensor_bytes
from ddbench.records.files import read_record
from ddbench.registry import discover

pytestmark = [pytest.mark.usefixtures("little_memory"), pytest.mark.timeout(60)]
BOARD: dict[str, Any] = {"board": "b", "datasets": ["digits"], "ipc": [1], "entries": [{"methods": ["dm"]}]}


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    """And imported: libraries reserve memory of their own."""
    discover()
    load_dataset("digits")


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        read()
    return str(caught.value)


# -- archives ---------------------------------------------------------------------------------------------------------


INFLATED = 300_000_000


def packed(path: Path, name: str, content: bytes, zeros: int = 0) -> Path:
    """An archive with one member, which ends with so many zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
        member.write(content)
        for _ in range(zeros // 10**6):
            member.write(bytes(10**6))
    return path


def header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return npy.magic(1, 0) + len(text).to_bytes(2, "little") + text


def test_an_array_that_is_said_to_be_huge(tmp_path: Path) -> None:
    path = packed(tmp_path / "d.npz", "train_images.npy", header(f"({2**40},)"))
    assert "train_images is damaged: 0 bytes are no uint8 of shape (1099511627776,)" in refusal(
        lambda: load_dataset(str(path))
    )


def test_a_lone_array_that_is_said_to_be_huge(tmp_path: Path) -> None:
    (tmp_path / "d.npz").write_bytes(header(f"({2**40},)"))
    assert "is a single array and no archive" in refusal(lambda: load_dataset(str(tmp_path / "d.npz")))


def test_an_array_that_inflates(tmp_path: Path) -> None:
    path = packed(tmp_path / "d.npz", "train_images.npy", header(f"({INFLATED},)"), INFLATED)
    assert path.stat().st_size < 2**20
    assert "train_images unpacks to more than 100 times the size of its file" in refusal(
        lambda: load_dataset(str(path))
    )


def test_an_array_that_inflates_beyond_what_it_says(tmp_path: Path) -> None:
    path = packed(tmp_path / "d.npz", "train_images.npy", header(f"({INFLATED},)"), INFLATED)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 1000)
    path.write_bytes(content)
    assert "train_images is damaged" in refusal(lambda: load_dataset(str(path)))


def test_a_label_that_names_a_billion_classes() -> None:
    images, labels = np.zeros((2, 4, 4), np.uint8), np.array([0, 2**60])
    assert "train_labels holds 1152921504606846976; number the 3 classes" in refusal(
        lambda: make_dataset("x", images, labels, images, np.arange(2))
    )


def test_a_release_whose_pickle_inflates(tmp_path: Path) -> None:
    path = packed(tmp_path / "r.pt", "r/data.pkl", b"", INFLATED)
    assert "unpacks to more than 100 times the size of its file" in refusal(lambda: read_release(path, "dc"))


def test_a_release_of_one_number_a_trillion_times(tmp_path: Path) -> None:
    torch.save({"data": [[torch.zeros(1).expand(2**40, 1, 1, 1), torch.arange(2)]]}, tmp_path / "r.pt")
    assert "holds a tensor of shape (1099511627776, 1, 1, 1) with 1 numbers" in refusal(
        lambda: read_release(tmp_path / "r.pt", "dc")
    )


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "reason"), [(8000, "more than 100 times the size"), (40_000, "cannot be read as an im")]
)
def test_pictures_that_are_said_to_be_huge(tmp_path: Path, side: int, reason: str) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a" / "0.png")
    content = bytearray((tmp_path / "a" / "0.png").read_bytes())
    struct.pack_into(">II", content, 16, side, side)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    for number in range(10):
        (tmp_path / "a" / f"{number}.png").write_bytes(content)
    assert reason in refusal(lambda: load_dataset(str(tmp_path)))


# -- artefacts --------------------------------------------------------------------------------------------------------


def artifact(path: Path, tensors: dict[str, torch.Tensor], **changes: Any) -> Path:
    """A file whose header need not fit its tensors."""
    ours = {"format_version": 1, "decoder": "pixels", "label_kind": "index", "recipe": {}, "provenance": {}} | changes
    path.write_bytes(tensor_bytes(tensors, ours))
    return path


def test_a_header_of_a_hundred_megabytes(tmp_path: Path) -> None:
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 100_000_000))
        file.truncate(100_000_008)
    assert "its header would have 100000000 bytes" in refusal(lambda: ddbench.load(tmp_path / "a.safetensors"))


def test_an_array_without_numbers_and_with_vast_sides(tmp_path: Path) -> None:
    sides = {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}
    labels = {"dtype": "I64", "shape": [0], "data_offsets": [0, 0]}
    ours = {"format_version": 1, "decoder": "pixels", "label_kind": "index", "recipe": {}, "provenance": {}}
    metadata = {"ddbench": json.dumps(ours)}
    text = json.dumps({"parts.images": sides, "parts.labels": labels, "__metadata__": metadata}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    assert "is no sound artefact" in refusal(lambda: ddbench.load(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("decoder", "settings", "parts"),
    [
        ("canvas", {"crops": 65_536}, {"canvases": (100, 3, 64, 64)}),
        ("multi_formation", {"factor": 4096}, {"tiles": (1, 1, 3, 8, 8)}),
        ("linear_bases", {"scale": 65_536}, {"bases": (1, 1, 8, 8), "coefficients": (10, 1)}),
        ("linear_bases", {"scale": 1}, {"bases": (1, 3, 256, 256), "coefficients": (100_000, 1)}),
        (
            "hallucinators",
            {"count": 2, "channels": 10_000},
            {
                "bases": (1000, 1, 32, 32),
                "into": (20_000, 1, 3, 3),
                "into_bias": (20_000,),
                "scales": (20_000, 1, 1),
                "shifts": (20_000, 1, 1),
                "back": (20_000, 1, 3, 3),
                "back_bias": (2,),
            },
        ),
    ],
)
def test_decoders_that_make_much_of_little(
    tmp_path: Path, decoder: str, settings: dict[str, int], parts: dict[str, tuple[int, ...]]
) -> None:
    tensors = {f"parts.{name}": torch.zeros(shape) for name, shape in parts.items()}
    tensors["parts.labels"] = torch.zeros(len(next(iter(tensors.values()))), dtype=torch.int64)
    path = artifact(tmp_path / "a.safetensors", tensors, decoder=decoder, decoder_settings=settings)
    assert f"decoder '{decoder}' would make " in refusal(lambda: ddbench.load(path))


def test_a_setting_of_a_decoder_has_a_bound() -> None:
    assert "crops of decoder 'canvas' is 65537; 65536 is the most" in refusal(
        lambda: make_decoder("canvas", {"crops": 65_537})
    )


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (Recipe(order=torch.zeros(1, 1, dtype=torch.int64), epochs=10**12), "its recipe has 1 x 1000000000000 steps"),
        (Recipe(order=torch.zeros(1, 10**6, dtype=torch.int64)), "recipe.order has batches of 1000000 images"),
    ],
)
def test_recipes_that_never_end(tmp_path: Path, recipe: Recipe, reason: str) -> None:
    path = tmp_path / "a.safetensors"
    DistilledDataset.pixels(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64), recipe=recipe).save(path)
    assert reason in refusal(lambda: ddbench.load(path))


# -- boards and records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seeds": 10**12}, "1000000000000 runs are more than a board can have, 100000"),
        ({"ipc": [1] * 1000, "datasets": ["digits"] * 1000}, "1000000 runs are more than a board can have"),
        ({"threads": 10**6}, "threads: input should be less than or equal to 1024"),
        ({"network": {"name": "mlp", "width": 2**31}}, "width of network 'mlp' is 2147483648; 4096 is the most"),
        ({"network": {"name": "mlp", "depth": 100, "width": 4096}}, "network 'mlp' would have 1661657098 parameters"),
        (
            {"entries": [{"methods": ["dm"], "set": {"decoder": "multi_formation,factor=60000"}}]},
            "factor 60000 of multi_formation does not divide images of 8x8",
        ),
        (
            {"entries": [{"methods": ["dm"], "set": {"decoder": "canvas,crops=" + "9" * 5000}}]},
            "decoder='canvas,crops=9999",
        ),
        ({"title": "x" * 2**19}, "it has more than 262144 bytes"),
    ],
)
def test_boards_that_ask_for_too_much(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(BOARD | changes))
    assert reason in refusal(lambda: resolve(load_board(tmp_path / "b.yaml"), "cpu"))


def test_a_record_of_brackets(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("[" * 10**6)
    assert "is nested deeper than 50 levels" in refusal(lambda: read_record(tmp_path / "r.json"))


def test_a_record_of_many_megabytes(tmp_path: Path) -> None:
    with (tmp_path / "r.json").open("wb") as file:
        file.truncate(2**40)
    assert "it has more than 4194304 bytes" in refusal(lambda: read_record(tmp_path / "r.json"))
