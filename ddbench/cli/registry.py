"""What there is to run, and what you add."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ddbench.cli.app import SOME_FAILED, Json, say
from ddbench.errors import UserError, suggestion


def list_(
    what: Annotated[str | None, typer.Argument(help="methods, datasets, networks, protocols or boards.")] = None,
    as_json: Json = False,
) -> None:
    """What is registered, with plugins and what is wrong with them.

    ddbench list

    ddbench list methods --json
    """
    from ddbench.catalogue import catalogue
    from ddbench.options import SHIPPED

    listed, broken = catalogue(SHIPPED)
    if what is not None and what not in listed:
        raise UserError(f"cannot list {what!r}; {suggestion(what, listed)}")
    chosen = {what: listed[what]} if what else listed
    if as_json:
        typer.echo(json.dumps(chosen[what] if what else chosen))
    else:
        for kind, entries in chosen.items():
            typer.echo(f"{kind}:")
            for name, summary in entries.items():
                typer.echo(f"  {name:24s} {summary}".rstrip())
    for name, reason in broken.items():
        say(f"plugin {name} does not import: {reason}")


def check(method: Annotated[str, typer.Argument(help="A method's name, or a .py file.")]) -> None:
    """Check a method against the contract on a tiny task.

    ddbench check distribution_matching

    ddbench check ./mine.py
    """
    from ddbench import commands

    complaints = commands.check(method)
    for complaint in complaints:
        say(f"{method}: {complaint}")
    if complaints:
        raise typer.Exit(SOME_FAILED)
    say(f"{method} keeps the contract")


def new(name: Annotated[str, typer.Argument(help="Of the method: lower-case, an identifier.")]) -> None:
    """Write a method file that runs as it is.

    ddbench new mine && ddbench check mine
    """
    from ddbench import commands

    path = commands.new_method(name)
    say(f"wrote {path}; next: ddbench check {name if path.parent.name == 'methods' else f'./{path.name}'}")


def prepare(dataset: Annotated[str, typer.Argument(help="A name, .npz or folder.")]) -> None:
    """Download a data set, or read it from where it lies, and check it.

    ddbench prepare cifar10
    """
    from ddbench import commands

    data = commands.prepare(dataset)
    channels, height, width = data.shape
    size = f"{len(data.train_labels)} training and {len(data.test_labels)} test images"
    say(f"{data.name}: {size}, {len(data.classes)} classes, {channels} x {height} x {width}, {data.digest}")
