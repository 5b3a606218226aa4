"""Training data as a method gets it: in batches, never as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ddbench.compute import host
from ddbench.compute.device import with_float64
from ddbench.data.dataset import Dataset
from ddbench.data.preprocess import WHITENING, Transform
from ddbench.errors import UserError

CHUNK = 4096  # images whitened at a time, so that no second float copy of a large set is made


class RealData:
    """The train split on one device, served as preprocessed batches.

    Every call returns `images` (n, C, H, W) float32 and `labels` (n,) int64 on the device, never views of the data.

    Args:
        dataset: the data set, of which the train split alone is kept.
        transform: the fitted preprocessing; normalisation is applied to each batch, whitening once, here.
        device: the device where images are kept and generators must be.

    Attributes:
        counts: images per class.
        shape: shape (C, H, W) of an image.
        device: device of the batches.
    """

    def __init__(self, dataset: Dataset, transform: Transform, device: torch.device | str) -> None:
        images, labels = dataset.train_images.to(device), dataset.train_labels.to(device)
        whitened = transform.preprocessing.kind in WHITENING
        self._images = _whitened(images, transform) if whitened else images
        self._transform = None if whitened else transform
        self._labels = labels
        table = _class_table(dataset.train_labels, len(dataset.classes))
        self._table = table.to(images.device)  # (K, max_count)
        self._missing = self._table < 0
        self.counts: tuple[int, ...] = tuple((table >= 0).sum(1).tolist())
        self.shape = dataset.shape
        self.device: torch.device = images.device

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, n: int, generator: torch.Generator, of: int | Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Draw random images without replacement.

        Args:
            n: number of images; a smaller set or class gives all it has.
            generator: a generator on the same device as the data.
            of: None for images of all classes; a class for n of that class; several classes for n of each, grouped in
                that order.

        Raises:
            UserError: when n is below 1, a class is unknown or the generator lives elsewhere.
        """
        return self._gather(self.positions(n, generator, of))

    def positions(self, n: int, generator: torch.Generator, of: int | Sequence[int] | None = None) -> Tensor:
        """Return the positions, (n,), of the images that `batch` draws."""
        self._check(n, generator)
        if of is None:
            return torch.randperm(len(self), generator=generator, device=self.device)[:n]
        classes = [of] if isinstance(of, int) else list(map(int, of))
        return self._draw(n, self._known(classes), generator)

    def by_class(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """Draw n random images of each class without replacement; a smaller class gives all it has.

        Returns:
            The images of each class, (min(n, counts[c]), C, H, W).

        Raises:
            UserError: when n is below 1 or the generator lives elsewhere.
        """
        images, _ = self.batch(n, generator, of=range(len(self.counts)))
        return list(images.split([min(n, count) for count in self.counts]))

    def batches(self, n: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Return one epoch in batches of n, the last one possibly smaller; shuffled where a generator is given.

        Raises:
            UserError: when n is below 1 or the generator lives elsewhere.
        """
        self._check(n, generator)
        order = torch.arange(len(self), device=self.device)
        if generator is not None:
            order = torch.randperm(len(self), generator=generator, device=self.device)
        return (self._gather(order[start : start + n]) for start in range(0, len(self), n))

    def take(self, indices: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images and labels at these positions in stored order, each 0 <= index < len(self).

        Raises:
            UserError: for a position outside (not checked for indices on an accelerator, which would have to wait).
        """
        positions = torch.as_tensor(indices, dtype=torch.int64)
        if positions.device.type == "cpu":
            outside = positions[(positions < 0) | (positions >= len(self))]
            if len(outside):
                raise UserError(f"no training image {int(outside[0])}; positions are 0..{len(self) - 1}")
        return self._gather(positions.to(self.device, non_blocking=True))

    def class_indices(self, c: int) -> Tensor:
        """Return the positions of class c, ascending, (counts[c],) int64."""
        (known,) = self._known([c])
        return self._table[known, : self.counts[known]].clone()

    def _draw(self, n: int, classes: list[int], generator: torch.Generator) -> Tensor:
        """Draw positions, class by class: in each class's row of the table, those with the largest keys."""
        counts = [min(n, self.counts[c]) for c in classes]
        most, rows, missing = max(counts), self._table, self._missing
        if classes != list(range(len(self.counts))):
            wanted = torch.tensor(classes).to(self.device, non_blocking=True)
            rows, missing = rows[wanted], missing[wanted]
        keys = _keys(rows.shape, generator, self.device)
        chosen = keys.masked_fill_(missing.to(keys.device), -1).topk(most, dim=1).indices  # (len(classes), most)
        drawn = rows.gather(1, chosen.to(self.device)).flatten()
        if min(counts) == most:
            return drawn
        kept = torch.cat([torch.arange(count) + row * most for row, count in enumerate(counts)])
        return drawn[kept.to(self.device, non_blocking=True)]

    def _gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        images = self._images[positions]
        return images if self._transform is None else self._transform(images), self._labels[positions]

    def _known(self, classes: list[int]) -> list[int]:
        if not classes:
            raise UserError("batch was asked for images of no class (of=[]); name at least one")
        for c in classes:
            if not 0 <= c < len(self.counts):
                raise UserError(f"no class {c}; classes are 0..{len(self.counts) - 1}")
        return classes

    def _check(self, n: int, generator: torch.Generator | None) -> None:
        if n < 1:
            raise UserError(f"cannot draw a batch of {n} images; ask for at least 1")
        if generator is not None and generator.device != self.device:
            raise UserError(
                f"the generator lives on {generator.device}, the data on {self.device}; "
                f"make it with torch.Generator('{self.device}')"
            )


def _keys(shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw float64 in [0, 1): float32 collides within a class of some thousands, and ties are broken by position.

    Apple's `mps` has no float64: there two float32 are drawn, and put together on the CPU.
    """
    if with_float64(device) == device:
        return torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
    coarse, fine = torch.rand((2, *shape), generator=generator, device=device).cpu().double()
    return torch.add(coarse, fine, alpha=2**-24)


def _whitened(images: Tensor, transform: Transform) -> Tensor:
    return torch.cat([transform(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)])


def _class_table(labels: Tensor, classes: int) -> Tensor:
    """Return the positions of each class, ascending, padded with -1, (K, max_count) int64, in host memory."""
    on_host = host.read(labels, "class table")
    rows = [torch.nonzero(on_host == c).flatten() for c in range(classes)]
    return pad_sequence(rows, batch_first=True, padding_value=-1)
