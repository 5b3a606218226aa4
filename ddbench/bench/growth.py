"""Growth of a step's time and memory with the size of the problem, beside the growth of its operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ddbench.bench.cases import Setup
from ddbench.bench.measure import Timing, count_operations, measure_ours

AXES: list[tuple[str, tuple[int, ...], str]] = [
    ("ipc", (1, 10, 50), "distribution_matching"),
    ("ipc", (1, 10, 50), "gradient_matching"),
    ("classes", (10, 100), "distribution_matching"),
    ("side", (32, 64), "distribution_matching"),
    ("side", (32, 64), "experts"),
    ("student_steps", (10, 40, 80), "trajectory_matching"),
    ("networks", (1, 5, 20), "evaluation"),
]
"""field of `Setup` that grows, its values, and the case whose steps are timed"""
DECADE = 10
"""smallest ratio that a panel's y axis spans, so that slow growth looks slow"""
HEADINGS = ("grows", "case", "values", "ms", "time, slope", "operations, slope", "peak MB")


@dataclass(frozen=True)
class Growth:
    """The timings of a case along one axis."""

    axis: str
    case: str
    values: tuple[int, ...]
    timings: list[Timing]
    operations: list[int]

    @property
    def slope(self) -> float:
        """Slope of time over the axis, both logarithmic: 1 for growth in proportion, 0 for none."""
        return _slope(self.values, [timing.median for timing in self.timings])

    @property
    def expected(self) -> float:
        """Slope of the operations of the textbook's step."""
        return _slope(self.values, self.operations)


def run_growth(setup: Setup, seconds: float = 3.0, threads: int = 1) -> Iterator[Growth]:
    """Measure every axis of `AXES`, each point in a process of its own; all other sizes are the setup's."""
    for axis, values, case in AXES:
        points = [Setup(**{**asdict(setup), axis: value}) for value in values]
        timings = [measure_ours(case, point, seconds, threads) for point in points]
        operations = [count_operations(case, point, threads) for point in points]
        yield Growth(axis, case, values, timings, operations)


def growth_table(rows: list[Growth]) -> str:
    """Tabulate medians, slopes and peak memory, in Markdown."""
    body = [
        (
            row.axis,
            row.case,
            _joined(row.values),
            _joined(f"{1000 * timing.median:,.0f}" for timing in row.timings),
            f"{row.slope:.2f}",
            f"{row.expected:.2f}",
            _joined(f"{timing.peak_bytes / 1e6:,.0f}" for timing in row.timings),
        )
        for row in rows
    ]
    return tabulate(body, HEADINGS, tablefmt="github", disable_numparse=True)


def draw_growth(rows: list[Growth], path: Path) -> None:
    """Draw time against size on logarithmic axes, with the growth of the operations dashed, one panel a row."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, -(-len(rows) // 2), figsize=(3.2 * -(-len(rows) // 2), 5.4), squeeze=False)
    for panel, row in zip(axes.flat, rows, strict=False):
        seconds = [timing.median for timing in row.timings]
        panel.loglog(row.values, seconds, "o-", color="#0072b2", label="measured")
        scaled = [seconds[-1] * count / row.operations[-1] for count in row.operations]
        panel.loglog(row.values, scaled, "--", color="#666666", label="operations")
        panel.set_title(row.case.replace("_", " "), fontsize=9, loc="left")
        panel.set_xlabel(row.axis.replace("_", " "))
        panel.set_xticks(row.values, labels=[str(value) for value in row.values])
        panel.set_yticks(seconds, labels=[f"{value:.2g}" for value in seconds])
        panel.minorticks_off()
        panel.set_ylim(min(0.7 * min(seconds), max(seconds) / DECADE), 1.5 * max(seconds))
    for panel in axes.flat[len(rows) :]:
        panel.axis("off")
    axes[0, 0].set_ylabel("seconds a step")
    axes[0, 0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _slope(values: tuple[int, ...], measured: list[float] | list[int]) -> float:
    return float(np.polyfit(np.log(values), np.log(measured), 1)[0])


def _joined(parts: Iterable[object]) -> str:
    return ", ".join(map(str, parts))
