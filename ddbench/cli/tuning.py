"""The command that tunes methods equally."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ddbench.cli.app import (
    SOME_FAILED,
    BudgetOption,
    Datasets,
    Device,
    Ipcs,
    Json,
    Methods,
    NetworkOption,
    PrecisionOption,
    ProtocolOption,
    Settings,
    StepsOption,
    messages,
    say,
    say_unit,
)
from ddbench.errors import UserError

if TYPE_CHECKING:
    from ddbench.runs.plan import Plan
    from ddbench.runs.tune import Tuned


def tune(
    context: typer.Context,
    board: Annotated[Path | None, typer.Argument(help="A board's YAML or name, in place of options.")] = None,
    methods: Methods = None,
    datasets: Datasets = None,
    ipc: Ipcs = None,
    network: NetworkOption = None,
    protocol: ProtocolOption = None,
    budget: BudgetOption = None,
    steps: StepsOption = None,
    seeds: Annotated[int | None, typer.Option(help="Distillation seeds of each trial.")] = None,
    set_: Settings = None,
    precision: PrecisionOption = None,
    trials: Annotated[int, typer.Option(min=2, help="Settings to try of each method.")] = 8,
    validation: Annotated[float | None, typer.Option(help="Share of training images to score on [0.2].")] = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Runs side by side [every core].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the trials [runs/BOARD-tuning].")] = None,
    save_board: Annotated[Path | None, typer.Option(help="The board of the best trials [OUT/tuned.yaml].")] = None,
    as_json: Json = False,
) -> None:
    """Try settings of methods, as many and for as long as of any other, and write a board of the best.

    Trials are scored on held-out training images, never on the test set. Running it again resumes what was interrupted.

        ddbench tune -m dm -m dc -m mtt -d mnist --ipc 10 --trials 8 --budget 30s
        ddbench tune -m ./mine.py -m dm -d digits --ipc 1 --budget 10s --set init=real    # what is set is not searched
        ddbench tune configs/ours.yaml --trials 16 --save-board configs/ours-tuned.yaml
        ddbench evaluate runs/mine-tuning/tuned.yaml                                       # then, on the test set

    Exit code 0: every method has a trial with a score; 1: some have none; 2: bad usage or input.

    With --json: an object of `board` (a path, or null), `folder` and `methods`. Each of `methods` has `method`,
    `dataset`, `ipc`, `chosen`, `settings` (of the best trial), `accuracy`, `shipped` (accuracies in [0, 1] or null) and
    `trials` (an object each, of number, set, accuracy and status).
    """
    import ddbench
    from ddbench.boards.board import CellFields
    from ddbench.boards.command_line import SELECTING, board_from, settings_from
    from ddbench.cli.answers import answer
    from ddbench.cli.progress import Display
    from ddbench.runs.remaining import forecast_left

    given = {name: value for name, value in context.params.items() if value not in (None, [], (), {})}
    options = {name: value for name, value in given.items() if name in (*CellFields.model_fields, *SELECTING)}
    if set_:
        options["set"] = settings_from(set_)
    if board is not None and options:
        raise UserError(f"{board} says what is tuned; leave out --{next(iter(options))}, or the file")
    if board is None and not options:
        raise UserError("name at least one --method, or a board's file")
    say_unit(device)
    with Display(messages) as display:

        def start(todo: Plan) -> None:
            forecast = forecast_left(todo, device, workers) if todo.jobs else None
            display.todo(todo, forecast)
            if forecast:
                say(str(forecast))

        tuning = ddbench.tune(
            board_from(board, options),
            out,
            trials=trials,
            validation=validation,
            device=device,
            workers=workers,
            save_board=save_board,
            on_start=start,
            on_event=display.event,
            on_warning=say,
        )
    if as_json:
        found = [_fields(one) for one in tuning.found]
        answer({"board": str(tuning.board) if tuning.board else None, "folder": str(tuning.folder), "methods": found})
    else:
        Console(highlight=False).print(_table(tuning.found))
    if tuning.board:
        say(f"the best settings are a board: {tuning.board}; `ddbench evaluate {tuning.board}` tests them")
    if any(one.best is None for one in tuning.found):
        raise typer.Exit(SOME_FAILED)


def _fields(one: Tuned) -> dict[str, Any]:
    best = one.best
    return {
        "method": one.search.method,
        "dataset": one.search.dataset,
        "ipc": one.search.ipc,
        "chosen": one.chosen,
        "settings": best.trial.settings if best else None,
        "accuracy": best.accuracy if best else None,
        "shipped": one.shipped.accuracy,
        "trials": [
            {
                "number": tried.trial.number,
                "set": tried.trial.settings,
                "accuracy": tried.accuracy,
                "status": tried.status,
            }
            for tried in one.tried
        ],
    }


def _table(found: tuple[Tuned, ...]) -> Table:
    from rich.box import SIMPLE_HEAD

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("method", "data", "ipc", "trials", "shipped %", "tuned %", "best settings"):
        right = column.endswith(("%", "ipc", "trials"))
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "best settings")
    for one in found:
        best, scored = one.best, sum(tried.accuracy is not None for tried in one.tried)
        table.add_row(
            one.search.method,
            one.search.dataset,
            str(one.search.ipc),
            str(scored) if scored == len(one.tried) else f"{scored} of {len(one.tried)}",
            _percent(one.shipped.accuracy),
            _percent(best.accuracy if best else None),
            _settings(one),
        )
    return table


def _percent(accuracy: float | None) -> str:
    from ddbench.leaderboard.summaries import NOTHING

    return NOTHING if accuracy is None else f"{100 * accuracy:.1f}"


def _settings(one: Tuned) -> str:
    if one.best is None:
        return f"none has a score: {one.tried[0].status}"
    if one.best.trial.number == 0:
        return "as shipped"
    return ", ".join(f"{name}={value}" for name, value in one.best.trial.settings.items())
