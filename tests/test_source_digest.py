"""The digest that names a method's code: what changes it, what does not, and how a record's is compared with a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ddbench.boards.digest import board_digest
from ddbench.errors import UserError
from ddbench.io.atomic import digest
from ddbench.records import source_digest as module
from ddbench.records.source_digest import file_source_digest, made_by, short_digest, source_digest
from ddbench.records.syntax import parse_syntax
from ddbench.registry import discover, find_method

ROOT = Path(__file__).resolve().parent.parent
METHOD = '''
"""A method."""
from typing import TYPE_CHECKING
from ddbench.families.outer import distance
if TYPE_CHECKING:
    from ddbench.families.lonely import Unused

class Mine:
    """Matches something."""

    lr: float = 0.5
    """step size"""

    def distill(self, task, meter):  # the loop
        from ddbench.decoders import parse_decoder
        return distance(task, self.lr)
'''
SHARED = {
    "families/__init__.py": '"""What methods share."""\n',
    "families/outer.py": "import ddbench.families.nested.inner\nfrom ddbench.data.augmentation import flip\nA = 1\n",
    "families/nested/__init__.py": "NESTED = 1\n",
    "families/nested/inner.py": "from . import sibling\nB = 1\n",
    "families/nested/sibling.py": "from ..outer import distance\nC = 1\n",
    "families/lonely.py": "D = 1\n",
    "families/unused.py": "E = 1\n",
    "decoders/__init__.py": "from ddbench.decoders.pixels import Pixels\n",
    "decoders/pixels.py": "F = 1\n",
    "data/__init__.py": "G = 1\n",
    "data/augmentation.py": "H = 1\n",
    "networks/__init__.py": "",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small `ddbench` in place of the real one."""
    folder = tmp_path / "ddbench"
    for name, text in SHARED.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", folder)
    return folder


@pytest.fixture
def digest_of(tmp_path: Path) -> Callable[[str], str]:
    """The digest of a source text."""

    def of(text: str) -> str:
        path = tmp_path / "mine.py"
        path.write_text(text)
        return file_source_digest(path)

    return of


def test_a_digest_names_its_rule(package: Path, digest_of: Callable[[str], str]) -> None:
    found = digest_of(METHOD)
    assert found.startswith("v2:")
    assert len(found) == len("v2:") + 64
    assert int(found.removeprefix("v2:"), 16) >= 0
    assert short_digest(found) == found[3:19]
    assert short_digest("sha256:" + "ab" * 32) == "ab" * 8


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A method."""', '"""Another wording of it."""'),
        ('"""A method."""', ""),
        ('"""Matches something."""', '"""Matches\n    something else."""'),
        ('    """step size"""\n', '    """step size of SGD"""\n'),
        ('    """step size"""\n', ""),
        ("  # the loop", ""),
        ("distance(task, self.lr)", "distance(\n            task,\n            (self.lr),\n        )"),
        ("    lr: float = 0.5", "    lr: float = 0.50"),
        ("import Unused", "import Another"),
        ("import Unused", "import Unused\n    import ddbench.families.unused"),
        ("        return distance", '        "A note."\n        pass\n        return distance'),
    ],
)
def test_wording_and_formatting_do_not_change_it(
    package: Path, digest_of: Callable[[str], str], old: str, new: str
) -> None:
    assert METHOD.count(old) == 1
    assert digest_of(METHOD.replace(old, new)) == digest_of(METHOD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.25"),
        ("lr: float", "lr: int"),
        ("0.5", '"0.5"'),
        ("(self, task, meter)", "(self, task, meter=None)"),
        ("(self, task, meter)", "(self, task, /, meter)"),
        ("(task, self.lr)", "(task, *self.lr)"),
        ("(task, self.lr)", "(self.lr, task)"),
        ("return distance", "yield distance"),
        ("class Mine:", "@final\nclass Mine:"),
        ("class Mine:", "class Mine(Base):"),
        ("    def distill", "    async def distill"),
        ("import parse_decoder", "import parse_decoder as parse"),
        ("import parse_decoder", "import parse_decoder\n        from ddbench.families import unused"),
    ],
)
def test_code_changes_it(package: Path, digest_of: Callable[[str], str], old: str, new: str) -> None:
    assert METHOD.count(old) == 1
    assert digest_of(METHOD.replace(old, new)) != digest_of(METHOD)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = {**a, 'b': 1}", "x = {'b': 1, **a}"),
        ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("if a:\n    x()\nelse:\n    y()", "if a:\n    x()\n    y()"),
        ("f(a, b=c)", "f(a, c)"),
        ("x = [a, [b]]", "x = [[a], b]"),
        ("x = f'{a}b'", "x = f'{a!r}b'"),
        ("x = a - (b - c)", "x = a - b - c"),
        ("global a, b", "global a\nb"),
        ("x = 'Pass('", "x = 'Pass)'"),
    ],
)
def test_other_trees_are_other_texts(one: str, other: str) -> None:
    assert parse_syntax(one.encode()).text != parse_syntax(other.encode()).text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = (1)", "x=1"),
        ("x = 'a' 'b'", 'x = "ab"'),
        ("x = f'{a}' 'b' ''", "x = f'{a}b'"),
        ("x = u'a'", "x = 'a'"),
        ("x = 0x10", "x = 16"),
        ("def f(a, b,): return a", 'def f(\n    a, b\n):\n    """Doc."""\n    return a'),
        ("class E(Exception): pass", 'class E(Exception):\n    """An error."""'),
        ("import typing\nif typing.TYPE_CHECKING:\n    import a\nelse:\n    b()", "import typing\nb()"),
        ("\ufeffx = 1\r\n", "# coding: utf-8\nx = 1"),
    ],
)
def test_equal_trees_are_equal_texts(one: str, other: str) -> None:
    assert parse_syntax(one.encode()).text == parse_syntax(other.encode()).text


def test_the_form_is_the_same_on_every_version_of_python() -> None:
    """The literals are what another version gave: a test on one of them speaks for all."""
    source = "def f[T](a: T, *, b=-1) -> T:\n    return f'{a!r:>{b}}é' if a else {**b}\n"
    if sys.version_info < (3, 12):
        source = source.replace("[T]", "")
    assert parse_syntax(source.encode()).text == (
        "Module(body=[FunctionDef(args=arguments(args=[arg(annotation=Name(id='T';);arg='a';),];kw_defaults=[UnaryOp("
        "op=USub();operand=Constant(value=0x1;);),];kwonlyargs=[arg(arg='b';),];);body=[Return(value=IfExp(body=JoinedS"
        "tr(values=[FormattedValue(conversion=0x72;format_spec=JoinedStr(values=[Constant(value='>';),FormattedValue(co"
        "nversion=-0x1;value=Name(id='b';);),];);value=Name(id='a';);),Constant(value='\\xe9';),];);orelse=Dict(keys=[No"
        "ne,];values=[Name(id='b';),];);test=Name(id='a';););),];name='f';returns=Name(id='T';);),];)"
    )


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("families/__init__.py", True),
        ("families/outer.py", True),
        ("families/nested/__init__.py", True),
        ("families/nested/inner.py", True),
        ("families/nested/sibling.py", True),
        ("families/lonely.py", False),
        ("families/unused.py", False),
        ("decoders/__init__.py", True),
        ("decoders/pixels.py", True),
        ("data/__init__.py", False),
        ("data/augmentation.py", True),
        ("networks/__init__.py", False),
    ],
)
def test_the_shared_parts_that_are_imported_count_also_by_way_of_others(
    package: Path, digest_of: Callable[[str], str], name: str, counts: bool
) -> None:
    before, path = digest_of(METHOD), package / name
    path.write_text(f'"""Other words."""\n{path.read_text()}# and a comment\n')
    assert digest_of(METHOD) == before
    path.write_text(f"{path.read_text()}CHANGED = 1\n")
    assert (digest_of(METHOD) != before) == counts


@pytest.mark.parametrize(
    "line",
    [
        "from ddbench.families import lonely",
        "import ddbench.families.lonely",
        "import ddbench.families.lonely as other",
        "from ddbench.families.lonely import *",
        "from ddbench.families.lonely import Some as Other",
        "from ddbench import decoders, families\nfrom ddbench.families import lonely",
        "def f():\n    import ddbench.families.lonely",
        "try:\n    from ddbench.families.lonely import Some\nexcept ImportError:\n    pass",
        "if not TYPE_CHECKING:\n    import ddbench.families.lonely",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import ddbench.families.lonely",
    ],
)
def test_an_import_counts_however_it_is_written(package: Path, digest_of: Callable[[str], str], line: str) -> None:
    before = digest_of(line)
    (package / "families/lonely.py").write_text("D = 2\n")
    assert digest_of(line) != before


@pytest.mark.parametrize(
    "line",
    [
        "import ddbench.families",
        "from .families import lonely",
        "import families.lonely",
        "x = 'ddbench.families.lonely'",
    ],
)
def test_what_is_not_imported_does_not_count(package: Path, digest_of: Callable[[str], str], line: str) -> None:
    before = digest_of(line)
    (package / "families/lonely.py").write_text("D = 2\n")
    assert digest_of(line) == before


RANGED = """
from typing import Annotated, ClassVar
from ddbench import Choice, LogRange, Meter
class Mine:
    lr: Annotated[float, LogRange(0.1, -1)] = 0.5
    init: Annotated[str, Choice("noise", None)] = "noise"
    rate: float = 1.0
"""
PLAIN = """
from typing import ClassVar
from ddbench import Meter
class Mine:
    lr: float = 0.5
    init: str = "noise"
    rate: float = 1.0
"""


def test_search_ranges_do_not_count() -> None:
    """They decide which runs are made, and nothing in a run."""
    assert parse_syntax(RANGED.encode()).text == parse_syntax(PLAIN.encode()).text
    kept = RANGED.replace("rate: float", "rate: Annotated[float, Field(gt=0), LogRange(1, 2)]")
    plain = PLAIN.replace("rate: float", "rate: Annotated[float, Field(gt=0)]").replace(
        "ClassVar", "Annotated, ClassVar"
    )
    assert parse_syntax(kept.encode()).text == parse_syntax(plain.encode()).text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from ddbench import Choice, LogRange", "from mine import Choice, LogRange"),  # another LogRange
        ("LogRange(0.1, -1)", "LogRange(0.1, launch())"),
        ("LogRange(0.1, -1)", "LogRange(0.1, high=1.0)"),
        ("LogRange(0.1, -1)", "Field(gt=0)"),
        ("0.5", "0.25"),
        ("    rate", "    wide = LogRange(1, 2)\n    rate"),
    ],
)
def test_what_only_looks_like_a_search_range_counts(old: str, new: str) -> None:
    assert RANGED.count(old) == 1
    assert parse_syntax(RANGED.replace(old, new).encode()).text != parse_syntax(PLAIN.encode()).text


def test_where_a_file_lies_does_not_count(tmp_path: Path) -> None:
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(METHOD)
    assert file_source_digest(tmp_path / "one.py") == file_source_digest(tmp_path / "two.py")


def test_a_shared_part_has_a_digest_of_its_own(package: Path) -> None:
    """What makes experts for the cache is one."""
    path = package / "families/nested/inner.py"
    before = file_source_digest(path)
    (package / "families/nested/sibling.py").write_text("C = 2\n")
    assert file_source_digest(path) != before


def test_a_function_and_a_class_have_the_source_of_their_file() -> None:
    discover()
    own = test_a_function_and_a_class_have_the_source_of_their_file
    assert source_digest(own) == file_source_digest(Path(__file__))
    assert source_digest(find_method("dm")) == file_source_digest(ROOT / "methods" / "distribution_matching.py")


def test_another_process_finds_the_same_digest() -> None:
    """No order of a set, and no random hash, is in it."""
    path = ROOT / "methods" / "trajectory_matching.py"
    code = f"from ddbench.records.source_digest import *; print(file_source_digest(Path({str(path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == file_source_digest(path)


def test_a_recorded_digest_is_compared_by_its_own_rule(package: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    old, new = digest(path.read_bytes()), file_source_digest(path)
    assert made_by(path, old)
    assert made_by(path, new)
    assert not made_by(path, f"sha256:{new[3:]}")
    assert not made_by(path, f"v2:{old[7:]}")

    path.write_text(METHOD + "# a comment\n")
    assert (made_by(path, old), made_by(path, new)) == (False, True)
    (package / "decoders/pixels.py").write_text("F = 2\n")
    assert not made_by(path, new)


def test_an_old_digest_is_compared_with_what_is_no_python_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("class")
    assert made_by(path, digest(b"class"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"x = 1\ndef f(:\n", r"mine\.py is no Python: invalid syntax \(line 2\); mend it$"),
        (b"x = '\xff'\n", r"mine\.py is no Python: .*utf-8.*; mend it$"),
        (b"x = 1\0", r"mine\.py is no Python.*null byte.*; mend it$"),
        (b"x = " + b"(" * 300, r"mine\.py is no Python.*; mend it$"),
    ],
)
def test_what_is_no_python_is_said(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        file_source_digest(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.py cannot be read: No such file or directory; give a method's file$"):
        file_source_digest(tmp_path / "none.py")


def test_long_chains_are_read(tmp_path: Path) -> None:
    text = "if a == 0:\n    b()\n" + "".join(f"elif a == {n}:\n    b()\n" for n in range(1, 250))
    assert parse_syntax(text.encode()).text.count("Compare(") == 250


def test_a_literal_that_python_warns_about_is_no_matter() -> None:
    assert parse_syntax(b"x = '\\d'").text == parse_syntax(b"x = '\\\\d'").text


@pytest.mark.usefixtures("methods")
def test_a_board_has_a_digest_of_its_text_and_its_methods(tmp_path: Path) -> None:
    method = tmp_path / "mine.py"
    board = tmp_path / "b.yaml"
    method.write_text(REGISTERED)
    text = f"board: b\ndatasets: digits\nipc: 1\nentries: [{{methods: [{method}]}}]\n"
    board.write_text(text)
    before = board_digest(board)
    assert len(before) == 64
    assert int(before, 16) >= 0

    method.write_text(f"{REGISTERED}# a comment\n")
    assert board_digest(board) == before
    method.write_text(f"{REGISTERED}CHANGED = 1\n")
    assert board_digest(board) != before
    method.write_text(REGISTERED)
    board.write_text(f"{text}seeds: 2\n")
    assert board_digest(board) != before


REGISTERED = """
from dataclasses import dataclass
from ddbench import register_method

@register_method("digested")
@dataclass(frozen=True)
class Digested:
    def distill(self, task, meter): ...
"""
