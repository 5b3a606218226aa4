"""The command that finds the best distilled set of somebody's data within a time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ddbench.cli.app import SOME_FAILED, Device, Json, NetworkOption, ProtocolOption, messages, say, say_unit

if TYPE_CHECKING:
    from ddbench.cli.progress import Display
    from ddbench.runs.plan import Event, Plan
    from ddbench.runs.race_result import Race, Round


def race(
    dataset: Annotated[str, typer.Argument(help="A name, .npz or folder.")],
    ipc: Annotated[int, typer.Option(min=1, help="Images per class.")] = 1,
    time: Annotated[str | None, typer.Option(help="What the race may take by the wall: 10m, 1h.")] = None,
    steps: Annotated[int | None, typer.Option(help="In its place, steps of a run of the first round.")] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="A board whose methods and settings run [the board race].")
    ] = None,
    network: NetworkOption = None,
    protocol: ProtocolOption = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Runs side by side.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of runs, tables and the winner's set.")] = None,
    as_json: Json = False,
) -> None:
    """Run methods against each other on your data, and make the best set of it within a time.

    Half of the methods go on after each round, scored on held-out training images; the winner's set is then made of all
    training images, and compared on the test images with the best of what learns nothing. Running it again resumes.

        ddbench race digits --ipc 10 --time 10m
        ddbench race './photos[size=64]' --ipc 10 --time 30m
        ddbench race mnist --ipc 1 --time 1h --candidates runs/mine-tuning/tuned.yaml --out runs/mine-race

    Exit code 0: something won, and was tested; 1: nothing has a score, the table says why; 2: bad usage or input.

    With --json: an object of `winner`, `file`, `folder`, `accuracy`, `other`, `other_accuracy`, `difference`,
    `half_width`, `significant`, `images` (on which the two were tested), `sentence` and `rounds`. Each of `rounds` has
    `budget` and `standings` (an object each, of method, accuracy and status); the last is the test.
    """
    import ddbench
    from ddbench.cli.answers import answer
    from ddbench.runs.race import RaceWatcher

    say_unit(device)
    with ExitStack() as stack:
        shown = _Shown(stack)
        found = ddbench.race(
            dataset,
            out,
            ipc=ipc,
            time=time,
            steps=steps,
            candidates=candidates,
            network=network,
            protocol=protocol,
            device=device,
            workers=workers,
            watcher=RaceWatcher(say, shown.start, shown.event, say),
        )
    if as_json:
        answer(_fields(found))
    else:
        Console(highlight=False).print(_table(found))
        typer.echo(found.sentence)
    say(f"tables: {found.folder}" + (f"; the winner's set: {found.file}" if found.file else ""))
    if found.file is None:
        raise typer.Exit(SOME_FAILED)


class _Shown:
    """A display for each round, one after the other."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._display: Display | None = None

    def start(self, todo: Plan) -> None:
        from ddbench.cli.progress import Display

        self._stack.close()
        self._display = self._stack.enter_context(Display(messages))
        self._display.todo(todo)

    def event(self, event: Event) -> None:
        assert self._display is not None  # rounds start before their runs do
        self._display.event(event)


def _table(found: Race) -> Table:
    from rich.box import SIMPLE_HEAD

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    rounds = [one for one in (*found.rounds, found.test) if one.standings]
    table.add_column("method", no_wrap=True)
    for one in rounds:
        table.add_column(f"{_title(one, found)} %\n{one.budget}", justify="right", no_wrap=True)
    table.add_column("status")
    for candidate in dict.fromkeys(standing.candidate.label for one in rounds for standing in one.standings):
        by_round = [next((s for s in one.standings if s.candidate.label == candidate), None) for one in rounds]
        ended = [standing.status for standing in by_round if standing]
        texts = ["" if s is None else "-" if s.accuracy is None else f"{100 * s.accuracy:.1f}" for s in by_round]
        table.add_row(candidate, *texts, ended[-1])
    return table


def _title(one: Round, found: Race) -> str:
    return "test" if one is found.test else f"round {found.rounds.index(one) + 1}"


def _fields(found: Race) -> dict[str, Any]:
    ours, theirs, difference = found.test.of(found.winner), found.test.of(found.other), found.difference
    return {
        "winner": found.winner.label if found.winner else None,
        "file": str(found.file) if found.file else None,
        "folder": str(found.folder),
        "accuracy": ours.accuracy if ours else None,
        "other": found.other.label if found.other else None,
        "other_accuracy": theirs.accuracy if theirs else None,
        "difference": difference.mean if difference else None,
        "half_width": difference.half_width if difference else None,
        "significant": found.significant,
        "images": found.images,
        "sentence": found.sentence,
        "rounds": [
            {
                "budget": one.budget,
                "standings": [
                    {"method": s.candidate.label, "accuracy": s.accuracy, "status": s.status} for s in one.standings
                ],
            }
            for one in (*found.rounds, found.test)
        ],
    }
