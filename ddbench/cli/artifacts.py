"""Commands on one distilled set."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from ddbench.cli.app import Device, Json, NetworkOption, ProtocolOption, messages, say, say_unit


def score(
    file: Annotated[Path, typer.Argument(help="An artefact, FILE.safetensors.")],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Where its data set lies.")] = None,
    protocol: ProtocolOption = None,
    network: Annotated[list[str] | None, typer.Option(help="An architecture; repeatable.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Networks of each architecture.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train fresh networks on an artefact and test them, from the file alone.

    ddbench score digits.safetensors

    ddbench score digits.safetensors --protocol dsa-1000@1 --network convnet --network lenet --json

    With --json: a list of `network`, `seed`, `accuracy` (in [0, 1]) and `metrics`, one for each network.
    """
    import ddbench
    from ddbench.cli.answers import answer
    from ddbench.cli.progress import Gauge
    from ddbench.leaderboard import interval

    say_unit(device)
    with Gauge(messages) as gauge:
        scores = ddbench.score(
            file, dataset=dataset, protocol=protocol, networks=network or [], count=count, device=device, report=gauge
        )
    if as_json:
        answer([one.model_dump(mode="json") for one in scores])
        return
    for name in dict.fromkeys(str(one.network) for one in scores):
        spread = interval([100 * one.accuracy for one in scores if str(one.network) == name])
        half = "" if spread.half_width is None else f" ± {spread.half_width:.1f}"
        typer.echo(f"{name}: {spread.mean:.1f}{half} % (last step, {spread.n} network{'s' if spread.n > 1 else ''})")


def show(
    file: Annotated[Path, typer.Argument(help="An artefact, FILE.safetensors.")],
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("grid.png"),
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Where its data set lies.")] = None,
) -> None:
    """A picture of a distilled set: PNG, PDF, SVG or JPEG, as its name ends.

    ddbench show digits.safetensors --out digits.png
    """
    import ddbench

    ddbench.show(file, out, dataset)
    say(f"wrote {out}")


def export(
    file: Annotated[Path, typer.Argument(help="An artefact, FILE.safetensors.")],
    out: Annotated[Path, typer.Option(help="A new folder: a PNG an image, in class folders, and a sheet.")],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Where its data set lies.")] = None,
    as_json: Json = False,
) -> None:
    """The images of a distilled set as files.

    ddbench export digits.safetensors --out digits

    With --json: an object of `images` (their number) and `wrote` (the folder).
    """
    import ddbench
    from ddbench.cli.answers import answer

    images = ddbench.export(file, out, dataset)
    say(f"wrote {images} images into {out}")
    if as_json:
        answer({"images": images, "wrote": [str(out)]})


def convert(
    file: Annotated[Path, typer.Argument(help="A file or folder of the release.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="What it was distilled from.")],
    out: Annotated[Path, typer.Option(help="The artefact: FILE.safetensors.")],
    layout: Annotated[
        str, typer.Option("--from", help="auto, or dc, pair, mtt, haba, kip, wang2018, folder; see docs/releases.md.")
    ] = "auto",
    preprocessing: Annotated[
        str | None,
        typer.Option(help="What its images went through: normalize, zca, ...; none for pixels.", show_default="usual"),
    ] = None,
    decoder: Annotated[str, typer.Option(help="multi_formation,factor=2 where images hold tiles.")] = "pixels",
    protocol: ProtocolOption = "dc-300@1",
    network: NetworkOption = "convnet",
    as_json: Json = False,
) -> None:
    """An artefact from a distilled set that others have published; nothing in it is run.

    ddbench convert res_DC_CIFAR10_ConvNet_1ipc.pt -d cifar10 --out dc.safetensors

    ddbench convert logged_files/run --from mtt -d cifar10 --preprocessing zca --out mtt.safetensors

    ddbench convert data.pt -d cifar10 --decoder multi_formation,factor=2 --out idc.safetensors

    With --json: an object of `read` (what was recognised, in words), `warnings`, `digest` and `wrote`.
    """
    import ddbench
    from ddbench.artifacts.distilled_dataset import file_digest
    from ddbench.cli.answers import answer

    read = list[str]()

    def report(sentence: str) -> None:
        read.append(sentence)
        say(sentence)

    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", RuntimeWarning)
        ddbench.convert(
            file,
            layout,
            dataset,
            out,
            preprocessing=preprocessing,
            decoder=decoder,
            protocol=protocol or "dc-300@1",
            network=network or "convnet",
            report=report,
        )
    for doubt in doubts:
        say(f"warning: {doubt.message}")
    say(f"wrote {out}; `ddbench score {out}` scores it")
    if as_json:
        found = [str(doubt.message) for doubt in doubts]
        answer({"read": read, "warnings": found, "digest": file_digest(out), "wrote": [str(out)]})


def card(
    file: Annotated[Path, typer.Argument(help="An artefact, FILE.safetensors.")],
    out: Annotated[Path, typer.Option(help="A folder, for the card and a copy of the artefact.")],
    record: Annotated[Path | None, typer.Option(help="Of the run that made it, for its scores.")] = None,
    as_json: Json = False,
) -> None:
    """A dataset card for the Hugging Face Hub, in a folder with the artefact.

    ddbench card digits.safetensors --out digits

    hf upload NAME/digits digits --repo-type dataset    # the Hub's own command

    With --json: an object of `wrote` (the card).
    """
    import ddbench
    from ddbench.cli.answers import answer

    written = ddbench.card(file, out, record)
    say(f"wrote {written}; `hf upload NAME {out} --repo-type dataset` publishes the folder")
    if as_json:
        answer({"wrote": [str(written)]})
