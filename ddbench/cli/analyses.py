"""The command that asks more of artefacts than their accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli.app import SOME_FAILED, Device, Json, NetworkOption, messages, say

if TYPE_CHECKING:
    from ddbench.analyses.analyze import Found
    from ddbench.records.findings import Findings


def analyze(
    files: Annotated[list[Path], typer.Argument(help="Artefacts, a folder of runs, or leaderboards/artifacts/BOARD.")],
    what: Annotated[str, typer.Option(help="Analyses: calibration,classes; `ddbench list analyses` has all.")],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Where the data set lies.")] = None,
    network: NetworkOption = None,
    count: Annotated[int | None, typer.Option(min=1, help="Networks to train [as many as for its scores].")] = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Keep what is found in this folder.")] = None,
    as_json: Json = False,
) -> None:
    """What an artefact is good or bad for beside accuracy: calibration, classes, ...

    Of a folder's artefacts, findings are kept with them: what is there is not computed again, and the same command
    goes on after an interruption.

        ddbench analyze digits.safetensors --what calibration
        ddbench analyze runs/cpu --what calibration,classes
        ddbench analyze leaderboards/artifacts/cpu --what classes

    Exit code 0: all found; 1: some artefacts could not be analysed, a sentence each; 2: bad usage or input.

    With --json: a list of what is kept in files, each an object of `schema_version`, `key`, `analysis`, `settings`,
    `artifact` (a digest), `dataset`, `dataset_digest`, `network`, `protocol`, `networks`, `findings`, `seconds`,
    `finished` and `environment`.
    """
    import ddbench
    from ddbench.cli.answers import answer
    from ddbench.cli.progress import Gauge

    failures = list[str]()

    def failed(sentence: str) -> None:
        failures.append(sentence)
        say(sentence)

    several = len(files) > 1 or files[0].is_dir()
    with Gauge(messages) as gauge:
        records = ddbench.analyze(
            files,
            [name.strip() for name in what.split(",") if name.strip()],
            dataset=dataset,
            network=network,
            count=count,
            device=device,
            out=out,
            report=gauge,
            on_found=lambda found: None if as_json else typer.echo(_text(found)),
            on_failure=failed if several else None,
        )
    if as_json:
        answer([record.model_dump(mode="json") for record in records])
    if failures:
        raise typer.Exit(SOME_FAILED)


def _text(found: Found) -> str:
    """Describe what was found: the file and the analysis, then a measure a line."""
    record = found.record
    kept = f", {'kept' if found.known else 'written'} in {found.path}" if found.path else ""
    return "\n".join([f"{found.file}: {record.analysis}{kept}", *measure_lines(record.findings)])


def measure_lines(findings: Findings) -> Iterator[str]:
    """Yield a line for each measure, or one that says why there is none."""
    if findings.not_applicable:
        yield f"  not applicable: {findings.not_applicable}"
    for name, measure in findings.metrics.items():
        ends = "" if measure.low is None else f" ({measure.low:.4g} to {measure.high:.4g})"
        yield f"  {name:24s} {measure.mean:.4g}{ends}, {len(measure.values)} {measure.of}"
