"""A forecast as a table, and as JSON."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from ddbench.runs.forecast import CellForecast, Forecast, duration

WIDE = 110
"""columns that the table needs; a narrower terminal folds its lines"""


def forecast_table(forecast: Forecast) -> Table:
    """Return a table of a line a cell, in the order of the board."""
    table = Table(box=None, header_style="bold")
    for name in ("method", "data set"):
        table.add_column(name, no_wrap=True)
    for name in ("ipc", "runs", "distil a run", "score a run", "in all"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("from", no_wrap=True)
    for cell in forecast.cells:
        distil = "?" if cell.distil is None else duration(cell.distil)
        sizes = str(cell.cell.ipc), str(cell.runs), distil, duration(cell.evaluate), duration(cell.seconds)
        table.add_row(cell.cell.method, cell.cell.dataset, *sizes, cell.basis)
    return table


def forecast_json(forecast: Forecast) -> dict[str, Any]:
    """Return what a forecast says, seconds and bytes as numbers."""
    return {
        "runs": forecast.runs,
        "hours": forecast.hours,
        "workers": forecast.workers,
        "stored_bytes": forecast.stored,
        "cells": [_cell(cell) for cell in forecast.cells],
    }


def _cell(cell: CellForecast) -> dict[str, Any]:
    return {
        "method": cell.cell.method,
        "dataset": cell.cell.dataset,
        "ipc": cell.cell.ipc,
        "runs": cell.runs,
        "distil_seconds": cell.distil,
        "evaluate_seconds": cell.evaluate,
        "basis": cell.basis,
    }
