"""The architectures that a search chooses among: ConvNets of every depth, width, norm, activation and pooling."""

from __future__ import annotations

from itertools import product

from ddbench.records.cell import NetworkSpec

DEPTHS = (1, 2, 3)
AXES: dict[str, tuple[int | str, ...]] = {
    "depth": DEPTHS,
    "width": (8, 16, 32),
    "norm": ("none", "instance", "layer"),
    "activation": ("relu", "sigmoid"),
    "pooling": ("average", "max"),
}
"""values of each parameter; batch norm, which tests with the statistics of the test batch, is none of them"""
ALL = tuple(
    NetworkSpec(name="convnet", parameters=dict(zip(AXES, values, strict=True))) for values in product(*AXES.values())
)
MIDDLE = NetworkSpec(name="convnet", parameters={"depth": 2, "width": 16})
"""stands for all of them in a forecast"""
LEAST_SIDE = 2 ** max(DEPTHS)
"""smallest side of images that the deepest takes"""


def architectures(count: int) -> list[NetworkSpec]:
    """So many of the space, evenly spaced in its order; all of them in the end."""
    return [ALL[place * len(ALL) // count] for place in range(count)]
