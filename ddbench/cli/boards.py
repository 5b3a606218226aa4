"""Commands on boards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ddbench.cli.app import (
    SOME_FAILED,
    BudgetOption,
    CaptureOption,
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
    TensorBoardOption,
    curves,
    messages,
    say,
    say_unit,
)
from ddbench.errors import UserError

if TYPE_CHECKING:
    from ddbench.boards.saved import SavedBoard
    from ddbench.runs.plan import Plan


def evaluate(
    context: typer.Context,
    board: Annotated[Path | None, typer.Argument(help="A board's YAML or name; none runs the quickstart.")] = None,
    methods: Methods = None,
    datasets: Datasets = None,
    ipc: Ipcs = None,
    network: NetworkOption = None,
    protocol: ProtocolOption = None,
    budget: BudgetOption = None,
    steps: StepsOption = None,
    seeds: Annotated[int | None, typer.Option(help="Distillation seeds 0, 1, ...")] = None,
    set_: Settings = None,
    precision: PrecisionOption = None,
    capture: CaptureOption = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Runs side by side [quickstart: 2].")] = None,
    executor: Annotated[str, typer.Option(help="local, or ray for a cluster (RAY_ADDRESS).")] = "local",
    shard: Annotated[str | None, typer.Option(help="A share of the runs, for job arrays: 2/4.")] = None,
    tensorboard: TensorBoardOption = None,
    again: Annotated[bool, typer.Option("--again", help="Run anew what is done; older records stay.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for runs and tables [runs/BOARD].")] = None,
    save_board: Annotated[
        Path | None, typer.Option(help="Write the board of these options: FILE.yaml; it is named FILE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Distil, evaluate and record every cell of a board, and print its table.

    Running it again resumes what was interrupted and repeats nothing.

        ddbench evaluate                                          # every family on the embedded digits
        ddbench evaluate cpu --workers 2                          # a board that ships, by its name
        ddbench evaluate configs/cifar10.yaml --executor ray --out /shared/cifar10
        ddbench evaluate configs/mnist.yaml --method herding --ipc 1    # a part of a board
        ddbench evaluate cifar10 --shard $SLURM_ARRAY_TASK_ID/8 --out /shared/cifar10   # then once without --shard
        ddbench evaluate -m dm -m dc -d mnist --ipc 1 --budget 2m --seeds 3
        ddbench evaluate -m ./mine.py -d digits --ipc 10 --budget 20s --set lr_images=0.5
        ddbench evaluate -m mine -d mnist --budget 2m --save-board configs/ours.yaml    # then submit runs/ours

    Studies that a board names follow, in folders beside it.

    Exit code 0: every run is recorded with scores; 1: some failed, the table says which; 2: bad usage or input.

    With --json: an object of `board`, `folder` and `runs`. Each of `runs` has `method`, `dataset`, `ipc`, `seed`,
    `key`, `status`, `reason`, `accuracy` (in [0, 1] or null), `charged_seconds`, `device`, `steps_done`,
    `steps_planned` and `artifact` (a digest).
    """
    import ddbench
    from ddbench.boards.board import CellFields
    from ddbench.boards.command_line import SELECTING, board_from, settings_from
    from ddbench.boards.jobs import Selection
    from ddbench.cli.answers import answer, run_fields
    from ddbench.cli.study_display import StudyDisplay
    from ddbench.leaderboard import load_published, rich_table
    from ddbench.leaderboard.grouping import runs_by_cell
    from ddbench.leaderboard.origins import origins
    from ddbench.runs.remaining import forecast_left
    from ddbench.runs.shards import parse_shard

    given = {name: value for name, value in context.params.items() if value not in (None, [], (), {})}
    options = {name: value for name, value in given.items() if name in (*CellFields.model_fields, *SELECTING)}
    if set_:
        options["set"] = settings_from(set_)
    saved = _saved(save_board, board, options)
    chosen = saved.board if saved else board_from(board, options)
    say_unit(device)
    selection = Selection(tuple(methods or ()), tuple(datasets or ()), tuple(ipc or ())) if board else None
    folder = out or Path("runs") / chosen.board
    side_by_side = workers or (2 if board is None and not methods and executor == "local" else None)
    with curves(tensorboard) as on_log, StudyDisplay(messages) as display:

        def start(todo: Plan) -> None:
            if saved:
                saved.write()
            forecast = forecast_left(todo, device, side_by_side) if todo.jobs and executor == "local" else None
            display.todo(todo, forecast)
            if forecast:
                say(str(forecast))

        records = ddbench.evaluate(
            chosen,
            folder,
            device=device,
            workers=side_by_side,
            executor=executor,
            again=again,
            selection=selection,
            shard=parse_shard(shard) if shard else None,
            on_warning=say,
            on_start=start,
            on_event=display.event,
            on_log=on_log,
            watcher=display.watcher(as_json),
        )
    if as_json:
        answer({"board": chosen.board, "folder": str(folder), "runs": [run_fields(record) for record in records]})
    else:
        output = Console(highlight=False)
        for table in rich_table(records, load_published(), origins=origins()):
            output.print(table)
    say(f"tables, curves and pictures: {folder}")
    if display.failures or any(run.accuracy is None for runs in runs_by_cell(records).values() for run in runs):
        raise typer.Exit(SOME_FAILED)


def _saved(file: Path | None, board: Path | None, options: Mapping[str, Any]) -> SavedBoard | None:
    """Return the board of options that is to be written into a file; None where none is."""
    from ddbench.boards.saved import SavedBoard

    if file is None:
        return None
    if board is not None:
        raise UserError(f"--save-board {file} writes the board of options, and {board} is one; leave out either")
    return SavedBoard(file, options)


def plan(
    board: Annotated[Path | None, typer.Argument(help="A board's YAML or name; none is the quickstart.")] = None,
    methods: Methods = None,
    datasets: Datasets = None,
    ipc: Ipcs = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Runs side by side.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of its runs [runs/BOARD].")] = None,
    as_json: Json = False,
) -> None:
    """What is left of a board, and how long it will take on this machine. Runs nothing.

    ddbench plan cpu --workers 2

    ddbench plan configs/cifar10.yaml --method dm --ipc 10

    With --json: an object of `runs` (their number), `hours`, `workers`, `stored_bytes` and `cells`. Each of `cells` has
    `method`, `dataset`, `ipc`, `runs`, `distil_seconds`, `evaluate_seconds` and `basis`.
    """
    import ddbench
    from ddbench.boards.jobs import Selection
    from ddbench.cli.answers import answer
    from ddbench.cli.forecasts import WIDE, forecast_json, forecast_table

    selection = Selection(tuple(methods or ()), tuple(datasets or ()), tuple(ipc or ()))
    say_unit(device)
    forecast = ddbench.plan(board, out, device=device, workers=workers, selection=selection, on_warning=say)
    if as_json:
        answer(forecast_json(forecast))
        return
    if forecast.cells:
        Console(highlight=False, width=max(WIDE, messages.width)).print(forecast_table(forecast))
    typer.echo(str(forecast))
