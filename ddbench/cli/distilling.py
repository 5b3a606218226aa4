"""The command that distils one artefact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli.app import (
    SOME_FAILED,
    BudgetOption,
    CaptureOption,
    Device,
    Json,
    NetworkOption,
    PrecisionOption,
    Settings,
    StepsOption,
    TensorBoardOption,
    curves,
    messages,
    say,
    say_unit,
)

if TYPE_CHECKING:
    from ddbench.records.schema import Record
    from ddbench.runs.forecast import CellForecast
    from ddbench.runs.plan import Plan


def distill(
    method: Annotated[str, typer.Argument(help="A method's name, or a .py file that registers one.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="A name, .npz or folder.")],
    out: Annotated[Path, typer.Option(help="The artefact: FILE.safetensors.")],
    ipc: Annotated[int, typer.Option(help="Images per class.")] = 1,
    budget: BudgetOption = None,
    steps: StepsOption = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    network: NetworkOption = None,
    setting: Annotated[str, typer.Option(help="random or fixed initial weights.")] = "random",
    set_: Settings = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="What it repeats [default: if it is long enough].")
    ] = None,
    precision: PrecisionOption = None,
    capture: CaptureOption = None,
    score: Annotated[bool, typer.Option("--score/--no-score", help="Train a network on it and test that.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace another set at --out.")] = False,
    tensorboard: TensorBoardOption = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Distil one artefact, FILE.safetensors, with its record beside it; interrupted, the same command goes on.

    ddbench distill dm --dataset digits --ipc 10 --budget 20s --network convnet,depth=2 --out digits.safetensors

    ddbench distill dm -d cifar10 --ipc 10 --budget 2m --out cifar10.safetensors --no-score   # `ddbench score` can

    With --json: an object of `file`, `record` (paths, null where there is none) and `run`. The `run` has the fields of
    those of `ddbench evaluate --json`.
    """
    import ddbench
    from ddbench.boards.command_line import settings_from
    from ddbench.cli.answers import answer, run_fields
    from ddbench.cli.run_display import RunDisplay
    from ddbench.records.run_folder import record_beside
    from ddbench.runs.remaining import forecast_left

    say_unit(device)
    with curves(tensorboard) as on_log, RunDisplay(messages) as display:

        def start(todo: Plan) -> None:
            display.todo(todo)
            for cell in forecast_left(todo, device).cells:
                display.expect(cell.distil, cell.evaluate if score else 0.0)
                say(_expected(cell, score))

        record = ddbench.distill(
            method,
            dataset,
            out,
            ipc=ipc,
            seed=seed,
            network=network or "convnet",
            budget=budget,
            steps=steps,
            setting=setting,
            settings=settings_from(set_),
            compile=compile_,
            precision=precision,
            capture=bool(capture),
            device=device,
            score=score,
            force=force,
            on_start=start,
            on_event=display.event,
            on_log=on_log,
            on_warning=say,
        )
    made = record.result.artifact is not None
    if as_json:
        beside = record_beside(out)
        answer({"file": str(out) if made else None, "record": str(beside) if made else None, "run": run_fields(record)})
    for sentence in _outcome(record, out):
        say(sentence)
    if not made:
        raise typer.Exit(SOME_FAILED)


def _expected(cell: CellForecast, score: bool) -> str:
    from ddbench.runs.forecast import duration

    distil = "as long as its steps do" if cell.distil is None else f"about {duration(max(1.0, cell.distil))}"
    if not score:
        return f"distilling takes {distil}; the set is not scored"
    evaluate = duration(max(1.0, cell.evaluate))
    return f"distilling takes {distil}, and scoring then about {evaluate}, which --no-score leaves out"


def _outcome(record: Record, out: Path) -> Iterator[str]:
    """Yield what came of the run, a sentence each."""
    from ddbench.records.run_folder import record_beside
    from ddbench.records.schema import COUNTED
    from ddbench.runs.api import trace_of

    result = record.result
    if result.artifact is None:
        trace = trace_of(out)
        yield f"{result.status}: {result.reason}" + (f"; traceback in {trace}" if trace.exists() else "")
        return
    steps = ", ".join(f"{done} of {result.steps_planned[loop]} {loop}" for loop, done in result.steps_done.items())
    unit = "wall seconds" if result.cell.device == "mps" else "s"
    spent = f"{out}: {record.charged_seconds:.1f} {unit}, {steps or 'no'} steps"
    scored = "not scored" if record.accuracy is None else f"accuracy {100 * record.accuracy:.1f} %"
    yield f"{spent}, {scored}; `ddbench score {out}` scores it, {record_beside(out)} is its record"
    if result.status not in COUNTED:
        yield f"warning: {result.status}: {result.reason}; its scores do not count"
    yield from _little_done(record)


def _little_done(record: Record) -> Iterator[str]:
    from ddbench.leaderboard.summaries import ending
    from ddbench.records.loops import main_loop

    if ending(record) != "barely begun":
        return
    result, loop = record.result, main_loop(record) or ""
    done, planned = result.steps_done.get(loop, 0), result.steps_planned.get(loop, 0)
    which, option = f"{done:,} of {planned:,} planned steps", "--steps" if result.cell.budget.steps else "--budget"
    yield (
        f"warning: barely begun: the budget ended after {which}, so the set is hardly more than what the method starts "
        f"from; raise {option}"
    )
