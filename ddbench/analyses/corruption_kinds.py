"""Kinds of corruption of images in five severities, with the constants of CIFAR-10-C and MNIST-C.

Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261; Mu & Gilmer, 2019, arXiv 1906.02337. The blur of grey images is
milder than theirs, which leaves nothing of a digit.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

SEVERITIES = 5


@dataclass(frozen=True)
class Corruption:
    """A way to corrupt images, and how much at each severity."""

    name: str
    apply: Callable[[Tensor, float, torch.Generator], Tensor]
    """function of pixels (N, C, H, W) in [0, 1], an amount, and a generator; its result may leave [0, 1]"""
    amounts: tuple[float, float, float, float, float]
    side: int | None = None
    """height of the images that amounts are lengths for, which grow with the image; None where they are no lengths"""

    def __call__(self, images: Tensor, severity: int, generator: torch.Generator) -> Tensor:
        """Corrupt images (N, C, H, W) uint8 on the CPU; severity 0 leaves them as they are.

        The same draws at every severity make images that are corrupted more and more alike.
        """
        if severity == 0:
            return images
        amount = self.amounts[severity - 1] * (images.shape[-1] / self.side if self.side else 1)
        made = self.apply(images.float() / 255, amount, generator)
        return (made.clamp(0, 1) * 255).round().to(torch.uint8)


def gaussian_noise(pixels: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    return pixels + sigma * torch.randn(pixels.shape, generator=generator)


def shot_noise(pixels: Tensor, photons: float, generator: torch.Generator) -> Tensor:
    """So many photons on average where a pixel is white."""
    return torch.poisson(pixels * photons, generator) / photons


def impulse_noise(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the values, half of them 0 and half of them 1."""
    drawn = torch.rand(pixels.shape, generator=generator)
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn > 1 - share / 2, 1.0, pixels))


def gaussian_blur(pixels: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    reach, channels = int(4 * sigma + 0.5), pixels.shape[1]
    weights = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = (weights / weights.sum()).expand(channels, 1, -1)  # (C, 1, 2 * reach + 1)
    wide = F.pad(pixels, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(wide, kernel[:, :, None, :], groups=channels)
    return F.conv2d(rows, kernel[:, :, :, None], groups=channels)


def contrast(pixels: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """Each channel of an image is scaled around its mean."""
    means = pixels.mean((2, 3), keepdim=True)
    return means + factor * (pixels - means)


def brightness(pixels: Tensor, more: float, generator: torch.Generator) -> Tensor:
    """The largest channel of each pixel grows by so much; hue and saturation stay."""
    value = pixels.amax(1, keepdim=True)
    bright = (value + more).clamp(0, 1)
    return torch.where(value > 0, pixels * bright / value.clamp(min=1 / 255), bright)


def rotate(pixels: Tensor, angle: float, generator: torch.Generator) -> Tensor:
    """By an angle in radians, to either side; black comes in."""
    turn = angle * _signs(len(pixels), generator)
    cos, sin, none = turn.cos(), turn.sin(), torch.zeros(len(pixels))
    return _moved(pixels, torch.stack([cos, -sin, none, sin, cos, none], 1).view(-1, 2, 3))


def translate(pixels: Tensor, length: float, generator: torch.Generator) -> Tensor:
    """By so many pixels to either side, and as many up or down; black comes in."""
    across, down = (2 * length / pixels.shape[-1] * _signs(len(pixels), generator) for _ in range(2))
    one, none = torch.ones(len(pixels)), torch.zeros(len(pixels))
    return _moved(pixels, torch.stack([one, none, across, none, one, down], 1).view(-1, 2, 3))


def pixelate(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Shrunk to a share of its side, and enlarged again, by means over boxes."""
    side = pixels.shape[-1]
    small = max(1, int(side * share)), max(1, int(side * share))

    def remade(image: Image.Image) -> Image.Image:
        return image.resize(small, Image.Resampling.BOX).resize((side, side), Image.Resampling.BOX)

    return _each(pixels, remade)


def jpeg(pixels: Tensor, quality: float, generator: torch.Generator) -> Tensor:
    def remade(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _each(pixels, remade)


def _signs(count: int, generator: torch.Generator) -> Tensor:
    """Draw -1 or 1 for each image."""
    return 2.0 * torch.randint(2, (count,), generator=generator) - 1


def _moved(pixels: Tensor, where: Tensor) -> Tensor:
    """Images whose pixel at x is the old one at `where` (N, 2, 3) times (x, 1), interpolated linearly."""
    grid = F.affine_grid(where, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)


def _each(pixels: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Change coloured images one by one."""
    images = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    made = np.stack([np.asarray(change(Image.fromarray(image))) for image in images])
    return torch.from_numpy(made).permute(0, 3, 1, 2) / 255


COLOURED = (
    Corruption("gaussian_noise", gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    Corruption("shot_noise", shot_noise, (500, 250, 100, 75, 50)),
    Corruption("impulse_noise", impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    Corruption("gaussian_blur", gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0), side=32),
    Corruption("contrast", contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    Corruption("brightness", brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    Corruption("pixelate", pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    Corruption("jpeg", jpeg, (80, 65, 58, 50, 40)),
)
"""for images with colours, as CIFAR-10 and SVHN"""
GREY = (
    Corruption("gaussian_noise", gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    Corruption("shot_noise", shot_noise, (60, 25, 12, 5, 3)),
    Corruption("impulse_noise", impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    Corruption("gaussian_blur", gaussian_blur, (0.4, 0.7, 1.0, 1.5, 2.0), side=28),
    Corruption("contrast", contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    Corruption("brightness", brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    Corruption("rotate", rotate, (0.2, 0.4, 0.6, 0.8, 1.0)),
    Corruption("translate", translate, (1, 2, 3, 4, 5), side=28),
)
"""for grey images, as MNIST and Fashion-MNIST"""


def corruptions_of(shape: tuple[int, int, int]) -> tuple[Corruption, ...]:
    """Kinds for images of shape (C, H, W)."""
    return GREY if shape[0] == 1 else COLOURED
