"""How fast the machine at hand runs what is repeated: the textbook's steps, ours, and the limit."""

from ddbench.bench.cases import CASES, Setup
from ddbench.bench.growth import Growth, draw_growth, growth_table, run_growth
from ddbench.bench.measure import Row, Timing, matrix_product_rate, run_bench
from ddbench.bench.table import bench_table, setups, title

__all__ = [
    "CASES",
    "Growth",
    "Row",
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
