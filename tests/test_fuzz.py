"""What strangers may send, thousands of broken ones: each is read, or refused in one sentence; nothing else happens.

`.ci/run` tries eight times as many, `pytest tests/test_fuzz.py --hypothesis-profile=long` four hundred times. What was
found is an `@example` here, or a test of the module that was wrong.
"""

from __future__ import annotations

import copy
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import assume, event, example, given
from hypothesis import strategies as st
from numpy.lib import format as npy
from PIL import Image
from rich.console import Console

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.provenance import data_of
from ddbench.artifacts.recipe import Recipe
from ddbench.artifacts.releases import LAYOUTS, read_release
from ddbench.boards.board import load_board
from ddbench.boards.jobs import resolve
from ddbench.compute.generators import seeded
from ddbench.data import Preprocessing, load_dataset
from ddbench.decoders import parse_decoder
from ddbench.errors import UserError
from ddbench.evaluation.schedule import schedule_of
from ddbench.io.atomic import canonical_json, digest
from ddbench.leaderboard import rich_table, write_tables
from ddbench.networks import build_network
from ddbench.records.cell import Cell, NetworkSpec, run_key
from ddbench.records.files import dump_record, read_record
from ddbench.records.schema import Record
from ddbench.registry import DATASETS, PROTOCOLS, discover
from ddbench.site import write_site
from processes import watchdog

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
TINY = {"name": "convnet", "parameters": {"depth": 1, "width": 8}}
DECODERS = ["multi_formation", "canvas", "linear_bases,bases=2,images=4", "hallucinators,count=2,channels=1"]


# -- what must not happen ---------------------------------------------------------------------------------------------

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pickle.find_class"}


class Watch:
    """Notes whatever runs something, and what is written outside of a folder."""

    def __init__(self) -> None:
        self.awake = False
        self.folder = ""
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.awake:
            return
        if event in RUNS:
            self.seen.append(f"{event} {arguments}")
        elif event in WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            places = [place for place in arguments if isinstance(place, str | bytes)][: 1 + (event == "os.rename")]
            if not all(os.path.realpath(os.fsdecode(place)).startswith(self.folder) for place in places):
                self.seen.append(f"{event} {arguments}")


WATCH = Watch()


@pytest.fixture(scope="module", autouse=True)
def watched(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a first use imports and writes is no concern here."""
    path = tmp_path_factory.mktemp("sound") / "a.safetensors"
    for content in ARTIFACTS:
        path.write_bytes(content)
        follow(path)
    sys.addaudithook(WATCH)  # for good: Python has no way to take one away


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder of a test, which alone it may write to."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "precious").write_text("mine")
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    WATCH.folder, WATCH.seen = os.path.realpath(inside), []
    yield inside
    assert WATCH.seen == []
    assert sorted(path.name for path in tmp_path.rglob("*") if inside not in path.parents) == sorted(
        ["beside", "precious", "inside"]
    )


def attempt(read: Callable[[], Any]) -> None:
    """Read, within ten seconds; a refusal is one line that a terminal can show."""
    WATCH.awake = True
    try:
        with watchdog():
            read()
        event("read")
    except UserError as error:
        event("refused")
        sentence = str(error)
    else:
        return
    finally:
        WATCH.awake = False
    assert sentence
    assert sentence.isprintable()


# -- how things are broken --------------------------------------------------------------------------------------------

TEXTS = [
    "", ".", "..", "../../x", "/etc/passwd", "a/b", "a\\b", "~nobody/x", "a\0b", "a\nb", "\x1b[2J", "\u202e", "\ud800",
    "x" * 5000, "[/red]", "[bold]x", "<script>alert(1)</script>", "![x](http://x)", "x [y](z) `", "x<img src=y>", "a|b",
    "=1+1", "$\\frac{$", "nan", "1e999", "0x" + "f" * 50, "9" * 5000, "digits", "canvas", "canvas,factor=60000",
    "./evil.py", "dm",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 7, 255, 4096, 65_536, 2**31, 2**53, 2**63 - 1, 2**63, 10**30, 10**4000]
NUMBERS += [0.5, 0.75, -0.0, 1e-320, 1e-5, 1e9, 1.7e308, float("nan"), float("inf"), -float("inf")]
DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]
VALUES: list[Any] = [None, True, False, [], [[]], [0], {}, {"a": {"b": 1}}, {"../x": 1}, DEEP, *TEXTS, *NUMBERS]


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key in it."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from places(tree[key])


@st.composite
def changed(draw: st.DrawFn, trees: list[Any], values: list[Any] = VALUES) -> Any:
    """One of the trees, with a few values replaced, moved, removed or added."""
    tree = copy.deepcopy(draw(st.sampled_from(trees)))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(tree))
        if not found:
            break
        container, key = draw(st.sampled_from(found))
        alike = [value for value in values if type(value) is type(container[key])] or values
        match draw(st.sampled_from(["other", "other", "replace", "move", "remove", "add"])):
            case "other":
                container[key] = copy.deepcopy(draw(st.sampled_from(alike)))
            case "replace":
                container[key] = copy.deepcopy(draw(st.sampled_from(values)))
            case "move":
                other, name = draw(st.sampled_from(found))
                if isinstance(other, dict) or name < len(other):
                    container[key] = copy.deepcopy(other.get(name) if isinstance(other, dict) else other[name])
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw(st.sampled_from(TEXTS))] = copy.deepcopy(draw(st.sampled_from(values)))
    return tree


@st.composite
def damaged(draw: st.DrawFn, contents: list[bytes]) -> bytes:
    """One of the contents, with bytes changed, cut out, put in or moved; or any bytes."""
    content = bytearray(draw(st.sampled_from([*contents, b""])))
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, len(content))), draw(st.integers(1, 64))
        match draw(st.sampled_from(["change", "end", "cut", "put", "repeat", "splice"])):
            case "change":
                content[start : start + 1] = draw(st.binary(min_size=1, max_size=8))
            case "end":
                del content[start:]
            case "cut":
                del content[start : start + length]
            case "put":
                content[start:start] = draw(st.binary(max_size=64))
            case "repeat":
                content[start:start] = content[start : start + length] * draw(st.integers(1, 50))
            case "splice":
                other = draw(st.sampled_from(contents))
                content[start:] = other[min(start, len(other)) :]
    return bytes(content)


# -- artefacts --------------------------------------------------------------------------------------------------------


def artifacts() -> list[bytes]:
    """One image a class of digits, in every form."""
    data = load_dataset("digits")
    provenance = {
        "method": "random_real", "dataset": "digits", "dataset_digest": data.digest, "ipc": 4, "network": TINY,
        "preprocessing": Preprocessing.for_dataset(data).fit(data).describe(), "protocol": "own-recipe@1",
        "networks": 2,
    }  # fmt: skip

    def draw(count: int) -> torch.Tensor:
        return torch.rand(10 * count, *data.shape, generator=seeded(0))

    recipe = Recipe(lr=torch.tensor(0.5), order=torch.arange(40).reshape(4, 10), epochs=2, momentum=0.5)
    weights = dict(build_network("convnet", data.shape, 10, TINY["parameters"]).state_dict())  # type: ignore[arg-type]
    images, labels = draw(4), torch.arange(10).repeat_interleave(4)
    plain = DistilledDataset.pixels(images, labels, recipe=recipe, initial=weights)
    soft = DistilledDataset.pixels(images, torch.rand(40, 10, generator=seeded(0)), label_kind="logits")
    made = [parse_decoder(name) for name in DECODERS]
    decoded = [DistilledDataset(one.start(draw, data.shape, 10, 4, seeded(0)), one) for one in made]
    return [one.with_provenance(provenance).to_bytes() for one in (plain, soft, *decoded)]


def opened(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Both headers of an artefact as one tree, and its data."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    ours = json.loads(header.pop("__metadata__")["ddbench"])
    return {"tensors": header, "ours": ours}, content[8 + length :]


def closed(tree: Any, data: bytes) -> bytes:
    header = dict(tree["tensors"]) if isinstance(tree.get("tensors"), dict) else {"x": tree.get("tensors")}
    header["__metadata__"] = {"ddbench": json.dumps(tree.get("ours"))}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def follow(path: Path) -> None:
    """Everything that scoring does with an artefact but training."""
    loaded = ddbench.load(path)
    loaded[0]
    artifact = DistilledDataset.load(path)
    data = data_of(artifact, path)
    network = NetworkSpec.model_validate(artifact.provenance["network"])
    build_network(network.name, data.shape, len(data.classes), network.parameters)
    schedule_of(PROTOCOLS.get(artifact.provenance["protocol"]), artifact.recipe, len(loaded))
    transform = Preprocessing.from_description(artifact.provenance["preprocessing"]).fit(data)
    transform.inverse(loaded.images)


discover()
ARTIFACTS = artifacts()
TREES = [opened(content) for content in ARTIFACTS]


@given(content=damaged(ARTIFACTS))
def test_damaged_artefacts(folder: Path, content: bytes) -> None:
    (folder / "a.safetensors").write_bytes(content)
    attempt(lambda: follow(folder / "a.safetensors"))


@given(tree=changed([tree for tree, _ in TREES]), data=st.sampled_from([data for _, data in TREES]))
def test_artefacts_with_other_headers(folder: Path, tree: Any, data: bytes) -> None:
    own = next((own for known, own in TREES if known["tensors"] == tree.get("tensors")), data)
    (folder / "a.safetensors").write_bytes(closed(tree, own))
    attempt(lambda: follow(folder / "a.safetensors"))


# -- records ----------------------------------------------------------------------------------------------------------


def record(method: str, accuracy: float) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "method": method, "hyperparameters": {"lr": 0.5, "init": "real"}, "dataset": "digits",
        "dataset_digest": "sha256:00", "preprocessing": "normalize", "network": TINY, "setting": "random", "ipc": 1,
        "protocol": "quick-300@1", "networks": 1, "budget": {"seconds": 60.0, "steps": 10, "peak_bytes": 10**9},
        "device": "cpu", "threads": 1, "pool": {"dataset": "usps", "dataset_digest": "sha256:11"},
        "attack": {"source": 0, "target": 1}, "also": [{"network": TINY, "protocol": "dsa-1000@1", "networks": 1}],
        "peek": 0.1,
    }  # fmt: skip
    selected = {"held_out": 0.5, "validation": 0.5, "oracle": 0.75, "before": 0.25}
    content = {
        "key": run_key(Cell.model_validate(cell), 0, "sha256:22"), "board": "b", "method_source": "sha256:22",
        "protocol": {"name": "quick-300@1"}, "stored_bytes": {"images": 96, "labels": 8},
        "result": {
            "cell": cell, "seed": 0, "status": "ok", "reason": "none", "steps_done": {"distil": 5},
            "steps_planned": {"distil": 10},
            "scores": [{"network": TINY, "seed": seed, "accuracy": accuracy, "metrics": selected} for seed in (0, 1)],
            "also": [{"network": TINY, "seed": 0, "accuracy": accuracy, "protocol": "dsa-1000@1"}],
            "snapshots": {"last": 0.5, "validation": 0.5, "oracle": 0.75},
        },
        "measured": {
            "seconds": {"distil": 2.5}, "uncharged_seconds": {"evaluation": 1.0}, "peak_bytes": 1000,
            "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:00+00:00",
            "log": {"loss": [[0, 1.5]]}, "environment": {"threads": 1},
        },
    }  # fmt: skip
    sealed: dict[str, Any] = json.loads(dump_record(Record.model_validate(content)))
    return sealed


def seal(content: Any) -> bytes:
    """The content with the key and the checksum that fit, so that it is looked into."""
    if isinstance(content, dict):
        with suppress(Exception):
            result = content["result"]
            content["key"] = run_key(Cell.model_validate(result["cell"]), result["seed"], content["method_source"])
        content.pop("checksum", None)
        with suppress(ValueError, RecursionError):
            content["checksum"] = digest(canonical_json(content))
    return json.dumps(content).encode()


RECORDS = [record("random_real", 0.5), record("good", 0.75)]
FIGURE = {
    "method": "good", "dataset": "digits", "ipc": 1, "network": "convnet(depth=1, width=8)", "protocol": "quick-300@1",
    "accuracy": 73.5, "plus_minus": 0.5, "source": "paper", "read": True, "variant": {"lr": 0.5},
}  # fmt: skip
FIGURES = {"sources": {"paper": "The paper, 2020."}, "entries": [FIGURE, FIGURE | {"ipc": 10, "read": False}]}


def put(folder: Path, content: Any, figures: Any) -> None:
    """A folder of tables with a sound record, this one, and these published figures."""
    (folder / "records").mkdir(exist_ok=True)
    for name, one in (("sound", RECORDS[0]), ("odd", content)):
        (folder / "records" / f"{name}.json").write_bytes(seal(copy.deepcopy(one)))
    (folder / "records" / "published.yaml").write_text(yaml.safe_dump(figures))


def shown(folder: Path) -> None:
    """Everything that a terminal and files show of a record beside a sound one."""
    records = [read_record(folder / "records" / f"{name}.json") for name in ("sound", "odd")]
    terminal = io.StringIO()
    for table in rich_table(records):
        Console(file=terminal, width=160, highlight=False).print(table)
    assert terminal.getvalue().replace("\n", "").isprintable()
    for path in write_tables(folder / "records", folder / "out"):
        assert path.parent == folder / "out"
        if path.suffix == ".md":
            check_markdown(path.read_text())


def check_markdown(text: str) -> None:
    """There are tables and words, and nothing that a record made: no HTML, links, pictures, columns or lines."""
    assert text.replace("\n", "").isprintable()
    assert "<" not in text.replace("\\<", "")
    assert "[" not in text.replace("\\[", "")
    for table in text.split("\n\n"):
        rows = [line.replace("\\|", "").count("|") for line in table.splitlines() if table.startswith("|")]
        assert len(set(rows)) <= 1


@given(content=changed(RECORDS))
def test_records_with_other_fields(folder: Path, content: Any) -> None:
    put(folder, content, FIGURES)
    attempt(lambda: shown(folder))


@pytest.mark.slow
@given(content=changed(RECORDS))
def test_pages_of_records_with_other_fields(folder: Path, content: Any) -> None:
    put(folder, content, FIGURES)
    attempt(lambda: write_site(folder / "records", folder / "out"))


@given(content=damaged([json.dumps(one, indent=1).encode() for one in RECORDS]))
def test_damaged_records(folder: Path, content: bytes) -> None:
    (folder / "r.json").write_bytes(content)
    attempt(lambda: read_record(folder / "r.json"))


# -- boards and figures -----------------------------------------------------------------------------------------------

BOARDS: list[Any] = [
    {
        "board": "b", "title": "A board", "datasets": ["digits"], "ipc": [1, 2], "preprocessing": "normalize",
        "network": {"name": "convnet", "depth": 1}, "protocol": "quick-300@1", "budget": "60s", "peak_bytes": "1GB",
        "seeds": 1, "validation": 0.2, "threads": 1, "curve_seeds": 1, "checkpoint_seconds": 5.0, "networks": 1,
        "entries": [
            {"methods": ["dm"], "set": {"iterations": 5, "lr_images": 0.5, "decoder": "pixels"}, "source": "a paper"},
            {"methods": ["random_real"], "datasets": ["digits"], "ipc": [1], "steps": 5, "seeds": 2, "networks": 2,
             "snapshots": [0, 0.5]},
        ],
    },
    {
        "board": "attack", "datasets": "digits", "ipc": 1, "network": "convnet,depth=1", "protocol": "own-recipe@1",
        "setting": "attack", "networks": 1,
        "entries": [{
            "methods": "backprop", "pool": {"dataset": "digits", "train": 1, "held_out": 1, "steps": 1, "lr": 0.1},
            "attack": {"source": 0, "target": 1}, "set": {"init": "real", "iterations": 2},
        }],
    },
]  # fmt: skip
TOKENS = [
    "- ", "a: ", "b", "[", "]", "{", "}", ", ", "? ", "&a ", "*a ", "<<: ", "!!int ", "!!float ", "!!bool ", "!!set ",
    "!!timestamp ", "!!binary ", "!!omap ", "!!python/object/apply:os.system ", "|\n", ">-\n", "\n", "\n ", "\n  ", "'",
    '"', "#", "%YAML 1.1\n", "---\n", "...\n", "0x", "1:2:3", "1e5", ".inf", "2001-99-99", "null", "~", "\t", "\\ud800",
    "board: ", "entries: ", "=",
]  # fmt: skip


def planned(path: Path) -> None:
    """A board's cells and, where they are few, its runs."""
    cells = list(islice(load_board(path).cells(), 20))
    if len(cells) < 10:
        resolve(load_board(path), "cpu")


@given(tree=changed(BOARDS))
@example(tree=BOARDS[0] | {"entries": [{"methods": ["dm"], "set": {"decoder": "multi_formation,factor=60000"}}]})
@example(tree=BOARDS[0] | {"entries": [{"methods": ["dm"], "set": {"decoder": "canvas,factor=" + "9" * 5000}}]})
def test_boards_with_other_fields(folder: Path, tree: Any) -> None:
    (folder / "b.yaml").write_bytes(yaml.safe_dump(tree, allow_unicode=False).encode())
    attempt(lambda: planned(folder / "b.yaml"))


@given(content=damaged([path.read_bytes() for path in sorted(CONFIGS.glob("*.yaml"))]))
def test_damaged_boards(folder: Path, content: bytes) -> None:
    (folder / "b.yaml").write_bytes(content)
    attempt(lambda: load_board(folder / "b.yaml"))


@given(tokens=st.lists(st.sampled_from(TOKENS) | st.text(max_size=4), max_size=30))
def test_yaml_of_any_tokens(folder: Path, tokens: list[str]) -> None:
    (folder / "b.yaml").write_bytes("".join(tokens).encode(errors="surrogatepass"))
    attempt(lambda: load_board(folder / "b.yaml"))


@given(tree=changed([FIGURES]))
def test_published_figures_with_other_fields(folder: Path, tree: Any) -> None:
    put(folder, RECORDS[1], tree)
    attempt(lambda: shown(folder))


# -- data sets and releases -------------------------------------------------------------------------------------------


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def saved(save: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


ARRAYS: dict[str, Any] = {
    "train_images": np.zeros((4, 4, 4), np.uint8), "train_labels": np.arange(4) % 2,
    "test_images": np.zeros((2, 4, 4, 1), np.uint8), "test_labels": np.arange(2), "classes": np.array(["a", "b"]),
}  # fmt: skip
NPZ = [saved(lambda file: np.savez(file, **ARRAYS)), saved(lambda file: np.savez_compressed(file, **ARRAYS))]
KINDS = ["|u1", "<i8", ">i8", "<f4", "<U1", "<U0", "|O", "|V0", "<c16", "<M8[s]", "<u8", "|b1", "x", 5]
SHAPES = [(4,), (2,), (4, 4, 4), (2, 4, 4, 1), (), (0,), (-1,), (2**40,), (2**40, 2**40), (0, 2**62)]
HEADERS = st.fixed_dictionaries(
    {"descr": st.sampled_from(KINDS), "fortran_order": st.sampled_from([False, 1]), "shape": st.sampled_from(SHAPES)}
)


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """An `.npz` with a header that need not fit what follows it."""
    header, start = draw(HEADERS), io.BytesIO()
    text = repr(header).encode()
    start.write(npy.magic(1, 0) + len(text).to_bytes(2, "little") + text)
    content = start.getvalue() + draw(st.binary(max_size=64) | st.just(bytes(64)))
    members = {f"{name}.npy": saved(lambda file, array=array: np.save(file, array)) for name, array in ARRAYS.items()}
    return packed(**members | {f"{draw(st.sampled_from(sorted(ARRAYS)))}.npy": content})


@given(content=damaged(NPZ) | arrays())
def test_archives_of_arrays(folder: Path, content: bytes) -> None:
    (folder / "d.npz").write_bytes(content)
    attempt(lambda: load_dataset("d.npz"))
    attempt(lambda: read_release(folder / "d.npz", "kip"))


FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]
PICTURES = [saved(lambda file, kind=kind: Image.new("RGB", (8, 8), (9, 99, 200)).save(file, kind)) for kind in FORMATS]


@given(content=damaged(PICTURES))
@example(content=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) run\n")
def test_pictures(folder: Path, content: bytes) -> None:
    for place in ("a/0", "a/1", "b/0", "b/1"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(PICTURES[0])
    (folder / "a" / "0").write_bytes(content)
    attempt(lambda: load_dataset(str(folder)))


def releases() -> list[Any]:
    images, labels = torch.rand(20, 1, 8, 8, generator=seeded(0)), torch.arange(20) % 10
    accuracies = {"ConvNet": [np.float64(0.5), np.float32(0.75), 1]}
    return [{"data": [[images, labels], [images, labels]], "accs_all_exps": accuracies}, images, labels, labels.float()]


TENSORS = [
    torch.zeros(0), torch.tensor(0.5), torch.zeros(20, 10), torch.full((20, 10), 0.1, dtype=torch.float64),
    torch.ones(20).half(), torch.zeros(1).expand(2**40), torch.zeros(20, 1, 8, 8).transpose(2, 3),
    torch.zeros(2, 2).to_sparse(), torch.zeros(20, 1, 8, 8, dtype=torch.complex64), torch.zeros(2, device="meta"),
    torch.nn.Parameter(torch.zeros(20, 1, 8, 8)), torch.full((20, 1, 8, 8), torch.nan), torch.arange(20).bool(),
    np.float64(1), np.zeros(3), (1, (2,)), {1, 2}, b"x", range(3), Path("x"), slice(1),
]  # fmt: skip


def serialised(tree: Any) -> bytes:
    return saved(lambda file: torch.save(tree, file))


def read_as_all(folder: Path, content: bytes) -> None:
    for name in ("images_best.pt", "labels_best.pt", "lr_best.pt"):
        (folder / name).write_bytes(content)
    for layout in LAYOUTS:
        attempt(lambda layout=layout: read_release(folder if layout == "mtt" else folder / "images_best.pt", layout))


@given(content=damaged([serialised(one) for one in releases()]))
def test_damaged_releases(folder: Path, content: bytes) -> None:
    read_as_all(folder, content)


@given(tree=changed(releases()[:1], [*VALUES, *TENSORS]))
def test_releases_with_other_values(folder: Path, tree: Any) -> None:
    read_as_all(folder, serialised(tree))


PICKLED = [
    b"\x80\x02", b"}", b"]", b")", b"N", b"(", b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"Q", b"R",
    b"b", b"0", b"2", b"i", b".", b"X\x04\0\0\0data", b"X\x01\0\0\x000", b"X\x07\0\0\0storage", b"K\x04",
    b"q\0", b"h\0",
    b"J\xff\xff\xff\x7f", b"\x8a\x09" + bytes(8) + b"\x7f", b"G?\xf0" + bytes(6), b"\x96" + bytes(7) + b"\x7f",
    b"\x93", b"\x81", b"cos\nsystem\n", b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ccollections\nOrderedDict\n", b"cnumpy\ndtype\n",
]  # fmt: skip


@given(steps=st.lists(st.sampled_from(PICKLED), max_size=40))
def test_any_instructions_of_a_pickle(folder: Path, steps: list[bytes]) -> None:
    read_as_all(folder, packed(**{"a/data.pkl": b"".join(steps) + b".", "a/data/0": bytes(64)}))


@given(name=st.text(max_size=300) | st.sampled_from(TEXTS))
def test_names_of_data_sets(folder: Path, name: str) -> None:
    assume(name not in DATASETS)  # Hypothesis finds these in the code, and they are downloaded
    attempt(lambda: load_dataset(name))
