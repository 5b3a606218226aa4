"""Names, plugins, and the errors and files they rest on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ddbench import registry
from ddbench.errors import UserError, suggestion
from ddbench.evaluation.protocols import Protocol, register_protocol
from ddbench.io.atomic import canonical_json, digest, write_atomically
from ddbench.registry import PROTOCOLS, Registry, discover, import_modules, load_method_file, register_method

ROOT = Path(__file__).resolve().parent.parent

METHOD_FILE = """
from dataclasses import dataclass
from ddbench import register_method

@register_method("{name}")
@dataclass(frozen=True)
class Mine:
    def distill(self, task, meter):
        return None
"""


@pytest.fixture
def networks() -> Registry[type]:
    found: Registry[type] = Registry("network")
    found.register("convnet", aliases=["cnn"])(int)
    found.register("mlp")(str)
    return found


def test_a_name_and_its_alias_lead_to_the_same_object(networks: Registry[type]) -> None:
    assert networks.get("cnn") is networks.get("convnet") is int
    assert networks.canonical("cnn") == "convnet"
    assert networks.aliases("convnet") == ["cnn"]
    assert networks.aliases("mlp") == []


def test_a_registry_lists_names_in_order_and_counts_no_alias(networks: Registry[type]) -> None:
    networks.register("alexnet")(float)
    assert list(networks) == ["alexnet", "convnet", "mlp"]
    assert len(networks) == 3
    assert "cnn" in networks
    assert "vgg" not in networks


def test_an_unknown_name_brings_the_nearest(networks: Registry[type]) -> None:
    with pytest.raises(UserError, match=r"^unknown network 'convent'; did you mean 'convnet'\?$"):
        networks.get("convent")


def test_an_unknown_name_far_from_all_brings_all(networks: Registry[type]) -> None:
    with pytest.raises(UserError, match=r"^unknown network 'zzz'; known: cnn, convnet, mlp$"):
        networks.get("zzz")


def test_an_empty_registry_says_so() -> None:
    assert suggestion("x", []) == "none is registered"


@pytest.mark.parametrize("taken", ["convnet", "cnn"])
def test_a_taken_name_names_both_origins(networks: Registry[type], taken: str) -> None:
    with pytest.raises(
        ValueError,
        match=rf"^network '{taken}' is already registered by builtins.int; choose another name in pathlib.*Path$",
    ):
        networks.register("other", aliases=[taken])(Path)
    assert "other" not in networks


def test_a_method_is_a_dataclass(methods: Registry[type]) -> None:
    with pytest.raises(TypeError, match="method 'x': put @register_method above @dataclass"):
        register_method("x")(type("Plain", (), {"distill": print}))


def test_a_method_has_distill(methods: Registry[type]) -> None:
    @dataclass(frozen=True)
    class Idle:
        lr: float = 1.0

    with pytest.raises(TypeError, match="method 'x': Idle needs distill"):
        register_method("x")(Idle)


def test_a_method_learns_its_name(methods: Registry[type]) -> None:
    @dataclass(frozen=True)
    class Idle:
        def distill(self, task: object, meter: object) -> None: ...

    assert register_method("idle", aliases=["i"])(Idle) is Idle
    assert Idle.name == "idle"  # type: ignore[attr-defined]
    assert methods.get("i") is Idle


@pytest.mark.parametrize("failure", ["raise KeyError('gone')", "raise SystemExit(3)", "import nothing_of_the_kind"])
def test_a_broken_module_is_reported_and_hides_nothing(
    methods: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    package = f"plugins_{digest(failure.encode())[-8:]}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "a_broken.py").write_text(failure)
    (folder / "b_good.py").write_text(METHOD_FILE.format(name="good"))
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(package)
    import_modules(module)
    assert list(methods) == ["good"]
    broken = registry.BROKEN[f"{package}.a_broken"]
    assert broken.reason.startswith(("KeyError: 'gone'", "SystemExit: 3", "ModuleNotFoundError: No module named"))
    assert failure in broken.trace


def test_a_broken_entry_point_is_reported_and_hides_nothing(
    methods: Registry[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def refuse() -> None:
        raise ImportError("no such extra")

    points = [
        SimpleNamespace(name="bad", module="bad.methods", load=refuse),
        SimpleNamespace(name="ours", module="methods", load=refuse),
        SimpleNamespace(name="good", module="good.methods", load=lambda: loaded.append("good")),
    ]
    monkeypatch.setattr(registry, "announced", lambda group: points if group == "ddbench.methods" else [])
    discover()
    assert loaded == ["good"]
    assert {name: plugin.reason for name, plugin in registry.BROKEN.items() if "." not in name} == {
        "bad": "ImportError: no such extra"
    }


@pytest.mark.slow  # several processes; `.ci/run` carries it out
def test_a_foreign_methods_package_is_refused_with_both_paths(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "__init__.py").write_text("raise RuntimeError('foreign code ran')")
    done = subprocess.run(
        [sys.executable, "-c", "import ddbench; ddbench.discover()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ddbench.errors.UserError: 'methods' resolves to {tmp_path.resolve() / 'methods'}, not to {ROOT / 'methods'}: "
        "run the `ddbench` command, or leave the folder that has its own 'methods'"
    )


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        (ModuleSpec("methods", None, origin="/elsewhere/methods.py"), "/elsewhere/methods.py"),
        (None, "nothing"),
    ],
)
def test_a_methods_module_or_none_is_refused_too(
    monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None, place: str
) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match=f"^'methods' resolves to {place}, not to "):
        discover()


def test_a_method_file_gives_its_class_and_the_same_one_again(methods: Registry[type], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(METHOD_FILE.format(name="mine"))
    loaded = load_method_file(path)
    assert loaded.name == "mine"
    assert load_method_file(path) is loaded


def test_method_files_of_one_stem_in_two_folders_are_two(methods: Registry[type], tmp_path: Path) -> None:
    paths = [tmp_path / folder / "same.py" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(METHOD_FILE.format(name=f"of_{path.parent.name}"))
    assert [load_method_file(path).name for path in paths] == ["of_a", "of_b"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("absent.py", None, r"no method file at .*absent.py; `ddbench new absent` writes one"),
        ("notes.txt", "", r"notes.txt is no Python file; give a method file whose name ends in .py"),
        ("syntax.py", "def", r"syntax.py does not import: SyntaxError: invalid syntax"),
        ("exits.py", "raise SystemExit", r"exits.py does not import: SystemExit"),
        ("empty.py", "", r"empty.py registers 0 methods; a method file registers exactly one"),
        (
            "two.py",
            METHOD_FILE.format(name="one") + METHOD_FILE.format(name="two"),
            r"two.py registers 2 methods; a method file registers exactly one",
        ),
    ],
)
def test_a_method_file_that_is_none_says_why(
    methods: Registry[type], tmp_path: Path, name: str, text: str | None, sentence: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        load_method_file(tmp_path / name)


def test_a_protocol_never_changes() -> None:
    with pytest.raises(ValueError, match="protocol 'dsa-1000@1' is already registered"):
        register_protocol(Protocol("dsa-1000@1", "another", steps=1))


@pytest.mark.parametrize("lengths", [{}, {"epochs": 1, "steps": 1}])
def test_a_protocol_counts_epochs_or_steps(lengths: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="protocol p@1: give epochs or steps, one of the two"):
        Protocol("p@1", "nowhere", **lengths)


def test_protocols_describe_themselves_in_plain_values() -> None:
    for name in PROTOCOLS:
        described = PROTOCOLS.get(name).describe()
        assert canonical_json(described)
        assert described["name"] == name
        assert "@" in name


def test_a_file_is_written_whole_into_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_says_where_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match=r"^cannot write .*taken: Is a directory; choose another place with --out$"):
        write_atomically(tmp_path / "taken", b"x")
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(Path(__file__) / "below", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_canonical_json_has_one_spelling() -> None:
    assert canonical_json({"b": [1, 2.0], "a": "é"}) == '{"a":"é","b":[1,2.0]}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_a_digest_names_its_hash() -> None:
    assert digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_import_modules_takes_an_empty_package(methods: Registry[type]) -> None:
    package = ModuleType("empty")
    package.__path__ = []
    import_modules(package)
    assert registry.BROKEN == {}


def test_a_method_has_a_name_that_paths_can_hold(methods: Registry[type]) -> None:
    with pytest.raises(ValueError, match=r"method '\.\./x': a name is a part of paths"):
        register_method("../x")(type("X", (), {"__dataclass_fields__": {}, "distill": lambda: None}))
    assert len(methods) == 0


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda length: "1a2b")
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".a.1a2b.part").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_folder_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path("."), Path("/"), tmp_path):
        with pytest.raises(UserError, match=r"^cannot write "):
            write_atomically(place, b"x")
    assert list(tmp_path.iterdir()) == []
