"""Documentation read from the code: docstrings, and the notes beneath fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

SECTIONS = re.compile(r"^(Args|Attributes|Raises|Returns|>>>)", re.MULTILINE)
ARGUMENT = re.compile(r"^    (\w[\w, ]*): (.*(?:\n {8,}.*)*)", re.MULTILINE)
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).disable("image")


@dataclass(frozen=True)
class Setting:
    """A field of a dataclass or of a record."""

    name: str
    kind: str
    """annotation, as written, without `Annotated`"""
    default: str
    """default value, as written in Python; empty where there is none"""
    doc: str


def render_markdown(text: str) -> Markup:
    """Render Markdown as HTML; HTML in it stays text."""
    return Markup(_MARKDOWN.render(text))


def render_inline(text: str) -> Markup:
    """Render one line of Markdown, without a paragraph around it."""
    return Markup(_MARKDOWN.renderInline(text))


def prose(thing: Any) -> str:
    """Return a docstring up to its first section (Args, Raises, examples); empty where there is none."""
    return SECTIONS.split(inspect.getdoc(thing) or "")[0].strip()


def first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def citation(cls: type[Any]) -> str:
    """Return what a method's file says below the first line of its docstring: authors, title, venue."""
    module = inspect.getmodule(cls)
    return ((inspect.getdoc(module) if module else None) or "").partition("\n")[2].strip()


def settings(cls: type[Any]) -> list[Setting]:
    """Return the fields of a dataclass, those of its bases included, with the notes beneath them."""
    notes = _notes(cls)
    return [
        Setting(field.name, notes.get(field.name, ("", ""))[0], _default(field), notes.get(field.name, ("", ""))[1])
        for field in dataclasses.fields(cls)
    ]


def described(cls: type[Any]) -> dict[str, str]:
    """Return the notes beneath the fields of a class by name; empty for a field without one."""
    return {name: note for name, (_, note) in _notes(cls).items()}


def arguments(thing: Any) -> dict[str, str]:
    """Return the descriptions in the `Args` section of a docstring, by name."""
    _, _, listed = (inspect.getdoc(thing) or "").partition("Args:\n")
    return {
        name.strip(): " ".join(text.split())
        for names, text in ARGUMENT.findall(listed.split("\n\n")[0])
        for name in names.split(",")
    }


def note_of(module: ModuleType, name: str) -> str:
    """Return the string beneath a name of a module."""
    return _notes_in(ast.parse(inspect.getsource(module)).body).get(name, ("", ""))[1]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return repr(field.default_factory()) if field.default_factory is not dataclasses.MISSING else ""


def _notes(cls: type[Any]) -> dict[str, tuple[str, str]]:
    """Return annotation and note by field; those of a class take precedence over its bases'."""
    found: dict[str, tuple[str, str]] = {}
    for base in cls.__mro__:
        if base.__module__ == "builtins" or base.__module__.startswith("pydantic"):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        found = _notes_in(definition.body) | found
    return found


def _notes_in(body: list[ast.stmt]) -> dict[str, tuple[str, str]]:
    notes = {}
    for statement, below in zip(body, [*body[1:], ast.Pass()], strict=True):
        name = _assigned(statement)
        if name is not None:
            annotation = _annotation(statement) if isinstance(statement, ast.AnnAssign) else ""
            notes[name] = annotation, _text(below)
    return notes


def _annotation(statement: ast.AnnAssign) -> str:
    """Return an annotation as written: of `Annotated[float, LogRange(0.1, 1.0)]` what is annotated, and with what."""
    text = ast.unparse(statement.annotation)
    return text.removeprefix("Annotated[").removesuffix("]") if text.startswith("Annotated[") else text


def _assigned(statement: ast.stmt) -> str | None:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    return target.id if isinstance(target, ast.Name) else None


def _text(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""
