"""Differentiable siamese augmentation (DSA).

Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, arXiv 2102.08259. One
operation is chosen for a whole batch. While distilling, real and synthetic images share its parameters (siamese);
while training for a score, every image has its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ddbench.data.options import without_options
from ddbench.errors import UserError, suggestion

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
GREY_DIGITS = frozenset({"digits", "mnist", "usps"})
DIGITS = GREY_DIGITS | {"svhn"}
UNIFORMS = 3
"""random numbers drawn for an image, whatever the operation: as many as any of them needs"""


@dataclass(frozen=True)
class Draw:
    """One operation and its random numbers: (1, 3) in [0, 1) for any batch, or (N, 3) for a batch of N."""

    operation: str
    uniforms: Tensor


@dataclass(frozen=True)
class DSA:
    """The operations to choose from and how strong they are; the defaults are the paper's.

    Raises:
        UserError: an empty strategy or an unknown operation in it.
    """

    strategy: tuple[str, ...] = OPERATIONS
    flip_probability: float = 0.5
    scale_ratio: float = 1.2
    """each side is scaled by its own factor in [1/ratio, ratio]"""
    rotate_degrees: float = 15.0
    crop_ratio: float = 0.125
    """largest shift, as a share of the side"""
    cutout_ratio: float = 0.5
    """side of the erased square, as a share of the image's side"""
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5

    def __post_init__(self) -> None:
        if not self.strategy:
            raise UserError(f"the augmentation strategy is empty; name some of {', '.join(OPERATIONS)}")
        for operation in self.strategy:
            if operation not in OPERATIONS:
                raise UserError(f"unknown augmentation {operation!r}; {suggestion(operation, OPERATIONS)}")

    @classmethod
    def for_dataset(cls, name: str) -> DSA:
        """Return the paper's strategy for a data set: no flips for digits, which change their meaning when mirrored."""
        if without_options(name).lower() in DIGITS:
            return cls(strategy=tuple(operation for operation in OPERATIONS if operation != "flip"))
        return cls()

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, shared: bool) -> Draw:
        """Choose one operation uniformly, and its parameters.

        Args:
            shape: (N, C, H, W) of the batch; unused when shared.
            generator: a CPU generator for the choice and the numbers, so that the host need not wait for the device;
                `apply` moves the small tensor.
            shared: True is siamese, one set of parameters for all images of any batch; else each image has its own.
        """
        chosen = int(torch.randint(len(self.strategy), (), generator=generator))
        uniforms = torch.rand(1 if shared else shape[0], UNIFORMS, generator=generator)
        return Draw(self.strategy[chosen], uniforms)

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Augment images, (N, C, H, W) -> (N, C, H, W), differentiably to any order with respect to them.

        Raises:
            ValueError: when the draw was made for the images of a batch of another size.
        """
        drawn = len(draw.uniforms)
        if drawn not in (1, len(images)):
            raise ValueError(f"a draw for {drawn} images was applied to {len(images)}; draw with shared=True")
        dtype = torch.promote_types(images.dtype, torch.float32)  # bfloat16 cannot count the pixels of a large side
        uniforms = draw.uniforms.to(images.device, dtype, non_blocking=True)
        return self._operate(draw.operation, images, uniforms)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment every image with parameters of its own, as in training for a score."""
        return self.apply(images, self.draw(tuple(images.shape), generator, shared=False))

    def _operate(self, operation: str, images: Tensor, uniforms: Tensor) -> Tensor:
        if operation == "color":
            return self._color(images, uniforms.to(images.dtype))
        if operation == "crop":
            return self._crop(images, uniforms)
        if operation == "cutout":
            return self._cutout(images, uniforms)
        if operation == "flip":
            mirrored = uniforms[:, 0, None, None, None] < self.flip_probability
            return torch.where(mirrored, images.flip(3), images)
        if operation == "scale":
            return affine(images, self._scaling(uniforms))
        return affine(images, self._rotation(uniforms))

    def _color(self, images: Tensor, uniforms: Tensor) -> Tensor:
        brightness, saturation, contrast = uniforms[:, :, None, None, None].unbind(1)  # (1 or N, 1, 1, 1) each
        images = images + (brightness - 0.5) * self.brightness
        grey = images.mean(1, keepdim=True)
        images = (images - grey) * (saturation * self.saturation) + grey
        level = images.mean((1, 2, 3), keepdim=True)
        return (images - level) * (contrast + self.contrast) + level

    def _crop(self, images: Tensor, uniforms: Tensor) -> Tensor:
        height, width = images.shape[2:]
        down, right = _part(height, self.crop_ratio), _part(width, self.crop_ratio)
        rows = _whole(uniforms[:, 0], 2 * down + 1)[:, None] + torch.arange(height, device=images.device)
        columns = _whole(uniforms[:, 1], 2 * right + 1)[:, None] + torch.arange(width, device=images.device)
        padded = F.pad(images, (right, right, down, down))
        # The index is an expanded view of (1 or N, side): rows first, then columns of what is left.
        padded = padded.gather(2, rows[:, None, :, None].expand(*images.shape[:3], padded.shape[3]))
        return padded.gather(3, columns[:, None, None, :].expand(images.shape))

    def _cutout(self, images: Tensor, uniforms: Tensor) -> Tensor:
        height, width = images.shape[2:]
        rows = _erased(height, _part(height, self.cutout_ratio), uniforms[:, 0])
        columns = _erased(width, _part(width, self.cutout_ratio), uniforms[:, 1])
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)

    def _scaling(self, uniforms: Tensor) -> Tensor:
        smallest = 1 / self.scale_ratio
        factors = smallest + uniforms[:, :2] * (self.scale_ratio - smallest)
        return F.pad(torch.diag_embed(factors), (0, 1))

    def _rotation(self, uniforms: Tensor) -> Tensor:
        angles = (2 * uniforms[:, 0] - 1) * math.radians(self.rotate_degrees)
        return F.pad(_turns(angles), (0, 1))


def always_color(images: Tensor, generator: torch.Generator, *, dataset: str) -> Tensor:
    """Always flip and change colours, then crop, scale or rotate, each image with parameters of its own.

    Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022, arXiv 2205.14959,
    train evaluation networks with it and CutMix.

    Args:
        images: (N, C, H, W)
        generator: a CPU generator
        dataset: name of the data set; digits are not flipped
    """
    for strategy in (("flip",), ("color",), ("crop", "scale", "rotate")):
        if strategy != ("flip",) or without_options(dataset).lower() not in DIGITS:
            images = DSA(strategy=strategy)(images, generator)
    return images


def shift_scale_rotate(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, scale or rotate each image, as evaluation networks of gradient matching (DC) do on MNIST.

    Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv 2006.05929. One of the three
    for each image: by -4 to 3 pixels a side, by a factor in [0.8, 1.2] a side, or by up to 45 degrees. Pixels from
    outside the image have the mean of the batch's channel, or 0 where it was scaled, as in the authors' code.

    Differences: all resampling is bilinear; theirs is nearest for scaling and cubic for rotation, by whole degrees.

    Args:
        images: (N, C, H, W).
        generator: a CPU generator.
    """
    choice = torch.randint(3, (len(images),), generator=generator).to(images.device, non_blocking=True)
    dtype = torch.promote_types(images.dtype, torch.float32)
    uniforms = torch.rand(len(images), 2, generator=generator).to(images.device, dtype, non_blocking=True)
    shifted, scaled, rotated = (choice == index for index in range(3))
    factors = torch.where(scaled[:, None], 1 / (0.8 + 0.4 * uniforms), 1.0)
    angles = torch.where(rotated, (2 * uniforms[:, 0] - 1) * math.radians(45), 0.0)
    pixels = torch.where(shifted[:, None], (_whole(uniforms, 8) - 4).to(dtype), 0.0)
    sides = torch.tensor([2 / images.shape[3], 2 / images.shape[2]], dtype=dtype).to(images.device, non_blocking=True)
    matrices = torch.cat([_turns(angles) @ torch.diag_embed(factors), (pixels * sides)[:, :, None]], 2)
    fill = images.mean((0, 2, 3), keepdim=True) * ~scaled[:, None, None, None]
    return affine(images - fill, matrices) + fill


def cutmix(
    images: Tensor, labels: Tensor, generator: torch.Generator, probability: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of every image's partner into it, and mix their labels by area; or change nothing.

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019,
    arXiv 1905.04899, with its uniform share of the area.

    Args:
        images: (N, C, H, W)
        labels: (N, K) probabilities
        generator: a CPU generator
        probability: probability that the batch is mixed at all
    """
    height, width = images.shape[2:]
    mixes, share, down, right = torch.rand(4, generator=generator).tolist()
    partner = torch.randperm(len(images), generator=generator).to(images.device, non_blocking=True)
    if mixes >= probability:
        return images, labels
    side = math.sqrt(1 - share) / 2
    top, bottom = (_inside(down + sign * side, height) for sign in (-1, 1))
    left, end = (_inside(right + sign * side, width) for sign in (-1, 1))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:end] = images[partner, :, top:bottom, left:end]
    kept = 1 - (bottom - top) * (end - left) / (height * width)
    return mixed, kept * labels + (1 - kept) * labels[partner]


@dataclass(frozen=True)
class Augmentation:
    """An augmentation of training for a score, by its name in a protocol.

    Args:
        apply: (images, generator) -> images, each image by itself
        mixes: whether half of the batches are mixed by CutMix
    """

    apply: Callable[[Tensor, torch.Generator], Tensor]
    mixes: bool = False


AUGMENTATIONS: dict[str, Callable[[str], Augmentation]] = {
    "none": lambda dataset: Augmentation(lambda images, generator: images),
    "dsa": lambda dataset: Augmentation(DSA.for_dataset(dataset)),
    "shift_scale_rotate": lambda dataset: Augmentation(shift_scale_rotate),
    "always_color_cutmix": lambda dataset: Augmentation(
        partial(always_color, dataset=dataset), mixes=without_options(dataset).lower() not in GREY_DIGITS
    ),
}
"""augmentations by name, each a function of the data set's name"""


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample images at linearly transformed positions: bilinear, zeros outside, corners not aligned.

    Equal to `grid_sample` on `affine_grid`, but by gathers: grid_sample has no second derivative in the older
    releases of PyTorch that ddbench admits, and its backward is slower on the CPU.

    Args:
        images: (N, C, H, W).
        matrices: (1 or N, 2, 3), from (x, y, 1) of an output pixel to (x, y) of its source, with sides from -1 to 1.
    """
    count, channels, height, width = images.shape
    y, x = torch.meshgrid(_centres(height, matrices), _centres(width, matrices), indexing="ij")
    source = matrices[:, :, :2] @ torch.stack([x.flatten(), y.flatten()]) + matrices[:, :, 2:]  # (1 or N, 2, H * W)
    x = (source[:, 0] + 1) * (width / 2) - 0.5
    y = (source[:, 1] + 1) * (height / 2) - 0.5
    left, top = x.floor(), y.floor()
    pixels = images.flatten(2)  # (N, C, H * W)
    total = torch.zeros_like(pixels)
    for column, horizontal in ((left, left + 1 - x), (left + 1, x - left)):
        for row, vertical in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = (horizontal * vertical * inside).to(images.dtype)
            index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            total = total + pixels.gather(2, index[:, None].expand(count, channels, -1)) * weight[:, None]
    return total.reshape(images.shape)


def _turns(angles: Tensor) -> Tensor:
    """Return rotations, (N,) radians -> (N, 2, 2)."""
    sin, cos = angles.sin(), angles.cos()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def _centres(side: int, like: Tensor) -> Tensor:
    return (2 * torch.arange(side, dtype=like.dtype, device=like.device) + 1) / side - 1


def _inside(place: float, side: int) -> int:
    return min(max(int(place * side), 0), side)


def _part(side: int, ratio: float) -> int:
    return int(side * ratio + 0.5)


def _whole(uniforms: Tensor, choices: int) -> Tensor:
    """Return whole numbers in [0, choices); a product just below the end may round up to it, hence the clamp."""
    return (uniforms * choices).long().clamp(max=choices - 1)


def _erased(side: int, size: int, uniforms: Tensor) -> Tensor:
    """Mark `size` pixels around a centre anywhere in the image, cut off at its border, (1 or N, side)."""
    # An even square has its centre between pixels, which gives one more position.
    start = _whole(uniforms, side + 1 - size % 2)[:, None] - size // 2
    positions = torch.arange(side, device=uniforms.device)
    return (positions >= start) & (positions < start + size)
