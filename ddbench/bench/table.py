"""The measurements as a table, and the setups that the command measures."""

from __future__ import annotations

from collections.abc import Iterable

from tabulate import tabulate

from ddbench.bench.cases import Setup
from ddbench.bench.measure import CaseTiming
from ddbench.compute.device import resolve_device
from ddbench.compute.environment import device_name
from ddbench.errors import UserError

HEADINGS = (
    "case", "width", "ipc", "textbook ms", "ours ms", "ratio", "n", "GFLOP/s", "of limit", "textbook MB", "ours MB",
)  # fmt: skip


def setups(ipcs: Iterable[int], widths: Iterable[int], device: str) -> list[Setup]:
    """Return setups with CIFAR-10's shapes and these numbers of images per class and widths.

    Raises:
        UserError: for a device that is not there, or a number below 1.
    """
    where = str(resolve_device(device))
    chosen = [Setup(ipc=ipc, width=width, device=where) for width in widths for ipc in ipcs]
    for setup in chosen:
        if min(setup.ipc, setup.width) < 1:
            raise UserError(f"ipc {setup.ipc} and width {setup.width}: both must be at least 1")
    return chosen


def bench_table(rows: list[CaseTiming]) -> str:
    """Tabulate medians, their ratio, operations a second and memory, a row for each case and setup, in Markdown."""
    body = [
        (
            row.case,
            row.setup.width,
            row.setup.ipc,
            f"{1000 * row.textbook.median:,.1f}",
            f"{1000 * row.ours.median:,.1f}",
            f"{row.ratio:.1f}",
            f"{len(row.textbook.seconds)}, {len(row.ours.seconds)}",
            f"{row.textbook.flops / row.ours.median / 1e9:,.0f}",
            f"{row.share_of_limit:.0%}",
            f"{row.textbook.peak_bytes / 1e6:,.0f}",
            f"{row.ours.peak_bytes / 1e6:,.0f}",
        )
        for row in rows
    ]
    align = ["left", *["right"] * (len(HEADINGS) - 1)]
    return tabulate(body, HEADINGS, tablefmt="github", colalign=align, disable_numparse=True)


def title(rows: list[CaseTiming]) -> str:
    """Name the device and its limit."""
    device = device_name(resolve_device(rows[0].setup.device))
    return f"{device}; a matrix product runs at {max(row.limit for row in rows) / 1e9:,.0f} GFLOP/s"
