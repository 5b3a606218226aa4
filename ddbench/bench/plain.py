"""The measurements as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ddbench.bench.cases import Setup
from ddbench.bench.growth import Growth
from ddbench.bench.measure import CaseTiming
from ddbench.compute.device import resolve_device
from ddbench.compute.environment import device_name


def bench_json(setup: Setup, rows: Iterable[CaseTiming], growth: Iterable[Growth] = ()) -> dict[str, Any]:
    """Return what was measured, seconds and bytes as numbers.

    Args:
        setup: one whose device is that of all
    """
    return {
        "device": device_name(resolve_device(setup.device)),
        "rows": [_row(row) for row in rows],
        "growth": [_growth(one) for one in growth],
    }


def _row(row: CaseTiming) -> dict[str, Any]:
    return {
        "case": row.case,
        "ipc": row.setup.ipc,
        "width": row.setup.width,
        "textbook_seconds": row.textbook.median,
        "ours_seconds": row.ours.median,
        "ratio": row.ratio,
        "flops": row.textbook.flops,
        "limit": row.limit,
        "textbook_bytes": row.textbook.peak_bytes,
        "ours_bytes": row.ours.peak_bytes,
    }


def _growth(one: Growth) -> dict[str, Any]:
    return {
        "axis": one.axis,
        "case": one.case,
        "values": list(one.values),
        "seconds": [timing.median for timing in one.timings],
        "slope": one.slope,
        "expected_slope": one.expected,
    }
