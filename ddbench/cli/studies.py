"""The command that asks what several distillations answer together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ddbench.cli.app import (
    SOME_FAILED,
    Device,
    Json,
    NetworkOption,
    ProtocolOption,
    messages,
    say_unit,
)


def study(
    name: Annotated[str, typer.Argument(help="continual, ...; `ddbench list studies` has all.")],
    methods: Annotated[
        list[str], typer.Option("--method", "-m", help="A row: dm, or dm,lr_images=0.5; repeat for several.")
    ],
    seconds: Annotated[str, typer.Option(help="What each method may spend on a seed: 60s, 2m, 1h.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="A name, .npz or folder.")] = "digits",
    ipc: Annotated[int, typer.Option(help="Images per class.")] = 1,
    seeds: Annotated[int | None, typer.Option(help="Seeds 0, 1, ... [as the study says].")] = None,
    references: Annotated[
        bool, typer.Option("--references/--no-references", help="Add the study's rows to compare with.")
    ] = True,
    network: NetworkOption = None,
    protocol: ProtocolOption = None,
    count: Annotated[int | None, typer.Option(min=1, help="Networks to train [as many as the study says].")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of the study, KEY=VALUE.")] = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Distillations side by side.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of runs, and of a file for each row [runs/NAME].")] = None,
    as_json: Json = False,
) -> None:
    """Distil several times on derived data, with equal seconds for each method, and measure what comes of it.

    Running it again resumes what was interrupted and repeats nothing; `ddbench submit` files the rows.

        ddbench study continual -m dm -m dc -d digits --ipc 1 --seconds 20s --seeds 2
        ddbench study continual -m dm,lr_images=0.5 -d mnist --ipc 10 --seconds 2m --no-references

    Exit code 0: every row is measured; 1: some are not, a sentence each; 2: bad usage or input.

    With --json: a list of what is kept in files, each an object of `schema_version`, `key`, `study`, `settings`,
    `variant`, `cell`, `method_source`, `protocol`, `seeds`, `runs`, `findings`, `seconds`, `finished` and
    `environment`.
    """
    import ddbench
    from ddbench.boards.command_line import settings_from
    from ddbench.cli.answers import answer
    from ddbench.cli.study_display import StudyDisplay

    say_unit(device)
    asked: dict[str, Any] = {
        "methods": methods,
        "seconds": seconds,
        "dataset": dataset,
        "ipc": ipc,
        "seeds": seeds,
        "references": references,
        "protocol": protocol,
        "networks": count,
        "settings": settings_from(set_),
    }
    if network is not None:
        asked["network"] = network

    with StudyDisplay(messages) as display:
        records = ddbench.study(name, asked, out, device=device, workers=workers, watcher=display.watcher(as_json))
    if as_json:
        answer([record.model_dump(mode="json") for record in records])
    if display.failures:
        raise typer.Exit(SOME_FAILED)
