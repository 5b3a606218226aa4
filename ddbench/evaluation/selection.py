"""What to report of a training that was tested along its way: pure functions of accuracies in the order of time.

Papers report the last reading, the best one on held-out training images, or the best one on the test set, which peeks.
"""

from __future__ import annotations

from collections.abc import Sequence

from ddbench.records.schema import Selected

READINGS = 10
"""number of readings along an evaluation network's training"""


def moments(steps: int, count: int) -> list[int]:
    """Numbers of steps after which to read, evenly spaced, the last one `steps`; fewer where there are fewer steps.

    >>> moments(300, 3), moments(2, 3)
    ([100, 200, 300], [1, 2])
    """
    return sorted({-(-steps * reading // count) for reading in range(1, count + 1)})


def select(test: Sequence[float], held_out: Sequence[float]) -> Selected:
    """Test accuracy by each rule of selection; of equally good readings the first counts.

    Args:
        test: accuracy on the test set at each reading
        held_out: on the images to select by, at the same readings

    Raises:
        ValueError: when there is no reading, or not one of each.
    """
    readings = list(zip(test, held_out, strict=True))
    best, _ = max(readings, key=lambda reading: reading[1])
    return Selected(last=test[-1], validation=best, oracle=max(test))
