"""Imports point one way: section 3 of the design."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LEVELS = [
    "errors stats names compute",
    "io",
    "records registry",
    "data decoders networks leaderboard",
    "artifacts",
    "meter",
    "task families",
    "evaluation testing",
    "analyses graphs",
    "boards bench site",
    "runs studies",
    "submissions cli __main__",
]
"""The rooms, low to high; a module imports its own level or a lower one."""

HEIGHT = {room: height for height, rooms in enumerate(LEVELS) for room in rooms.split()}
WITHOUT_IMAGES = ("meter", "records", "leaderboard", "io", "compute")
"""rooms that serve every kind of data"""
OF_IMAGES = (
    "data",
    "decoders",
    "networks",
    "artifacts",
    "task",
    "families",
    "evaluation",
    "analyses",
    "studies",
    "graphs",
)
OPEN_TO_METHODS = {
    "ddbench", "ddbench.families", "ddbench.decoders", "ddbench.networks", "ddbench.graphs",
    "ddbench.data.augmentation",
}  # fmt: skip
OTHERS = {"torch", "sklearn", "pydantic", "numpy", "scipy", "ddbench", "methods"}
FORBIDDEN = {
    r"\.cuda\(": "move tensors to the task's device",
    r"torch\.(cuda\.)?manual_seed(_all)?\(": "draw from a named generator",
    r"\btime\.time\(": "ask the clock",
}


def modules(package: str) -> dict[str, Path]:
    """The package's modules by dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, wherever in it, but not for type checking alone."""
    yield from _imports(ast.parse(path.read_text()))


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            assert child.module is not None
            for alias in child.names:
                full = f"{child.module}.{alias.name}"
                yield full if full in DDBENCH else child.module
        else:
            yield from _imports(child)


DDBENCH = modules("ddbench")
METHODS = modules("methods")


def part(module: str) -> str:
    """`networks` of `ddbench.networks.base`; "" of ddbench itself."""
    return module.partition(".")[2].partition(".")[0]


def wrong_imports(module: str, path: Path) -> Iterator[str]:
    """A sentence for each import of a module of ddbench that points the wrong way."""
    room = part(module)
    for imported in imports(path):
        if imported.split(".")[0] not in ("ddbench", "methods") or (room, imported) == ("cli", "ddbench"):
            continue  # a command calls the public functions
        if not part(imported):
            yield f"{module} imports {imported}, which stands on everything; import the module itself"
        elif HEIGHT[part(imported)] > HEIGHT[room]:
            yield f"{module} imports {imported} from a level above"
        elif room in WITHOUT_IMAGES and part(imported) in OF_IMAGES:
            yield f"{module} imports {imported}, which is about images"


def test_every_room_has_a_level() -> None:
    assert {part(module) for module in DDBENCH} - {""} == HEIGHT.keys()


def test_modules_import_their_own_level_or_a_lower_one() -> None:
    rooms = {module: path for module, path in DDBENCH.items() if part(module)}
    assert [sentence for module, path in rooms.items() for sentence in wrong_imports(module, path)] == []


def test_a_planted_wrong_import_is_found(tmp_path: Path) -> None:
    path = tmp_path / "planted.py"
    path.write_text("from ddbench.errors import UserError\nfrom ddbench.runs.plan import plan_runs\nimport ddbench\n")
    assert list(wrong_imports("ddbench.meter.planted", path)) == [
        "ddbench.meter.planted imports ddbench.runs.plan from a level above",
        "ddbench.meter.planted imports ddbench, which stands on everything; import the module itself",
    ]
    path.write_text("def late():\n    from ddbench.data import load_dataset\n")
    assert list(wrong_imports("ddbench.leaderboard.planted", path)) == [
        "ddbench.leaderboard.planted imports ddbench.data, which is about images"
    ]


def test_no_modules_import_each_other() -> None:
    graph = {
        module: {imported for imported in imports(path) if imported in DDBENCH and not module.startswith(imported)}
        for module, path in DDBENCH.items()
        if module != "ddbench"
    }
    left = dict(graph)
    while left:
        free = [module for module, needed in left.items() if not needed & left.keys()]
        assert free, f"these import each other in a circle: {sorted(left)}"
        for module in free:
            del left[module]


def foreign_imports(module: str, path: Path) -> Iterator[str]:
    """A sentence for each import of a method's file that is not open to methods."""
    for imported in imports(path):
        top = imported.split(".")[0]
        if top == "methods":
            yield f"{module} imports {imported}: a method is one file"
        elif top not in OTHERS and top not in sys.stdlib_module_names:
            yield f"{module} imports {imported}"
        elif top == "ddbench":
            public = imported if imported == "ddbench.data.augmentation" else ".".join(imported.split(".")[:2])
            if public not in OPEN_TO_METHODS:
                yield f"{module} imports {imported}, which is not for methods"


def test_methods_stand_on_the_public_modules(tmp_path: Path) -> None:
    assert [sentence for module, path in METHODS.items() for sentence in foreign_imports(module, path)] == []
    path = tmp_path / "planted.py"
    path.write_text("from ddbench.meter.meter import Meter\nfrom methods.backprop import Backprop\nimport requests\n")
    assert list(foreign_imports("methods.planted", path)) == [
        "methods.planted imports ddbench.meter.meter, which is not for methods",
        "methods.planted imports methods.backprop: a method is one file",
        "methods.planted imports requests",
    ]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_devices_seeds_and_clocks_are_not_global(pattern: str) -> None:
    for module, path in (DDBENCH | METHODS).items():
        lines = [line for line in path.read_text().splitlines() if re.search(pattern, line)]
        assert not lines, f"{module}: {lines[0].strip()}; {FORBIDDEN[pattern]}"


def test_imports_for_type_checking_alone_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        "import os\nif TYPE_CHECKING:\n    import ddbench.cli\ndef f():\n    from ddbench import stats, UserError\n"
    )
    assert list(imports(path)) == ["os", "ddbench.stats", "ddbench"]
