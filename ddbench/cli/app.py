"""What the commands share: options, messages, exit codes."""

from __future__ import annotations

import errno
import functools
import gc
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main
from rich.console import Console

from ddbench.errors import UserError, printable
from ddbench.io.atomic import FULL

if TYPE_CHECKING:
    from ddbench.runs.log_hook import LogHook

app = typer.Typer(
    name="ddbench",
    help="Run, score and compare dataset-distillation methods under equal budgets.",
    epilog="Begin with `ddbench evaluate`: it needs no download and takes about ten minutes.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Messages(Console):
    """Messages to the user; one that cannot be shown, as on a full disk, ends no work."""

    def print(self, *objects: Any, **options: Any) -> None:
        with suppress(OSError):
            super().print(*objects, **options)


messages = Messages(stderr=True, highlight=False, markup=False)  # a reason such as "[/x]" is no markup

USAGE, SOME_FAILED = 2, 1
UNTESTED = (
    "ddbench is not tested on Windows: processes are started anew, which takes seconds, and what becomes of a run's "
    "helper processes is not seen; please report what fails"
)
UNWRITTEN = (errno.EPIPE, errno.EIO, *FULL)
INTERRUPTED = 130  # what Typer ends with on Control-C

Methods = Annotated[list[str] | None, typer.Option("--method", "-m", help="A method; repeat for several.")]
Datasets = Annotated[list[str] | None, typer.Option("--dataset", "-d", help="A name, .npz or folder; repeatable.")]
Ipcs = Annotated[list[int] | None, typer.Option("--ipc", help="Images per class; repeatable.")]
NetworkOption = Annotated[str | None, typer.Option(help="An architecture: convnet, or convnet,width=32,depth=2.")]
ProtocolOption = Annotated[str | None, typer.Option(help="How networks are trained and scored, e.g. dsa-1000@1.")]
BudgetOption = Annotated[str | None, typer.Option(help="What a run may spend: 60s, 2m, 1h of device time.")]
StepsOption = Annotated[int | None, typer.Option(help="Steps a run may take, expert training included.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A hyper-parameter, KEY=VALUE; repeatable.")]
TensorBoardOption = Annotated[
    Path | None, typer.Option("--tensorboard", metavar="FOLDER", help="Write what is logged as curves for TensorBoard.")
]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", help="float32, tf32 or bfloat16 [default: tf32 on cuda, else float32].")
]
CaptureOption = Annotated[
    bool | None, typer.Option("--capture/--no-capture", help="Capture compiled steps as CUDA graphs [default: no].")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


def _version(asked: bool) -> None:
    if asked:
        from ddbench import __version__

        typer.echo(f"ddbench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run, score and compare dataset-distillation methods under equal budgets."""


@functools.cache
def command() -> Any:
    """The command that Typer makes of all the functions."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command; a UserError becomes one sentence and exit code 2, output that cannot be written one and 1."""
    os.environ["MPLBACKEND"] = "agg"  # a notebook's may be missing here
    gc.set_threshold(10_000)  # nearly all that the imports make stays, and was looked at again and again
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without the sign ± ends no work
    if sys.platform == "win32":
        say(UNTESTED)
    try:
        try:
            command()(prog_name="ddbench")
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in UNWRITTEN:
            raise
        say(f"ddbench: what was to be printed could not be written ({error.strerror}); all else is done")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or its end would try once more
        sys.exit(SOME_FAILED)
    except UserError as error:
        say(f"ddbench: {error}")
        sys.exit(USAGE)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            say("interrupted; the same command resumes")
        raise


def say_unit(device: str) -> None:
    """Say what a second is on a device where it is none of the device's own."""
    if device.partition(":")[0] == "mps":
        from ddbench.compute.device import resolve_device

        resolve_device(device)  # refuses one that is not there
        say("--device mps: seconds are wall seconds, so that whatever else this machine does counts too")


@contextmanager
def curves(folder: Path | None) -> Iterator[LogHook]:
    """Yield a hook that writes curves for TensorBoard into a folder; without one, a hook that does nothing."""
    if folder is None:
        yield lambda run, logged: None
        return
    import ddbench

    with ddbench.TensorBoard(folder) as hook:
        yield hook


def say(message: str) -> None:
    messages.print(printable(message), soft_wrap=True)
