"""What methods log, as TensorBoard shows it: one run of TensorBoard for each of ours."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ddbench.errors import UserError
from ddbench.meter.hooks import Logged

FLUSH_SECONDS = 5


class TensorBoard:
    """A hook for `on_log` that writes curves for TensorBoard; what that costs is said in `ddbench.runs.log_hook`.

    >>> with ddbench.TensorBoard("curves") as curves:  # doctest: +SKIP
    ...     ddbench.distill("dm", "digits", "digits.safetensors", on_log=curves)

    Args:
        folder: has a folder for each run; `tensorboard --logdir FOLDER` shows them

    Raises:
        UserError: when TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder, self._writers = Path(folder), dict[str, Any]()
        try:
            self._make = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise UserError(
                "curves for TensorBoard need it; install it with `pip install -e '.[tensorboard]'`"
            ) from error

    def __call__(self, run: str, logged: Logged) -> None:
        """Write values under `LOOP/NAME`, as `distil/loss`."""
        if run not in self._writers:
            self._writers[run] = self._make(str(self._folder / run), flush_secs=FLUSH_SECONDS)
        for name, value in logged.values.items():
            self._writers[run].add_scalar(f"{logged.loop}/{name}", value, logged.step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()
