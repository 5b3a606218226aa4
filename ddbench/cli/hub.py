"""Commands on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddbench.cli.app import Json, say

Repository = Annotated[str | None, typer.Option("--hub", help="OWNER/NAME of a data set repository [$DDBENCH_HUB].")]


def get(
    dataset: Annotated[str, typer.Argument(help="What it was distilled from: cifar10.")],
    ipc: Annotated[int, typer.Option(min=1, help="Images per class.")],
    hub: Repository = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="By this method.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Scored under this protocol.")] = None,
    best: Annotated[bool, typer.Option("--best", help="The one with the highest claimed accuracy.")] = False,
    out: Annotated[Path | None, typer.Option(help="FILE.safetensors [DATASET-ipcN-METHOD.safetensors].")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a distilled set from the Hugging Face Hub, with its record beside it.

    ddbench get cifar10 --ipc 10 --best --hub me/distilled

    What was fetched before serves without a network. Its accuracy is a claim, until `ddbench verify` has trained
    networks on it here; reading it runs nothing.

    With --json: an object of `method`, `accuracy` (claimed, in [0, 1]), `protocol`, `network`, `candidates` (how many
    sets fit) and `wrote`.
    """
    import ddbench
    from ddbench.cli.answers import answer, paths
    from ddbench.records.run_folder import record_beside

    found = ddbench.get(dataset, ipc, hub, method=method, protocol=protocol, best=best, out=out)
    say(found.sentence)
    say(f"wrote {found.path}")
    if as_json:
        cell = found.record.result.cell
        said = {"method": cell.method, "accuracy": found.record.accuracy, "protocol": cell.protocol}
        wrote = paths([found.path, record_beside(found.path)])
        answer(said | {"network": str(cell.network), "candidates": found.candidates, "wrote": wrote})


def push(
    file: Annotated[Path, typer.Argument(help="An artefact, FILE.safetensors.")],
    hub: Repository = None,
    record: Annotated[Path | None, typer.Option(help="Of the run that made it [the one beside it].")] = None,
    as_json: Json = False,
) -> None:
    """Upload a distilled set and its record to a data set repository of the Hugging Face Hub.

    ddbench push mnist.safetensors --hub me/distilled

    The repository is made if it is not there, and gets a card with its first set. You are who `hf auth login` says, or
    the environment variable HF_TOKEN. `ddbench card` writes a folder for a repository of one set.

    With --json: an object of `address`.
    """
    import ddbench
    from ddbench.cli.answers import answer

    address = ddbench.push(file, hub, record)
    say(f"pushed: {address}")
    if as_json:
        answer({"address": address})
