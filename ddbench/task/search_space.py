"""Search ranges that methods declare on their fields, and the points of them that are tried."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ddbench.errors import UserError
from ddbench.records.fields import complaint

DIGITS = 3
"""significant digits of a number that is tried"""


@dataclass(frozen=True)
class LogRange:
    """Numbers from `low` to `high`, equally likely on a logarithmic scale; whole numbers where both ends are.

    >>> LogRange(0.01, 1.0).at(0.5), LogRange(1, 100).at(0.5)
    (0.1, 10)
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"{self!r} has no numbers; give two positive ones, the smaller first")

    def at(self, share: float) -> float:
        """Return the number at a share in [0, 1) of the range."""
        number = self.low * (self.high / self.low) ** share
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return int(_short(round(number))) if whole else _short(number)

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.low, self.high


def _short(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


@dataclass(frozen=True)
class IntegerRange:
    """Whole numbers from `low` to `high`, both included and all equally likely.

    >>> IntegerRange(1, 3).at(0.5)
    2
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"{self!r} has no numbers; give two, the smaller first")

    def at(self, share: float) -> int:
        """Return the number at a share in [0, 1) of the range."""
        return self.low + int(share * (self.high - self.low + 1))

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.low, self.high


class Choice:
    """Any of the values listed, all equally likely.

    >>> Choice("noise", "real").at(0.5)
    'real'
    """

    def __init__(self, *values: bool | int | float | str | None) -> None:
        if len(values) < 2:
            raise ValueError(f"a choice among {len(values)} values is none; give two or more")
        self.values = values

    def at(self, share: float) -> Any:
        """Return the value at a share in [0, 1) of the list."""
        return self.values[int(share * len(self.values))]

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values


Range = LogRange | IntegerRange | Choice


def ranges_of(cls: type[Any]) -> dict[str, Range]:
    """Return the search ranges that a method declares, by field: `lr: Annotated[PositiveFloat, LogRange(0.01, 1.0)]`.

    Raises:
        UserError: when a range has values that its field refuses.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {
        field.name: one
        for field in dataclasses.fields(cls)
        for one in getattr(hints[field.name], "__metadata__", ())
        if isinstance(one, Range)
    }
    for name, one in found.items():
        for value in one.ends:
            try:
                TypeAdapter(hints[name]).validate_python(value, strict=True)
            except ValidationError as error:
                detail = complaint(error.errors()[0])
                raise UserError(f"{name}={value!r} lies in the search range of {cls.name}: {detail}") from error
    return found


def sobol_points(ranges: dict[str, Range], count: int) -> Iterator[dict[str, Any]]:
    """Yield settings at the points 1, 2, ... of a Sobol sequence over ranges, the same in every process.

    Sobol, USSR Computational Mathematics 1967, with the directions of Joe & Kuo, SIAM Journal on Scientific Computing
    2008. It is not scrambled, so that it depends on no generator; its point 0, the lowest corner of all ranges, is left
    out.

    Args:
        count: points at most
    """
    from scipy.stats.qmc import Sobol  # takes a second to import

    exponent = math.ceil(math.log2(count + 1))
    for point in Sobol(len(ranges), scramble=False).random_base2(exponent)[1 : count + 1]:
        yield {name: one.at(float(share)) for (name, one), share in zip(ranges.items(), point, strict=True)}
