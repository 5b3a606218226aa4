"""Fitted whitenings of large images, kept in the user's cache: each process of a run needs one, and fitting takes long.

What was kept is taken only if it whitens the images at hand, for a method's code can write into the cache. That is seen
in their mean and in a few random directions, which costs two thin products with the images in place of a decomposition.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch
from kornia.enhance import ZCAWhitening
from torch import Tensor

from ddbench.compute.environment import device_name, versions
from ddbench.compute.generators import seeded
from ddbench.data.paths import cache_folder
from ddbench.data.whitening import CHUNK, RegularizedZCA, unit_images
from ddbench.errors import CannotWrite
from ddbench.io.atomic import key_of, warn_of_damage, write_atomically
from ddbench.io.safetensors_files import read_tensors, tensor_bytes

WORTH_KEEPING = 2**11
"""values of an image from which a whitening is kept; one of fewer is fitted within seconds"""
PROBES = 8
"""random directions in which a kept whitening is compared with the images"""
TOLERANCE = 0.01
"""relative error in these directions that rounding explains, and error of a mean in deviations of a pixel"""
Matrices = dict[str, Tensor]


def fitted_zca(images: Tensor, scaled: Callable[[Tensor], Tensor], eps: float, origin: str) -> ZCAWhitening:
    """Return the whitening of images, (N, C, H, W) uint8.

    Args:
        scaled: makes float32 images of them, which are whitened
        origin: digest of what decides the whitening: the images and the preprocessing
    """
    whitening = ZCAWhitening(eps=eps, compute_inv=True)
    names = ("mean_vector", "transform_matrix", "transform_inv")

    def fit() -> Matrices:
        whitening.fit(scaled(images))
        return {name: getattr(whitening, name) for name in names}

    def check(found: Matrices) -> bool:
        mean, matrix, inverse = (found[name] for name in names)  # (1, D), (D, D), (D, D)
        parts = [scaled(chunk).flatten(1).sum(0, keepdim=True) for chunk in images.split(CHUNK)]
        if not torch.allclose(torch.cat(parts).sum(0, keepdim=True) / len(images), mean, rtol=0.0, atol=TOLERANCE):
            return False
        rows = (scaled(chunk).flatten(1) - mean for chunk in images.split(CHUNK))
        return _whitens(matrix, inverse, rows, len(images) - 1, lambda average: eps)

    for name, matrix in _kept(images, origin, fit, check).items():
        setattr(whitening, name, matrix)
    whitening.fitted = True
    return whitening


def fitted_regularized_zca(images: Tensor, share: float, origin: str) -> RegularizedZCA:
    """Return the regularised whitening of images, (N, C, H, W) uint8; arguments as of `fitted_zca`."""

    def fit() -> Matrices:
        whitening = RegularizedZCA(share).fit(images)
        return {"matrix": whitening.matrix, "inverse": whitening.inverse}

    def check(found: Matrices) -> bool:
        rows = (unit_images(chunk.float()).flatten(1) for chunk in images.split(CHUNK))
        return _whitens(found["matrix"], found["inverse"], rows, len(images), lambda average: share * average)

    return RegularizedZCA(share, **_kept(images, origin, fit, check))


def _kept(images: Tensor, origin: str, fit: Callable[[], Matrices], check: Callable[[Matrices], bool]) -> Matrices:
    """Return what was fitted before on this machine, or fit and keep it; small ones are fitted each time."""
    if images[0].numel() < WORTH_KEEPING:
        return fit()
    around = {"device": device_name(images.device), "threads": torch.get_num_threads(), "kornia": version("kornia")}
    key = key_of({"origin": origin, **around, **versions()})
    path = cache_folder() / "whitenings" / f"{key}.safetensors"
    found = _read(path, images.device, check)
    if found is None:
        found = fit()
        with suppress(CannotWrite):  # who cannot keep it fits it again
            write_atomically(
                path, tensor_bytes({part: tensor.cpu().contiguous() for part, tensor in found.items()}, {})
            )
    return found


def _read(path: Path, device: torch.device, check: Callable[[Matrices], bool]) -> Matrices | None:
    if not path.is_file():
        return None
    with suppress(OSError, ValueError, KeyError, RuntimeError):
        found = {part: tensor.to(device) for part, tensor in read_tensors(path)[1].items()}
        if check(found):
            return found
    warn_of_damage(path, "it does not whiten the images")
    return None


def _whitens(
    matrix: Tensor, inverse: Tensor, rows: Iterable[Tensor], divisor: int, ridge: Callable[[Tensor], Tensor | float]
) -> bool:
    """Return whether a matrix, (D, D), is (C + ridge * I) ** -1/2, and has that inverse.

    Args:
        rows: images in parts, (n, D) each; C is the sum of their outer products over `divisor`
        ridge: a function of the average eigenvalue of C
    """
    probe = torch.randn(len(matrix), PROBES, generator=seeded(secrets.randbits(63))).to(matrix)  # nobody can foresee it
    through = matrix @ probe
    product, squares = torch.zeros_like(probe), probe.new_zeros(())
    for part in rows:
        product += part.T @ (part @ through)
        squares += part.square().sum()
    back = matrix @ (product / divisor + ridge(squares / divisor / len(matrix)) * through)
    pairs = (back, probe), (inverse @ through, probe), (matrix.T @ probe, through)
    return all(bool((found - expected).norm() <= TOLERANCE * expected.norm()) for found, expected in pairs)
