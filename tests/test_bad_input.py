"""What a user can do wrong: one sentence that names the value and the fix, exit code 2, nothing written or lost.

The sentences about arrays and folders are in `test_data*.py`, those about artefacts and records in `test_artifact.py`
and `test_records.py`; here is what the command makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import yaml

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.data import Preprocessing, load_dataset
from ddbench.io.atomic import canonical_json, digest
from ddbench.io.locks import LOCK
from ddbench.records.files import damage, write_record
from ddbench.registry import discover
from ddbench.runs.record import failed_record
from factories import Call, rewrite_artifact

TINY = ["--network", "convnet,depth=1,width=8"]


@dataclass
class Command:
    """`ddbench` in this process, in an empty folder."""

    folder: Path
    call: Call

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        return self.call(*arguments)

    def refuses(self, *arguments: object) -> str:
        """The one sentence of a refusal; checks that nothing changed on disk."""
        before = self.files()
        code, out, err = self(*arguments)
        assert (code, out) == (2, "")
        assert self.files() == before
        sentence = err.strip()
        assert sentence.startswith("ddbench: ")
        assert "\n" not in sentence
        return sentence.removeprefix("ddbench: ")

    def files(self) -> dict[str, bytes]:
        """Every path below the folder with what it holds."""
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in self.folder.rglob("*")}


@pytest.fixture
def ddbench(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    return Command(tmp_path, call)


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("-m distribution_matchin", "unknown method 'distribution_matchin'; did you mean 'distribution_matching'?"),
        ("-m zzz", "unknown method 'zzz'; known: "),
        ("-m ./mine.py", "no method file at {folder}/mine.py; `ddbench new mine` writes one"),
        ("-m dm -d digts", "unknown dataset 'digts'; did you mean 'digits'? (or give the path of an .npz file"),
        ("-m dm -d ./none.npz", "no file at none.npz; give the path of an .npz file"),
        ("-m dm --network convent", "unknown network 'convent'; did you mean 'convnet'?"),
        ("-m dm --network convnet,widht=8", "network 'convnet' has no parameter 'widht'; did you mean 'width'?"),
        ("-m dm --network convnet,width=big", "width of network 'convnet' is 'big'; it must be of type int"),
        ("-m dm --network convnet,width", "command line: network: 'width' is not KEY=VALUE"),
        ("-m dm --network convnet,width=[1]", "command line: network: width is [1]; a network's parameters are numb"),
        ("-m dm --network convnet,depth=0", "depth is 0; it must be at least 1"),
        ("-m dm --protocol dsa-1000", "unknown protocol 'dsa-1000'; did you mean 'dsa-1000@1'?"),
        ("-m dm --set lr_image=1", "unknown hyper-parameter 'lr_image' of distribution_matching; did you mean 'lr_im"),
        ("-m dm --set lr_images=fast", "lr_images='fast' of distribution_matching: input should be a valid number"),
        ("-m dm --set iterations=0", "iterations=0 of distribution_matching: input should be greater than 0"),
        ("-m dm --set iterations=-5", "iterations=-5 of distribution_matching: input should be greater than 0"),
        ("-m dm --set iterations=1.5", "iterations=1.5 of distribution_matching: input should be a valid integer"),
        ("-m dm --set augment=1", "augment=1 of distribution_matching: input should be a valid boolean"),
        ("-m dm --set lr_images", "--set 'lr_images' is not KEY=VALUE"),
        ("-m dm --set lr_images=[", "--set 'lr_images=[' has no value that YAML can read; quote it"),
        ("-m dm --budget 60bananas", "command line: budget: '60bananas' is not a budget such as 60s, 2m or 1h"),
        ("-m dm --budget 60", "command line: budget: '60' is not a budget such as 60s, 2m or 1h"),
        ("-m dm --budget 0s", "command line: budget: '0s' is not a budget such as 60s, 2m or 1h"),
        ("-m dm --budget -5s", "command line: budget: '-5s' is not a budget such as 60s, 2m or 1h"),
        ("-m dm --budget infs", "command line: budget: 'infs' is not a budget such as 60s, 2m or 1h"),
        ("-m dm --steps 0", "command line: steps: input should be greater than 0, got 0"),
        ("-m dm --steps -3", "command line: steps: input should be greater than 0, got -3"),
        ("-m dm --seeds 0", "command line: seeds: input should be greater than 0, got 0"),
        ("-m dm --ipc 0", "command line: ipc.0: input should be greater than 0, got 0"),
        ("-m dm --ipc 1000", "ipc 1000 is larger than the smallest class of digits (139 images); lower it"),
        (
            "-m dc --ipc 7",
            "gradient_matching has no published loops for ipc 7; set matchings and epochs, or use an ipc of",
        ),
        (
            "-m dd --ipc 10 --set images_per_step=3",
            "images_per_step 3 of backprop does not divide ipc 10; choose a divis",
        ),
        ("-m dm --device tpu", "unknown device 'tpu'; use auto, cpu, cuda, cuda:N or mps"),
        ("-m dm --device mps", "device 'mps' asked for, but torch sees no such GPU of Apple here; use --device cpu"),
        ("-m dm --device cuda:99", "device 'cuda:99' asked for, but torch sees "),
        ("--budget 60s", "name at least one --method, or a board's file"),
        ("board.yaml", "no board at board.yaml (No such file or directory); `ddbench list boards` shows those that s"),
        ("board.yaml --seeds 2", "board.yaml says how to run its cells; leave out --seeds, or the file"),
    ],
)
def test_evaluate_refuses(ddbench: Command, options: str, sentence: str) -> None:
    said = ddbench.refuses("evaluate", *options.split(" "), "--out", "out")
    assert said.startswith(sentence.format(folder=ddbench.folder.resolve()))


def test_a_budget_with_a_space_is_read_as_one_value(ddbench: Command) -> None:
    said = ddbench.refuses("evaluate", "-m", "dm", "--budget", "60 bananas", "--out", "out")
    assert said == "command line: budget: '60 bananas' is not a budget such as 60s, 2m or 1h"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_none_is(ddbench: Command) -> None:
    said = ddbench.refuses("evaluate", "-m", "dm", "--device", "cuda", "--out", "out")
    assert said == "device 'cuda' asked for, but torch sees 0 GPUs; use --device cpu"


def test_an_output_folder_that_cannot_be_written(ddbench: Command) -> None:
    (ddbench.folder / "file").write_text("mine")
    said = ddbench.refuses("evaluate", "-m", "random_real", "--out", "file/out")
    assert said == "cannot write to file/out (Not a directory); choose another folder with --out"
    said = ddbench.refuses("evaluate", "-m", "random_real", "--out", "file")
    assert said == "cannot write to file (File exists); choose another folder with --out"
    said = ddbench.refuses("distill", "random_real", "-d", "digits", "--out", "file/x.safetensors")
    assert said == "cannot write to file/.x.safetensors.work (Not a directory); choose another folder with --out"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("dmm -d digits --out x.safetensors", "unknown method 'dmm'; did you mean 'dm'?"),
        ("dm -d digits --out x.pt", "'x.pt' does not end in .safetensors; artefacts do"),
        ("dm -d digits --out x.safetensors --budget 0s", "distill: budget: '0s' is not a budget such as 60s"),
        ("dm -d digits --out x.safetensors --steps 0", "distill: steps: input should be greater than 0, got 0"),
        ("dm -d digits --out x.safetensors --setting fix", "distill: setting: input should be 'random', 'fixed', "),
        ("dm -d digits --out x.safetensors --setting fixed", "distribution_matching does not work in the 'fixed' set"),
        ("dm -d digits --out x.safetensors --ipc 1000", "ipc 1000 is larger than the smallest class of digits (139"),
    ],
)
def test_distill_refuses(ddbench: Command, options: str, sentence: str) -> None:
    assert ddbench.refuses("distill", *options.split(" ")).startswith(sentence)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("list method", "cannot list 'method'; did you mean 'methods'?"),
        ("check herdin", "unknown method 'herdin'; did you mean 'herding'?"),
        ("check none.py", "no method file at {folder}/none.py; `ddbench new none` writes one"),
        ("new My-Method", "'My-Method' cannot name a method; use lower-case letters, digits and underscores"),
        ("new class", "'class' cannot name a method; use lower-case letters, digits and underscores"),
        ("show none.safetensors", "no artefact at none.safetensors; `ddbench distill` writes one"),
        ("score none.safetensors", "no artefact at none.safetensors; `ddbench distill` writes one"),
        ("prepare cifar11", "unknown dataset 'cifar11'; did you mean 'cifar10'? (or give the path of an .npz file"),
        ("leaderboard none", "no records below none; run `ddbench evaluate` first, or name its --out folder"),
        ("leaderboard . --check", ". has no records/, so that no tables are kept in it; leave out --check"),
        (
            "leaderboard . --site s --out t",
            "--out is where tables are written, and --check and --site write none; leave",
        ),
        ("leaderboard none --check", "no records below none; run `ddbench evaluate` first, or name its --out folder"),
    ],
)
def test_the_other_commands_refuse(ddbench: Command, arguments: str, sentence: str) -> None:
    said = ddbench.refuses(*arguments.split(" "))
    assert said.startswith(sentence.format(folder=ddbench.folder.resolve()))


def test_new_overwrites_nothing(ddbench: Command) -> None:
    (ddbench.folder / "mine.py").write_text("precious")
    assert ddbench.refuses("new", "mine") == f"{ddbench.folder}/mine.py exists already; choose another name"


@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate --bananas",
        "evaluat",
        "distill dm",
        "evaluate -m dm --seeds two",
        "score",
        "evaluate -m dm --workers 0",
    ],
)
def test_usage_errors_end_with_the_same_code(ddbench: Command, arguments: str) -> None:
    code, out, err = ddbench(*arguments.split(" "))
    assert (code, out) == (2, "")
    assert "Usage: ddbench" in err
    assert ddbench.files() == {}


# -- boards -----------------------------------------------------------------------------------------------------------

BOARD: dict[str, Any] = {"board": "b", "datasets": ["digits"], "ipc": [1], "entries": [{"methods": ["dm"]}]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"budgett": "60s"}, "unknown key 'budgett'; did you mean 'budget'?"),
        ({"entries": [{"method": "dm", "methods": ["dm"]}]}, "unknown key 'entries.0.method'; did you mean 'methods'?"),
        ({"network": {"name": "mlp", "parameters": {}, "parameter": 1}}, "unknown key 'network.parameter'; did you me"),
        ({"datasets": None}, "datasets.0: input should be a valid string, got None"),
        ({"entries": []}, "entries: list should have at least 1 item after validation, not 0, got []"),
        ({"entries": [{}]}, "entries.0.methods: field required"),
        ({"entries": [{"methods": ["dm"]}, {"methods": [3]}]}, "entries.1.methods.0: input should be a valid string, "),
        ({"entries": "dm"}, "entries: input should be a valid list, got 'dm'"),
        ({"ipc": ["ten"]}, "ipc.0: input should be a valid integer, got 'ten'"),
        ({"ipc": [1, 0]}, "ipc.1: input should be greater than 0, got 0"),
        ({"ipc": [True]}, "ipc.0: input should be a valid integer, got True"),
        ({"seeds": 2.5}, "seeds: input should be a valid integer, got 2.5"),
        ({"budget": 0}, "budget: input should be greater than 0, got 0"),
        ({"budget": -1}, "budget: input should be greater than 0, got -1"),
        ({"budget": "60 bananas"}, "budget: '60 bananas' is not a budget such as 60s, 2m or 1h"),
        ({"budget": [60]}, "budget: input should be a valid number, got [60]"),
        ({"budget": float("inf")}, "budget: input should be a finite number, got inf"),
        ({"peak_bytes": "8 bananas"}, "peak_bytes: '8 bananas' is not an amount such as 8GB"),
        ({"validation": 1.5}, "validation: input should be less than 1, got 1.5"),
        (
            {"preprocessing": "whiten"},
            "preprocessing: input should be 'normalize', 'standardize', 'zca' or 'regularized_zca', got 'whiten'",
        ),
        ({"network": 5}, "network: input should be a valid dictionary or instance of NetworkSpec, got 5"),
        ({"network": {"width": 3}}, "network.name: input should be a valid string, got None"),
        ({"board": "a/b"}, "board: string should match pattern"),
        ({"entries": [{"methods": "dm", "budget": "0s"}]}, "entries.0.budget: '0s' is not a budget such as 60s"),
        ({"entries": [{"methods": ["dmm"]}]}, "entries.0: unknown method 'dmm'; did you mean 'dm'?"),
        ({"entries": [{"methods": "dm", "datasets": "digts"}]}, "entries.0: unknown dataset 'digts'; did you mean 'di"),
        ({"entries": [{"methods": "dm", "protocol": "quick"}]}, "entries.0: unknown protocol 'quick'; did you mean"),
        ({"entries": [{"methods": "dm", "network": "conv"}]}, "entries.0: unknown network 'conv'; did you mean 'conv"),
        ({"entries": [{"methods": "dm", "ipc": 500}]}, "entries.0: ipc 500 is larger than the smallest class of digi"),
        ({"validation": 0.2, "ipc": 120}, "entries.0: ipc 120 is larger than the smallest class of digits (1"),
        (
            {"entries": [{"methods": "dm"}, {"methods": "dm", "set": {"iterations": 0}}]},
            "entries.1: iterations=0 of distribution_matching: input should be greater than 0",
        ),
        (
            {"entries": [{"methods": "dm", "set": {"lr_images": "1e"}}]},
            "entries.0: lr_images='1e' of distribution_matching: input should be a valid number",
        ),
        (
            {"entries": [{"methods": "dm", "set": {"batchreal": 8}}]},
            "entries.0: unknown hyper-parameter 'batchreal' of distribution_matching; did you mean 'batch_real'?",
        ),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_board_is_refused_with_the_place(ddbench: Command, changes: dict[str, Any], sentence: str) -> None:
    (ddbench.folder / "b.yaml").write_text(yaml.safe_dump(BOARD | changes))
    said = ddbench.refuses("evaluate", "b.yaml", "--out", "out")
    assert said.removeprefix("b.yaml: ").startswith(sentence)
    assert said.startswith("b.yaml: ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("board: [", "b.yaml is not valid YAML: while parsing a flow node"),
        ("- a\n- b", "b.yaml holds list, not a board; see configs/quickstart.yaml"),
        ("", "b.yaml holds NoneType, not a board; see configs/quickstart.yaml"),
    ],
)
def test_what_is_no_board_is_refused(ddbench: Command, text: str, sentence: str) -> None:
    (ddbench.folder / "b.yaml").write_text(text)
    assert ddbench.refuses("evaluate", "b.yaml", "--out", "out").startswith(sentence)


@pytest.mark.parametrize("content", [b"board: \xff\xfe", None], ids=["no text", "a folder"])
def test_an_unreadable_board_is_refused(ddbench: Command, content: bytes | None) -> None:
    path = ddbench.folder / "b.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    assert "b.yaml" in ddbench.refuses("evaluate", "b.yaml", "--out", "out")


# -- data -------------------------------------------------------------------------------------------------------------


def write_npz(path: Path, **changes: Any) -> Path:
    """Two classes of five grey 8 x 8 images, changed."""
    images, labels = np.zeros((10, 8, 8, 1), np.uint8), np.arange(10) % 2
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    kept = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
    np.savez(path, **kept)
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"test_labels": None}, "t.npz has no array test_labels (it holds train_images, train_labels, test_images); "),
        (
            {"train_labels": np.arange(9) % 2},
            "t.npz: train_labels has shape (9,), not (10,); save one label for ea",
        ),
        ({"test_labels": np.arange(10)}, "t.npz: test_labels holds 9; number the 2 classes of the train split 0..1"),
        ({"train_images": np.full((10, 8, 8), np.nan)}, "t.npz: train_images holds 640 NaN values; repair them and s"),
        ({"train_labels": np.array([{}] * 10)}, "t.npz: train_labels holds pickled Python objects, which are never l"),
    ],
    ids=["missing", "shape", "range", "NaN", "pickled"],
)
def test_an_npz_is_refused(ddbench: Command, changes: dict[str, Any], sentence: str) -> None:
    write_npz(ddbench.folder / "t.npz", **changes)
    assert ddbench.refuses("evaluate", "-m", "dm", "-d", "t.npz", *TINY, "--out", "out").startswith(sentence)
    assert ddbench.refuses("prepare", "t.npz").startswith(sentence)


def test_no_network_when_a_download_is_needed(ddbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.MNIST", fail)
    for arguments in (["prepare", "mnist"], ["evaluate", "-m", "dm", "-d", "mnist", "--out", "out"]):
        said = ddbench.refuses(*arguments)
        assert said.startswith("cannot get mnist: <urlopen error no route to host>; connect once and run `ddbench prep")
        assert "or put mnist.npz with arrays train_images (N, H, W, C) uint8" in said
        assert said.endswith("into the folder named by DDBENCH_DATA")


# -- artefacts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """One image a class of digits, as `ddbench distill` writes it."""
    data = load_dataset("digits")
    provenance = {
        "method": "random_real",
        "dataset": "digits",
        "dataset_digest": data.digest,
        "ipc": 1,
        "network": {"name": "convnet", "parameters": {"depth": 1, "width": 8}},
        "protocol": "quick-300@1",
        "preprocessing": Preprocessing.for_dataset(data).fit(data).describe(),
    }
    path = tmp_path / "a.safetensors"
    DistilledDataset.pixels(torch.zeros(10, 1, 8, 8), torch.arange(10)).with_provenance(provenance).save(path)
    return path


@pytest.mark.parametrize("command", ["score", "show"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:-100]),
            "{path} is truncated or not a safetensors file (",
        ),
        (
            lambda path: rewrite_artifact(path, lambda header, tensors: header.update(format_version=99)),
            "{path} has format version 99 and this ddbench reads 1; score it with the release that wrote it",
        ),
        (
            lambda path: rewrite_artifact(
                path, lambda header, tensors: header["provenance"].update(dataset_digest="sha256:0")
            ),
            "{path} was distilled from 'digits' (sha256:0), but 'digits' is another data set (sha256:",
        ),
        (
            lambda path: rewrite_artifact(path, lambda header, tensors: header["provenance"].clear()),
            "{path} does not say its dataset, dataset_digest, method, ipc, network, preprocessing, protocol; write it",
        ),
        (
            lambda path: rewrite_artifact(path, lambda header, tensors: tensors["parts.labels"].add_(2)),
            "{path} does not fit 'digits': labels lie outside 0 to 9; write it again with `ddbench distill`",
        ),
        (
            lambda path: rewrite_artifact(path, lambda header, tensors: header["provenance"].update(ipc=2)),
            "{path} does not fit 'digits': 10 images where the task asks for 10 classes x 2; write it again",
        ),
    ],
    ids=["truncated", "format version", "digest", "no provenance", "class count", "size"],
)
def test_an_artefact_is_refused(
    ddbench: Command, artifact: Path, command: str, change: Callable[[Path], Any], sentence: str
) -> None:
    change(artifact)
    assert ddbench.refuses(command, artifact).startswith(sentence.format(path=artifact))


def test_an_artefact_of_another_dataset_is_refused(ddbench: Command, artifact: Path) -> None:
    other = write_npz(ddbench.folder / "other.npz")
    said = ddbench.refuses("score", artifact, "--dataset", other)
    assert said.startswith(f"{artifact} was distilled from 'digits' (sha256:")
    assert "but 'other' is another data set" in said
    assert said.endswith("name the right one with --dataset")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--protocol quick", "unknown protocol 'quick'; did you mean 'quick-300@1'?"),
        ("--network convent", "unknown network 'convent'; did you mean 'convnet'?"),
        ("--network convnet,width", "network 'convnet,width': 'width' is not KEY=VALUE"),
        ("--network convnet,width=[1]", "network 'convnet,width=[1]': width is [1]; a network's parameters are"),
        ("--network convnet --network mlpp", "unknown network 'mlpp'; did you mean 'mlp'?"),
        ("--device tpu", "unknown device 'tpu'; use auto, cpu, cuda, cuda:N or mps"),
        ("--dataset digts", "unknown dataset 'digts'; did you mean 'digits'?"),
    ],
)
def test_score_refuses(ddbench: Command, artifact: Path, options: str, sentence: str) -> None:
    assert ddbench.refuses("score", artifact, *options.split(" ")).startswith(sentence)


def test_a_picture_that_cannot_be_written(ddbench: Command, artifact: Path) -> None:
    (ddbench.folder / "file").write_text("mine")
    said = ddbench.refuses("show", artifact, "--out", "file/grid.png")
    assert said.startswith("cannot write file/grid.png: ")


# -- records ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def record(ddbench: Command) -> Path:
    """A run folder, `out`, with one record of `ddbench evaluate -m random_real`."""
    discover()
    chosen = {"entries": [{"methods": "random_real"}], "network": TINY[1], "protocol": "quick-300@1"}
    (job,) = resolve(make_board(BOARD | chosen), "cpu")
    path = ddbench.folder / "out" / job.folder / "record.json"
    write_record(path, failed_record(job, "failed", "by hand", "2026-01-01T00:00:00Z"))
    (ddbench.folder / "out" / LOCK).touch()
    return path


def edited(path: Path, seal: bool, **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    if seal:
        del content["checksum"]
        content["checksum"] = digest(canonical_json(content))
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: edited(path, False, board="other"), "{path} was edited after it was written (its checksum does "),
        (lambda path: edited(path, True, key="0" * 16), "{path}: key 0000000000000000 is not the hash of its cell and"),
        (lambda path: edited(path, True, schema_version=2), "{path} has schema version 2; this ddbench reads 1"),
        (lambda path: edited(path, True, bord="x"), "{path}: bord: extra inputs are not permitted (got 'x'); run the"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "{path} is not a readable JSON file ("),
    ],
    ids=["edited", "key", "schema", "unknown key", "truncated"],
)
def test_a_record_edited_by_hand_is_refused(
    ddbench: Command, record: Path, change: Callable[[Path], Any], sentence: str
) -> None:
    change(record)
    expected = sentence.format(path=record.relative_to(ddbench.folder))
    assert ddbench.refuses("leaderboard", "out").startswith(expected)
    assert ddbench.refuses("leaderboard", "out", "--out", "tables").startswith(expected)
    if damage(record) is None:  # what is not even what was written, `evaluate` makes anew
        assert ddbench.refuses("evaluate", "-m", "random_real", *TINY, "--out", "out").startswith(expected)


def test_an_untouched_record_is_taken(ddbench: Command, record: Path) -> None:
    before = record.read_bytes()
    code, out, err = ddbench("evaluate", "-m", "random_real", *TINY, "--out", "out")
    assert code == 1
    assert "random_real" in out
    assert "1 runs are done already, 0 to do" in err
    assert record.read_bytes() == before
