"""`docs/own-photos.md` as its reader carries it out: each block of code, in the page's order, on phone pictures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import load_dataset
from factories import Call
from phone_pictures import phone_pictures

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "own-photos.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
LOOP = next(block for kind, block in BLOCKS if kind == "python")
SMALL = {
    "size=64": "size=16",
    "depth=4,width=32": "depth=1,width=8",
    "--budget 2m": "--budget 1s",
    "range(50)": "range(1)",
}
"""what the quick form puts in place of the page's numbers"""
QUICK = {"--budget 2m": "--budget 5s"}
TIMM = {"from torchvision.models import resnet18": "import timm", "resnet18(n": 'timm.create_model("resnet18", n'}


def changed(text: str, replacements: dict[str, str]) -> str:
    """Put numbers in place of others, each of which has to be on the page."""
    for old, new in replacements.items():
        assert old in PAGE
        text = text.replace(old, new)
    return text


def follow(call: Call, commands: list[str], replacements: dict[str, str]) -> list[str]:
    """Carry out commands and give what each said on standard output and standard error."""
    said = []
    for command in commands:
        program, *arguments = shlex.split(changed(command, replacements))
        assert program == "ddbench"
        code, out, err = call(*arguments)
        assert code == 0, err
        said.append(out + err)
    return said


def train(capsys: pytest.CaptureFixture[str], replacements: dict[str, str]) -> int:
    """Run the page's training loop, and give the percentage that it prints."""
    torch.manual_seed(0)
    exec(compile(changed(LOOP, replacements), "own-photos.md", "exec"), {})
    found = re.search(r"^(\d+)% of the test pictures are recognised$", capsys.readouterr().out, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_the_page_has_the_whole_way() -> None:
    assert [shlex.split(command)[1] for command in COMMANDS] == ["prepare", "distill", "show", "export", "evaluate"]
    assert "resnet18(num_classes=2)" in LOOP


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_what_a_phone_leaves_becomes_images_that_train_a_resnet(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phone_pictures(tmp_path / "photos", 70)
    prepared, *_ = follow(call, COMMANDS[:-1], SMALL)
    assert "56 training and 14 test images, 2 classes, 3 x 16 x 16" in prepared
    for note in ("turned as EXIF says", "transparent pixels put on white", "resized and cropped to 16x16"):
        assert note in prepared
    check_results(tmp_path, 16)
    assert 0 <= train(capsys, SMALL) <= 100


def test_a_picture_that_was_turned_is_like_the_others_of_its_class(tmp_path: Path) -> None:
    """Stripes of cats lie across, whatever way the phone was held: rows differ more than columns."""
    data = load_dataset(f"{phone_pictures(tmp_path / 'photos', 70)}[size=16]")
    images = data.train_images.float().mean(1)
    across = images.mean(2).std(1) > images.mean(1).std(1)
    assert torch.equal(across, data.train_labels == data.classes.index("cat"))


def check_results(folder: Path, side: int) -> None:
    artifact = DistilledDataset.load(folder / "photos.safetensors")
    assert artifact.parts["images"].shape == (20, 3, side, side)
    pictures = sorted((folder / "photos-distilled").rglob("*/*.png"))
    assert [path.parent.name for path in pictures] == ["0-cat"] * 10 + ["1-dog"] * 10
    with Image.open(pictures[0]) as first, Image.open(folder / "photos.png") as sheet:
        assert first.size == (side, side)
        assert min(sheet.size) > 10


@pytest.mark.slow  # minutes: networks of four layers, pictures of 64 x 64, an evaluation of six runs
@pytest.mark.timeout(1800)
def test_the_page_runs_word_for_word_but_for_its_budgets(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phone_pictures(tmp_path / "photos", 300)
    prepared, *_ = follow(call, COMMANDS[:-1], QUICK)
    assert "240 training and 60 test images, 2 classes, 3 x 64 x 64" in prepared
    check_results(tmp_path, 64)
    assert train(capsys, {}) > 60
    table = follow(call, COMMANDS[-1:], QUICK)[0]
    assert all(name in table for name in ("distribution_matching", "gradient_matching", "random_real"))


@pytest.mark.slow
def test_a_network_of_timm_takes_the_place_of_torchvisions(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    phone_pictures(tmp_path / "photos", 70)
    follow(call, COMMANDS[:2], SMALL)
    assert 0 <= train(capsys, {**SMALL, **TIMM}) <= 100
