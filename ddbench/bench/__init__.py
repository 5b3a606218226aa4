"""Timing of repeated steps on this machine: a textbook implementation's, ddbench's, and the machine's limit."""

from ddbench.bench.cases import CASES, Setup
from ddbench.bench.growth import Growth, draw_growth, growth_table, run_growth
from ddbench.bench.measure import CaseTiming, Timing, matrix_product_rate, run_bench
from ddbench.bench.table import bench_table, setups, title

__all__ = [
    "CASES",
    "CaseTiming",
    "Growth",
    "Setup",
    "Timing",
    "bench_table",
    "draw_growth",
    "growth_table",
    "matrix_product_rate",
    "run_bench",
    "run_growth",
    "setups",
    "title",
]
