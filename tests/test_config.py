"""Boards read strictly: quantities, networks, settings, and a sentence for everything that does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt

from ddbench.boards.board import Board, load_board, make_board
from ddbench.errors import UserError
from ddbench.records.notation import make_network, parse_bytes, parse_network, parse_seconds, parse_settings
from ddbench.task.hyperparameters import make_method

MINIMAL: dict[str, Any] = {"board": "b", "datasets": ["digits"], "ipc": [1], "entries": [{"methods": ["random_real"]}]}


# -- quantities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("60s", 60.0), ("2m", 120.0), ("1.5h", 5400.0), (" 0.5 s ", 0.5), (7, 7), (7.5, 7.5), (None, None)],
)
def test_parse_seconds(given: object, seconds: object) -> None:
    assert parse_seconds(given) == seconds


@pytest.mark.parametrize("given", ["60 bananas", "60", "0s", "0.0h", "-1s", "s", "", "1e3s", "1 2s", "60S", "1m30s"])
def test_parse_seconds_refuses(given: str) -> None:
    with pytest.raises(ValueError, match="is not a budget such as 60s, 2m or 1h") as caught:
        parse_seconds(given)
    assert repr(given) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "count"),
    [("8GB", 8e9), ("512MiB", 512 * 2**20), ("1.5 GiB", 1.5 * 2**30), ("10KB", 1e4), ("2KiB", 2048), (10, 10)],
)
def test_parse_bytes(given: object, count: float) -> None:
    assert parse_bytes(given) == count


@pytest.mark.parametrize("given", ["8", "8 gigs", "0GB", "8gb", "GB"])
def test_parse_bytes_refuses(given: str) -> None:
    with pytest.raises(ValueError, match="is not an amount such as 8GB"):
        parse_bytes(given)


@pytest.mark.parametrize(
    ("given", "parameters"),
    [
        ("convnet", {}),
        ("convnet,width=32,depth=2", {"width": 32, "depth": 2}),
        ("convnet, norm=batch", {"norm": "batch"}),
        ({"name": "convnet"}, {}),
        ({"name": "convnet", "width": 32}, {"width": 32}),
        ({"name": "convnet", "parameters": {"width": 32}}, {"width": 32}),
    ],
)
def test_parse_network(given: object, parameters: dict[str, object]) -> None:
    assert parse_network(given) == {"name": "convnet", "parameters": parameters}


def test_parse_network_leaves_other_things_to_be_refused_by_type() -> None:
    assert parse_network(3) == 3
    with pytest.raises(ValueError, match="'width' is not KEY=VALUE"):
        parse_network("convnet,width")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr=0.5", 0.5),
        ("lr=1e-3", 1e-3),
        ("lr=-2e+4", -2e4),
        ("lr=1.0e-3", 1e-3),
        ("n=3", 3),
        ("init=real", "real"),
        ("name=a1e-3", "a1e-3"),
        ("augment=false", False),
        ("epochs=null", None),
        ("epochs=", None),
        ("text=a=b", "a=b"),
        (" lr = 1e-3 ", 1e-3),
    ],
)
def test_parse_settings(setting: str, value: object) -> None:
    (parsed,) = parse_settings([setting]).values()
    assert parsed == value
    assert type(parsed) is type(value)


def test_make_network() -> None:
    network = make_network("convnet,width=32")
    assert (network.name, network.parameters) == ("convnet", {"width": 32})
    with pytest.raises(UserError, match=r"^network 'convnet,width': 'width' is not KEY=VALUE$"):
        make_network("convnet,width")


def test_parse_settings_keeps_the_last_of_two() -> None:
    assert parse_settings(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}


def test_parse_settings_refuses_what_yaml_cannot_read() -> None:
    with pytest.raises(ValueError, match=r"'lr=\[1' has no value that YAML can read; quote it"):
        parse_settings(["lr=[1"])


@pytest.mark.parametrize("setting", ["lr", "=3", " =3", ""])
def test_parse_settings_refuses(setting: str) -> None:
    with pytest.raises(ValueError, match="is not KEY=VALUE"):
        parse_settings([setting])


# -- boards ---------------------------------------------------------------------------------------------------------


def test_a_minimal_board_has_the_defaults() -> None:
    board = make_board(MINIMAL)
    assert (board.protocol, board.setting, board.preprocessing, board.seeds) == ("dsa-1000@1", "random", "normalize", 1)
    assert (board.budget, board.steps, board.networks, board.validation) == (None, None, None, None)
    (cell,) = board.cells()
    assert (cell.entry, cell.method, cell.dataset, cell.ipc) == (0, "random_real", "digits", 1)


def test_single_values_stand_for_lists_and_quantities_are_parsed() -> None:
    board = make_board(
        {
            **MINIMAL,
            "datasets": "digits",
            "ipc": 1,
            "network": "convnet,width=32",
            "budget": "2m",
            "peak_bytes": "1GB",
            "entries": [{"methods": "herding"}],
        }
    )
    assert (board.datasets, board.ipc, board.network.parameters) == (["digits"], [1], {"width": 32})
    assert (board.budget, board.peak_bytes, board.entries[0].methods) == (120.0, 10**9, ["herding"])


def test_cells_come_in_the_order_of_the_file() -> None:
    board = make_board(
        {
            **MINIMAL,
            "datasets": ["x", "y"],
            "ipc": [1, 10],
            "entries": [{"methods": ["b", "a"]}, {"methods": ["c"], "ipc": [5]}],
        }
    )
    cells = [(cell.entry, cell.method, cell.dataset, cell.ipc) for cell in board.cells()]
    assert cells == [
        (0, "b", "x", 1), (0, "b", "x", 10), (0, "b", "y", 1), (0, "b", "y", 10),
        (0, "a", "x", 1), (0, "a", "x", 10), (0, "a", "y", 1), (0, "a", "y", 10),
        (1, "c", "x", 5), (1, "c", "y", 5),
    ]  # fmt: skip


def test_an_entry_overrides_what_it_names_and_inherits_the_rest() -> None:
    shared = {
        "network": "mlp",
        "setting": "random",
        "preprocessing": "normalize",
        "protocol": "dsa-1000@1",
        "networks": 5,
        "also": [{"network": "mlp"}],
        "budget": "60s",
        "steps": 100,
        "seeds": 3,
        "snapshots": [0.5],
    }
    own = {
        "datasets": ["y"],
        "ipc": [7],
        "network": "lenet",
        "setting": "fixed",
        "preprocessing": "zca",
        "protocol": "quick-300@1",
        "networks": 1,
        "also": [],
        "budget": "5s",
        "steps": 10,
        "seeds": 1,
        "snapshots": [0, 0.9],
    }
    entries = [{"methods": ["a"], "set": {"lr": 1}}, *({"methods": ["a"], name: value} for name, value in own.items())]
    plain, *others = make_board({**MINIMAL, **shared, "entries": entries}).cells()
    assert plain.set == {"lr": 1}
    assert (plain.network.name, plain.budget, plain.seeds) == ("mlp", 60.0, 3)
    for cell, name in zip(others, own, strict=True):
        assert cell.set == {}
        differing = {field for field, value in vars(cell).items() if value != getattr(plain, field)}
        assert differing == {{"datasets": "dataset"}.get(name, name), "set", "entry"}


def changed(**values: object) -> dict[str, Any]:
    return {**MINIMAL, **values}


def entry(**values: object) -> dict[str, Any]:
    return changed(entries=[{"methods": ["random_real"]}, {"methods": ["random_real"], **values}])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (changed(budgte="60s"), "unknown key 'budgte'; did you mean 'budget'?"),
        (changed(zzz=1), "unknown key 'zzz'; known: also, "),
        (entry(dataset="digits"), "unknown key 'entries.1.dataset'; did you mean 'datasets'?"),
        (entry(validation=0.1), "unknown key 'entries.1.validation'; known: also, "),
        ({key: value for key, value in MINIMAL.items() if key != "datasets"}, "datasets: field required"),
        (changed(entries=[{"set": {}}]), "entries.0.methods: field required"),
        (changed(entries=[]), "entries: list should have at least 1 item after validation, not 0, got []"),
        (changed(entries=["random_real"]), "entries.0: input should be a valid dictionary"),
        (changed(board="a/b"), "board: string should match pattern"),
        (changed(board=3), "board: input should be a valid string, got 3"),
        (changed(datasets=[]), "datasets: value should have at least 1 item"),
        (changed(datasets=[3]), "datasets.0: input should be a valid string, got 3"),
        (changed(ipc=[1, 0]), "ipc.1: input should be greater than 0, got 0"),
        (changed(ipc=["1"]), "ipc.0: input should be a valid integer, got '1'"),
        (changed(ipc=[1.5]), "ipc.0: input should be a valid integer, got 1.5"),
        (changed(ipc=[True]), "ipc.0: input should be a valid integer, got True"),
        (
            changed(network={"name": "mlp", "parameters": {}, "nme": 1}),
            "unknown key 'network.nme'; did you mean 'name'?",
        ),
        (changed(network=3), "network: input should be a valid dictionary"),
        (changed(network="convnet,width"), "network: 'width' is not KEY=VALUE"),
        (changed(network={"width": 3}), "network.name: input should be a valid string, got None"),
        (
            changed(setting="trained"),
            "setting: input should be 'random', 'fixed', 'pretrained' or 'attack', got 'trained'",
        ),
        (
            changed(preprocessing="whiten"),
            "preprocessing: input should be 'normalize', 'standardize', 'zca' or 'regularized_zca', got 'whiten'",
        ),
        (changed(networks=0), "networks: input should be greater than 0, got 0"),
        (changed(budget="60 bananas"), "budget: '60 bananas' is not a budget such as 60s, 2m or 1h"),
        (changed(budget="0s"), "budget: '0s' is not a budget such as 60s, 2m or 1h"),
        (changed(budget=0), "budget: input should be greater than 0, got 0"),
        (changed(budget=-5), "budget: input should be greater than 0, got -5"),
        (changed(budget=float("nan")), "budget: input should be "),
        (changed(budget=float("inf")), "budget: input should be a finite number, got inf"),
        (changed(budget=["60s"]), "budget: input should be a valid number, got ['60s']"),
        (changed(steps=0), "steps: input should be greater than 0, got 0"),
        (changed(steps="10"), "steps: input should be a valid integer, got '10'"),
        (changed(peak_bytes="8"), "peak_bytes: '8' is not an amount such as 8GB"),
        (changed(seeds=0), "seeds: input should be greater than 0, got 0"),
        (changed(threads="2"), "threads: input should be a valid integer, got '2'"),
        (changed(validation=1.0), "validation: input should be less than 1, got 1.0"),
        (changed(validation=0), "validation: input should be greater than 0, got 0"),
        (changed(curve_seeds=-1), "curve_seeds: input should be greater than or equal to 0, got -1"),
        (
            changed(snapshots=[0.5, 0.5]),
            "snapshots: [0.5, 0.5] does not ascend; list each fraction once, the smallest first",
        ),
        (changed(snapshots=[1.0]), "snapshots.0: input should be less than 1, got 1.0"),
        (changed(checkpoint_seconds=-1), "checkpoint_seconds: input should be greater than or equal to 0, got -1"),
        (entry(budget="1 day"), "entries.1.budget: '1 day' is not a budget such as 60s, 2m or 1h"),
        (entry(seeds=0), "entries.1.seeds: input should be greater than 0, got 0"),
        (entry(set=["lr=1"]), "entries.1.set: input should be a valid dictionary, got ['lr=1']"),
        (entry(methods=[]), "entries.1.methods: value should have at least 1 item"),
    ],
)
def test_a_board_that_does_not_fit_is_refused_with_its_place(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        make_board(content, where="b.yaml")
    assert str(caught.value).startswith(f"b.yaml: {sentence}")
    assert "\n" not in str(caught.value)


def test_a_board_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("board: b\ndatasets: [digits]\nipc: 1\nbudget: 2m\nentries:\n  - {methods: [herding], seeds: 2}\n")
    board = load_board(path)
    assert isinstance(board, Board)
    assert (board.budget, board.entries[0].seeds) == (120.0, 2)
    assert board.place(3) == f"{path}: entries.3: "
    assert make_board(MINIMAL).place(3) == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("board: [", r"is not valid YAML: .*line [12]"),
        ("- board", r"holds list, not a board; see configs/quickstart.yaml"),
        ("", r"holds NoneType, not a board"),
        (
            "board: b\ndatasets: x\nipc: 1\nentries: [{method: a, methods: a}]",
            r"unknown key 'entries.0.method'; did you",
        ),
    ],
)
def test_a_file_that_is_no_board_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence) as caught:
        load_board(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no board at .*b.yaml \(No such file or directory\); `ddbench list boards`"):
        load_board(tmp_path / "b.yaml")
    with pytest.raises(UserError, match=r"no board at .* \(Is a directory\)"):
        load_board(tmp_path)


# -- hyper-parameters -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    name = "some_method"
    iterations: PositiveInt = 10
    lr: float = 0.5
    share: Annotated[float, Field(ge=0, le=1)] = 0.1
    epochs: int | None = None
    augment: bool = True
    init: Literal["noise", "real"] = "noise"

    def __post_init__(self) -> None:
        if self.iterations == 13:
            raise UserError("iterations is 13; take another number")


def test_a_method_is_made_with_its_settings_and_defaults() -> None:
    assert make_method(Method, {}) == Method()
    made = make_method(Method, {"lr": 1, "epochs": 3, "augment": False, "init": "real"})
    assert made == Method(lr=1.0, epochs=3, augment=False, init="real")
    assert type(made.lr) is float  # so that `lr: 1` and `lr: 1.0` are the same cell
    assert make_method(Method, {"epochs": None}).epochs is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lrr": 1.0}, "unknown hyper-parameter 'lrr' of some_method; did you mean 'lr'?"),
        ({"zzz": 1.0}, "unknown hyper-parameter 'zzz' of some_method; known: augment, epochs, "),
        ({"name": "x"}, "unknown hyper-parameter 'name' of some_method"),
        ({"lr": "0.5"}, "lr='0.5' of some_method: input should be a valid number"),
        ({"lr": "1e-3x"}, "lr='1e-3x' of some_method: input should be a valid number"),
        ({"lr": True}, "lr=True of some_method: input should be a valid number"),
        ({"lr": None}, "lr=None of some_method: input should be a valid number"),
        ({"lr": float("nan")}, "lr=nan of some_method is not finite; give a number"),
        ({"lr": float("inf")}, "lr=inf of some_method is not finite; give a number"),
        ({"iterations": 0}, "iterations=0 of some_method: input should be greater than 0"),
        ({"iterations": 2.0}, "iterations=2.0 of some_method: input should be a valid integer"),
        ({"iterations": True}, "iterations=True of some_method: input should be a valid integer"),
        ({"share": 1.5}, "share=1.5 of some_method: input should be less than or equal to 1"),
        ({"epochs": "many"}, "epochs='many' of some_method: input should be a valid integer"),
        ({"augment": 1}, "augment=1 of some_method: input should be a valid boolean"),
        ({"init": "zeros"}, "init='zeros' of some_method: input should be 'noise' or 'real'"),
        ({"iterations": 13}, "iterations is 13; take another number"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        make_method(Method, settings)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_small_step_size_from_the_command_line_reaches_the_method() -> None:
    assert make_method(Method, parse_settings(["lr=1e-3", "iterations=5"])) == Method(lr=1e-3, iterations=5)


@pytest.mark.parametrize("setting", ["train", "held_out", "steps", "batch"])
def test_a_pool_that_no_record_could_name_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match=f"entries.1.pool.{setting}: input should be less than or equal to"):
        make_board(entry(setting="pretrained", pool={"dataset": "usps", setting: 2 * 10**6}))


def test_a_key_of_a_pool_is_looked_for_among_those_of_pools() -> None:
    with pytest.raises(UserError, match=r"unknown key 'entries.1.pool.held'; did you mean 'held_out'"):
        make_board(entry(setting="pretrained", pool={"dataset": "usps", "held": 3}))
    with pytest.raises(UserError, match=r"entries.1.attack.source: input should be a valid integer, got True"):
        make_board(entry(setting="attack", attack={"source": True, "target": 1}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title: 2001-13-45", "month must be in"),
        ("seeds: !!bool x", "x"),
        ("seeds: " + "1" * 5000, "it holds a number of more than 40 digits"),
        ("title: " + "[" * 5000, "it is nested deeper than 50 levels"),
        ("title: &a [*a]", "it holds more than 100000 values"),
    ],
)
def test_yaml_that_is_no_plain_data_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"b.yaml is not valid YAML: .*{reason}.*; see configs/quickstart.yaml$"):
        load_board(tmp_path / "b.yaml")


def test_reading_a_board_runs_no_method_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('a board that is only read runs nothing')")
    path = tmp_path / "b.yaml"
    path.write_text("board: b\ndatasets: [digits]\nipc: [1]\nentries: [{methods: [./mine.py]}]")
    assert load_board(path).entries[0].methods == ["./mine.py"]


def test_settings_that_yaml_cannot_read_are_refused() -> None:
    for value in ("2001-13-45", "!!bool x", "!!int ''", "1" * 5000):
        with pytest.raises(ValueError, match="has no value that YAML can read; quote it"):
            parse_settings([f"lr={value}"])
