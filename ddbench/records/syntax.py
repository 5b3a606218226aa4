"""Python source as a canonical text and the names that it imports: the same on every version of Python.

`ast.dump` and `ast.unparse` write a tree differently from one version to the next, so this module has its own form.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params"})
"""fields of nodes that follow from the rest, that only type checkers read, or that only some versions have"""


RANGES = frozenset({"LogRange", "IntegerRange", "Choice"})
"""what declares where `ddbench tune` may search, which decides nothing in a run"""


@dataclass(frozen=True)
class Syntax:
    """What a digest takes from a source text."""

    text: str
    """the syntax tree without docstrings, field notes, comments, `pass`, search ranges and what is `if TYPE_CHECKING:`
    """
    imports: frozenset[str]
    """dotted names of what it imports, anywhere in it; `from a import b` gives `a` and `a.b`, `from .a import b` `.a`
    and `.a.b`"""


@lru_cache(maxsize=512)
def parse_syntax(source: bytes) -> Syntax:
    """Parse a source text.

    Raises:
        SyntaxError: when it is no Python.
        ValueError, RecursionError, MemoryError: when the parser gives up.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about literals; whoever imports the file is told
        tree = ast.parse(source)
    _leave_out_ranges(tree)
    return Syntax("".join(_canonical(tree)), frozenset(_imports(tree)))


def _canonical(tree: ast.AST) -> Iterator[str]:
    waiting: list[str | ast.AST] = [tree]  # a stack of our own: a chain of hundreds of `elif` is as deep as it is long
    while waiting:
        piece = waiting.pop()
        if isinstance(piece, str):
            yield piece
        else:
            waiting.extend(reversed(_pieces(piece)))


def _pieces(node: ast.AST) -> list[str | ast.AST]:
    """Return the parts of a node as they are written: its fields, sorted by name, without empty ones."""
    pieces: list[str | ast.AST] = [type(node).__name__, "("]
    for name in _written(node._fields):
        value = getattr(node, name, None)
        if isinstance(value, list):
            items = _constants_joined(value) if isinstance(node, ast.JoinedStr) else _statements(value)
            parts = [part for item in items for part in (_piece(item), ",")]
            value = ["[", *parts, "]"] if parts else None
        elif value is not None:
            value = [_piece(value)]
        if value is not None:
            pieces += [name, "=", *value, ";"]
    return [*pieces, ")"]


@cache
def _written(fields: tuple[str, ...]) -> list[str]:
    return sorted(set(fields) - SKIPPED)


def _piece(value: object) -> str | ast.AST:
    if isinstance(value, ast.AST):
        return value
    # `repr` escapes what this version's Unicode tables take for unprintable, and refuses very long decimal numbers.
    return hex(value) if type(value) is int else ascii(value)


def _statements(items: list[ast.AST]) -> Iterator[ast.AST]:
    """Yield the statements that do something; the items of a list of other things are all kept."""
    for item in items:
        if isinstance(item, ast.If) and _is_type_checking(item.test):
            yield from _statements(list(item.orelse))
        elif not isinstance(item, ast.Pass) and not _is_bare_string(item):
            yield item


def _is_bare_string(item: ast.AST) -> bool:
    return isinstance(item, ast.Expr) and _text(item.value) is not None


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else None
    return name == "TYPE_CHECKING"


def _constants_joined(values: list[ast.AST]) -> list[ast.AST]:
    """Return the parts of an f-string, with its constants joined: versions of Python split them differently."""
    joined: list[ast.AST] = []
    for value in values:
        last, text = _text(joined[-1]) if joined else None, _text(value)
        if last is not None and text is not None:
            joined[-1] = ast.Constant(last + text)
        elif text != "":
            joined.append(value)
    return joined


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _leave_out_ranges(tree: ast.Module) -> None:
    """Take search ranges out of the annotations of classes, `Annotated[float, LogRange(0.1, 1.0)]`, and their imports.

    Ranges are those of `ddbench`, with literal values: other code among annotations stays.
    """
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level]
    named = {
        alias.name
        for node in imports if node.module == "ddbench"
        for alias in node.names if alias.name in RANGES and alias.asname is None
    }  # fmt: skip
    if not named:
        return
    for definition in tree.body:
        for field in definition.body if isinstance(definition, ast.ClassDef) else []:
            if isinstance(field, ast.AnnAssign):
                field.annotation = _without_ranges(field.annotation, named)
    left = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in imports:
        gone = {"ddbench": named, "typing": {"Annotated"}}.get(str(node.module), set()) - left
        node.names = [alias for alias in node.names if alias.name not in gone]
    tree.body = [node for node in tree.body if not isinstance(node, ast.ImportFrom) or node.names]


def _without_ranges(annotation: ast.expr, named: Collection[str]) -> ast.expr:
    if not isinstance(annotation, ast.Subscript) or not isinstance(annotation.slice, ast.Tuple):
        return annotation
    if not isinstance(annotation.value, ast.Name) or annotation.value.id != "Annotated":
        return annotation
    kept = [part for part in annotation.slice.elts if not _is_range(part, named)]
    if len(kept) == 1:
        return kept[0]
    annotation.slice.elts = kept
    return annotation


def _is_range(node: ast.expr, named: Collection[str]) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
        return False
    return node.func.id in named and all(_is_literal(value) for value in node.args)


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


def _imports(tree: ast.AST) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}{'' if module.endswith('.') else '.'}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))
