"""How long what is left of a board will take."""

from __future__ import annotations

from ddbench.boards.command_line import SHIPPED
from ddbench.runs.executors.local import Local
from ddbench.runs.forecast import Forecast, forecast, records_like
from ddbench.runs.plan import Plan


def forecast_left(todo: Plan, device: str = "auto", workers: int | None = None) -> Forecast:
    """Say how long what is left of a board will take on this machine, from its own records and those that are filed."""
    jobs, where = [job for job, _ in todo.jobs], Local.named(device, workers)
    filed = records_like(SHIPPED.parent / "leaderboards" / "records", jobs)
    return forecast(jobs, [*todo.records, *filed], where.device, len(where.devices))
