"""JSON and YAML of strangers: plain data comes through, anything else is refused in a few words."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from ddbench.errors import LONGEST, UserError, printable
from ddbench.io.documents import DEEPEST, parse_json, parse_yaml, read_bytes


def test_plain_documents_come_through() -> None:
    expected = {"a": [1, -2.5, True, None, "x"], "b": {"c": 2**63 - 1}}
    assert parse_json('{"a": [1, -2.5, true, null, "x"], "b": {"c": 9223372036854775807}}') == expected
    assert parse_yaml("a: [1, -2.5, true, null, x]\nb: {c: 9223372036854775807}") == expected
    assert parse_yaml("") is None


def test_aliases_and_merges_come_through() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_depth_is_bounded(parse: object) -> None:
    assert callable(parse)
    assert parse("[" * DEEPEST + "]" * DEEPEST)
    for depth in (DEEPEST + 2, 100_000):
        with pytest.raises(ValueError, match=f"nested deeper than {DEEPEST} levels"):
            parse("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("1e400", "1e400 is too large for a number"),
        ("9223372036854775808", "more than 63 bits"),
        ('{"-9223372036854775809": -9223372036854775809}', "more than 63 bits"),
        ("1" * 5000, "4300 digits"),
        (r'"\ud800"', "surrogates not allowed"),
        (r'{"\udfff": 1}', "surrogates not allowed"),
        (b"\xff", "can't decode byte"),
        ("{", "Expecting"),
    ],
)
def test_json_that_is_no_plain_data_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def multiplied(line: str) -> str:
    """Nine levels, each of nine aliases of the last: 9^9 values."""
    levels = (f"{own}: &{own} {line.format(','.join([f'*{last}'] * 9))}" for last, own in pairwise("abcdefghi"))
    return "\n".join(["a: &a {x: 1}", *levels])


CHAIN = "\n".join(["a0: &a0 x", *(f"a{n + 1}: &a{n + 1} [*a{n}]" for n in range(3000))])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (multiplied("[{}]"), "more than 100000 values, its aliases written out"),
        (multiplied("{{<<: [{}]}}"), "more than 100000 values, its aliases written out"),
        ("a: &a [*a]", "more than 100000 values, its aliases written out"),
        (CHAIN, "more than 100000 values, its aliases written out"),
        ("a: " + "1" * 5000, "more than 40 digits"),
        ("a: 0x" + "f" * 5000, "more than 40 digits"),
        ("a: 1" + ":10" * 100_000, "more than 40 digits"),
        ("a: 1" + ":10" * 400 + ".5", "more than 40 digits"),
        ("a: 9223372036854775808", "more than 63 bits"),
        ("a: 2001-13-45", "month must be in"),
        ("a: !!int ''", "string index out of range"),
        ("a: !!bool maybe", "maybe"),
        ("a: !!timestamp soon", "NoneType"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("? [1]\n: 2", "unhashable key"),
        (r'"\ud800"', "surrogates not allowed|invalid Unicode character"),
        (b"\xff\xfe\x00", "unacceptable character"),
        ("a: 1\n---\nb: 2", "expected a single document"),
    ],
)  # fmt: skip
def test_yaml_that_is_no_plain_data_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_yaml(text)


def test_files_are_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"1234")
    assert read_bytes(path, 4) == b"1234"
    with pytest.raises(ValueError, match="it has more than 3 bytes"):
        read_bytes(path, 3)
    with pytest.raises(OSError, match="Is a directory"):
        read_bytes(tmp_path, 3)


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="it is a pipe or a device"):
            read_bytes(path, 10)


def test_a_sentence_is_one_printable_line() -> None:
    assert str(UserError("a\nb\tc\r\n\x1b[2J\x9b\ud800\u202ed é")) == r"a b c  \x1b[2J\x9b\ud800\u202ed é"
    long = printable("x" * 10**6 + "; do y")
    assert len(long) == LONGEST + 3
    assert long.endswith("x; do y")
