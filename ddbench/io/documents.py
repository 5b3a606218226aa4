"""Untrusted JSON and YAML as plain data, whose size is checked before values are built.

Errors are ValueErrors of a few words; the caller knows the document's name and the fix.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ddbench.io.regular import check_regular

DEEPEST = 50
"""largest number of levels of nesting; ddbench writes six, and the parsers' recursion ends at some hundreds"""
LARGEST = 2**63 - 1
"""largest whole number, in magnitude: tensors and tables hold no larger ones, and a float may not either"""
MOST_DIGITS = 40
"""largest number of digits of a YAML number; the time to read them grows with their square"""
MOST_NODES = 100_000
"""largest number of values of a YAML document with its aliases written out; nested aliases multiply"""


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file's content.

    Raises:
        ValueError: when it has more than `most` bytes, or is a pipe or a device, which may never end.
        OSError: when it is missing or cannot be read.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def parse_json(text: str | bytes) -> Any:
    """Parse JSON without NaN, infinities, single surrogates, very large numbers and deep nesting."""
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_repetition
        )
        check_plain(value)
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from error
    return value


def parse_yaml(text: str | bytes) -> Any:
    """Parse YAML of plain values, by safe loading, without very large numbers, deep nesting and multiplying aliases."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > MOST_NODES:
            raise ValueError(f"it holds more than {MOST_NODES} values, its aliases written out")
        _check_keys(node, set())
        value = loader.construct_document(node)
        check_plain(value)
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels, or within itself") from error
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # PyYAML raises the last four for values that do not fit their tags, such as `!!bool maybe`.
        said = " ".join(str(error).split())
        if "maximum nesting depth" in said:  # of libyaml, which has a bound of its own
            raise ValueError(f"it is nested deeper than {DEEPEST} levels") from error
        raise ValueError(said or type(error).__name__) from error
    return value


def check_plain(value: Any, depth: int = 0) -> None:
    """Raise ValueError for a value that is nested too deeply or holds a very large number or a single surrogate."""
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    if isinstance(value, dict):
        for item in chain(value, value.values()):
            check_plain(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_plain(item, depth + 1)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError("it holds a whole number of more than 63 bits")
    elif isinstance(value, str):
        value.encode()  # a single surrogate raises UnicodeEncodeError, which is a ValueError


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # that of libyaml, where it is there, is ten times as fast


class _Loader(_Safe):  # type: ignore[misc]
    """A safe YAML loader that refuses numbers of very many digits."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        return super().construct_yaml_int(_short(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        return super().construct_yaml_float(_short(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def _short(node: yaml.ScalarNode) -> yaml.ScalarNode:
    if len(node.value) > MOST_DIGITS:
        raise ValueError(f"it holds a number of more than {MOST_DIGITS} digits")
    return node


def _written_out(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the nodes of a node with its aliases written out; infinite when it contains itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        known[id(node)] = 1 + sum(_written_out(child, known) for child in _children(node))
    return known[id(node)]


def _check_keys(node: yaml.Node, known: set[int]) -> None:
    """Raise ValueError for a mapping that has a key twice: the last one would count."""
    if id(node) in known:
        return
    known.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _refuse_repetition([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
    for child in _children(node):
        _check_keys(child, known)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return chain.from_iterable(node.value)
    return iter(node.value if isinstance(node, yaml.SequenceNode) else ())


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_repetition([name for name, _ in pairs])
    return dict(pairs)


def _refuse_repetition(names: list[str]) -> None:
    known = set[str]()
    for name in names:
        if name in known:
            raise ValueError(f"it says {name[:40]!r} twice")
        known.add(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return number


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")
