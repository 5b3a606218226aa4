"""What follows a data set's name in brackets: some of its classes, `cifar10[0-4]`, or a size, `./photos[size=64]`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch

from ddbench.data.dataset import Dataset
from ddbench.data.resize import resized
from ddbench.errors import UserError

OPTIONS = re.compile(r"(?P<base>[^\[\]]+)\[(?P<options>[^\[\]]*)\]")
RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
SIZE = re.compile(r"size=(\d{1,4})")
MOST_SIDE = 1024


@dataclass(frozen=True)
class Options:
    """The options of a data set.

    Args:
        size: side of the square images; None leaves them as they are
        classes: indices of the chosen classes, in the order in which they are numbered anew; empty takes all
    """

    size: int | None = None
    classes: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = [*map(str, self.classes), *([f"size={self.size}"] if self.size is not None else [])]
        return f"[{','.join(parts)}]"

    def apply(self, data: Dataset, name: str) -> Dataset:
        """Return the data set as the options say, under that name, with a digest of its own.

        Raises:
            UserError: for a class that the data set lacks.
        """
        if self.size is not None and data.shape[1:] != (self.size, self.size):
            channels = data.shape[0]
            data = replace(resized(data, (channels, self.size, self.size)), given_digest=None)
        return replace(with_classes(data, self.classes), name=name) if self.classes else replace(data, name=name)


def without_options(name: str) -> str:
    """Return a data set's name without its brackets."""
    return name.partition("[")[0]


def parse_options(name: str) -> tuple[str, Options | None]:
    """Return a name without its brackets, and what they say; None where there are none.

    Raises:
        UserError: for an option that is neither a size nor a class or range of classes.
    """
    found = OPTIONS.fullmatch(name)
    if found is None:
        return name, None
    size, classes = None, list[int]()
    for option in filter(None, (part.strip() for part in found["options"].split(","))):
        sized, ranged = SIZE.fullmatch(option), RANGE.fullmatch(option)
        if sized is not None and 4 <= int(sized[1]) <= MOST_SIDE:
            size = int(sized[1])
        elif ranged is not None:
            classes += range(int(ranged[1]), int(ranged[2] or ranged[1]) + 1)
        else:
            raise UserError(
                f"{name!r} has option {option!r}; give a size up to {MOST_SIDE}, as in [size=64], or classes, "
                "as in [0-4] or [0,3,7]"
            )
    if len(set(classes)) != len(classes):
        raise UserError(f"{name!r} names a class twice; name each once")
    return found["base"], Options(size, tuple(classes))


def with_classes(data: Dataset, classes: tuple[int, ...]) -> Dataset:
    """Return a data set of these classes alone, numbered anew in this order.

    Raises:
        UserError: for a class that the data set lacks, or fewer than two.
    """
    outside = next((index for index in classes if index >= len(data.classes)), None)
    if outside is not None:
        raise UserError(f"{data.name} has no class {outside}; its classes are 0 to {len(data.classes) - 1}")
    if len(classes) < 2:
        raise UserError(f"one class of {data.name} is nothing to tell apart; name at least two")
    new = torch.full((len(data.classes),), -1, dtype=torch.int64)
    new[list(classes)] = torch.arange(len(classes))
    train, test = new[data.train_labels], new[data.test_labels]
    return replace(
        data,
        train_images=data.train_images[train >= 0],
        train_labels=train[train >= 0],
        test_images=data.test_images[test >= 0],
        test_labels=test[test >= 0],
        classes=tuple(data.classes[index] for index in classes),
        given_digest=None,
    )
