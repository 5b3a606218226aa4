"""A run's distillation in a process of its own, which holds training data and nothing else."""

from __future__ import annotations

import getpass
import os
import tempfile
import threading
import time
import traceback
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ddbench.boards.jobs import Job
from ddbench.data import load_dataset_no_more
from ddbench.data.paths import CACHE_VARIABLE, DATA_VARIABLE
from ddbench.errors import CannotWrite, Stopped, UserError
from ddbench.evaluation.modality import TrainingFile
from ddbench.io.atomic import write_atomically
from ddbench.io.locks import awaited
from ddbench.records.run_folder import TRACE
from ddbench.records.source_digest import source_digest
from ddbench.registry import discover, discover_all_but_methods, find_method
from ddbench.runs.context import RunContext, RunMonitor
from ddbench.runs.distill import distil, open_training
from ddbench.runs.executors.family import adopt_orphans
from ddbench.runs.executors.inside import Line, bound

COMPILED = "TORCHINDUCTOR_CACHE_DIR"
"""variable that names the folder of what torch has compiled; by default one among the temporary ones"""
UNSEEN = "this system does not say what becomes of a helper process whose parent ends: such time is not counted"


def distilling(
    job: Job,
    file: TrainingFile,
    folder: Path,
    cache: Path,
    temporary: Path,
    device: str,
    outbox: Connection,
    lifeline: Connection,
) -> None:
    """Distil; afterwards wait until the parent has seen what that took.

    Args:
        temporary: folder of its own for temporary files
        outbox: for messages to the parent
        lifeline: see `inside.Line`
    """
    begun, line = time.monotonic(), Line(outbox, lifeline)
    try:
        _keep_to_itself(temporary, job.decoys)
        bound(job.cell.threads)
        discover_all_but_methods()
        where = torch.device(device)
        monitor = RunMonitor(line.report, line.stopping, line.progress, line.logged)
        context = RunContext.of(job, folder, cache, where, monitor)
        opened = open_training(context, file)
        load_dataset_no_more()
        start = time.process_time() if where.type == "cpu" else time.monotonic() - begun
        discover()
        _check_source(job)
        with awaited(folder):
            distil(context, opened, start)
        line.done(None)
        threading.Event().wait()
    except (Exception, SystemExit, Stopped) as error:
        trace = traceback.format_exc()
        if line.ended(error).status == "failed":
            with suppress(CannotWrite):
                write_atomically(folder / TRACE, trace.encode())


def _keep_to_itself(temporary: Path, decoys: str | None) -> None:
    """Keep what it starts, and its temporary files, together, and do not say where data lie."""
    os.environ.setdefault(COMPILED, str(Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"))
    os.environ["TMPDIR"] = str(temporary)
    os.environ.pop(DATA_VARIABLE, None)
    if decoys is not None:
        os.environ |= {DATA_VARIABLE: decoys, CACHE_VARIABLE: decoys}
    tempfile.tempdir = None
    if not adopt_orphans():
        warnings.warn(UNSEEN, RuntimeWarning, stacklevel=1)


def _check_source(job: Job) -> None:
    """The method is the one that the record will name."""
    if source_digest(find_method(job.method)) != job.method_source:
        raise UserError(f"the file of method {job.method} has changed since the command began; run the command again")
