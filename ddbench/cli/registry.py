"""What there is to run, and what you add."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from ddbench.cli.app import SOME_FAILED, Json, say
from ddbench.errors import UserError, suggestion
from ddbench.io.atomic import write_atomically
from ddbench.registry import discover, find_method


def list_(
    what: Annotated[
        str | None, typer.Argument(help="methods, datasets, graphs, networks, protocols, analyses, studies or boards.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What is registered, with plugins and what is wrong with them.

    ddbench list

    ddbench list methods --json

    With --json: an object of `methods`, `datasets`, `graphs`, `networks`, `protocols`, `analyses`, `studies` and
    `boards`, each an object of summaries by name; of one kind, where that is named.
    """
    from ddbench.boards.command_line import SHIPPED
    from ddbench.cli.answers import answer
    from ddbench.cli.listing import catalogue

    listed, broken = catalogue(SHIPPED)
    if what is not None and what not in listed:
        raise UserError(f"cannot list {what!r}; {suggestion(what, listed)}")
    chosen = {what: listed[what]} if what else listed
    if as_json:
        answer(chosen[what] if what else chosen)
    else:
        for kind, entries in chosen.items():
            typer.echo(f"{kind}:")
            for name, summary in entries.items():
                typer.echo(f"  {name:24s} {summary}".rstrip())
    for name, reason in broken.items():
        say(f"plugin {name} does not import: {reason}")


def check(
    method: Annotated[str, typer.Argument(help="A method's name, or a .py file.")], as_json: Json = False
) -> None:
    """Check a method against the contract on a tiny task.

    ddbench check distribution_matching

    ddbench check ./mine.py

    With --json: an object of `method` and `complaints` (in words; none where it keeps the contract).
    """
    from ddbench.cli.answers import answer
    from ddbench.testing import check_method, names_no_paper  # imports torch

    discover()
    cls = find_method(method)
    complaints = check_method(cls)
    if as_json:
        answer({"method": method, "complaints": complaints})
    for complaint in complaints:
        say(f"{method}: {complaint}")
    if complaints:
        raise typer.Exit(SOME_FAILED)
    say(f"{method} keeps the contract")
    if names_no_paper(cls):
        say(f"its paper is {cls.paper} still; name it before you measure, since submit asks for it")


def new(name: Annotated[str, typer.Argument(help="Of the method: lower-case, an identifier.")]) -> None:
    """Write a method file that runs as it is.

    ddbench new mine && ddbench check mine
    """
    path = new_method(name)
    say(f"wrote {path}; next: ddbench check {name if path.parent.name == 'methods' else f'./{path.name}'}")


def prepare(
    dataset: Annotated[str, typer.Argument(help="A name, .npz, .csv or folder.")], as_json: Json = False
) -> None:
    """Download a data set, or read it from where it lies, check it, and say what was read.

    ddbench prepare cifar10

    ddbench prepare cora

    With --json: an object of `name`, `digest`, `shape` (C, H, W), `train`, `test` (numbers of images), `classes`
    (training images by class) and `notes` (in words). Of a graph: `name`, `digest`, `nodes`, `edges`, `features`,
    `train`, `validation`, `test` (numbers of nodes) and `classes` (training nodes by class).
    """
    from ddbench.cli.answers import answer
    from ddbench.data import load_dataset
    from ddbench.graphs.files import is_graph

    if is_graph(dataset):
        _prepare_graph(dataset, as_json)
        return
    data = load_dataset(dataset)
    channels, height, width = data.shape
    size = f"{len(data.train_labels)} training and {len(data.test_labels)} test images"
    say(f"{data.name}: {size}, {len(data.classes)} classes, {channels} x {height} x {width}, {data.digest}")
    counts = sorted(zip(data.counts.tolist(), data.classes, strict=True))
    (fewest, rarest), (most, commonest) = counts[0], counts[-1]
    if fewest < most:
        say(f"training images of a class: from {fewest} ({rarest}) to {most} ({commonest})")
    for note in data.notes:
        say(note)
    if as_json:
        sizes = {"train": len(data.train_labels), "test": len(data.test_labels)}
        classes = dict(zip(data.classes, data.counts.tolist(), strict=True))
        said = {"name": data.name, "digest": data.digest, "shape": list(data.shape)}
        answer({**said, **sizes, "classes": classes, "notes": list(data.notes)})


def _prepare_graph(dataset: str, as_json: bool) -> None:
    from ddbench.cli.answers import answer
    from ddbench.graphs.files import load_graph

    graph = load_graph(dataset)
    (nodes, features), edges = graph.size, len(graph.edges)
    parts = {"train": len(graph.train), "validation": len(graph.validation), "test": len(graph.test)}
    say(f"{graph.name}: {nodes} nodes, {edges} edges, {features} features, {graph.classes} classes, {graph.digest}")
    say(f"{parts['train']} training, {parts['validation']} validation and {parts['test']} test nodes")
    if as_json:
        counts = graph.labels[graph.train].bincount(minlength=graph.classes).tolist()
        sizes = {"nodes": nodes, "edges": edges, "features": features, **parts}
        classes = {str(number): count for number, count in enumerate(counts)}
        answer({"name": graph.name, "digest": graph.digest, **sizes, "classes": classes})


def new_method(name: str, folder: Path | None = None) -> Path:
    """Write a method file that runs as it is, into `methods/` of a clone or the current folder.

    Raises:
        UserError: when the name is no identifier, or the file exists.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UserError(f"{name!r} cannot name a method; use lower-case letters, digits and underscores")
    if folder is None:
        clone = Path.cwd() / "methods"
        folder = clone if clone.resolve() == Path(__file__).resolve().parents[2] / "methods" else Path.cwd()
    path = folder / f"{name}.py"
    if path.exists():
        raise UserError(f"{path} exists already; choose another name")
    title = name.replace("_", " ")
    text = files("ddbench.cli").joinpath("method_template.txt").read_text("utf-8")
    text = text.replace("TITLE", title[:1].upper() + title[1:]).replace("NAME", name)
    write_atomically(path, text.replace("CLASS", title.title().replace(" ", "")).encode())
    return path
