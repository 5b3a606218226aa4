"""Releases of HaBa: bases, and the hallucinators that make images of them, in two files.

Liu et al., "Dataset Distillation via Factorization", NeurIPS 2022, arXiv 2210.16774.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ddbench.artifacts.release_files import Released, content, joined, tensor
from ddbench.artifacts.release_folders import beside, chosen_set, sets_of
from ddbench.decoders.hallucinators import KERNEL, Hallucinators
from ddbench.errors import UserError

PARTS = {
    "enc.weight": "into", "enc.bias": "into_bias", "scale": "scales", "shift": "shifts",
    "dec.weight": "back", "dec.bias": "back_bias",
}  # fmt: skip
"""names of the decoder's parts by the authors' names of each hallucinator's"""
NAME = re.compile(r"(?P<number>\d{1,4})\.(?P<part>.+)")


def has_hallucinators(path: Path) -> bool:
    """Return whether images have hallucinators and no labels beside them, as the authors' code leaves them.

    Args:
        path: a folder, or a file of images
    """
    folder = path if path.is_dir() else path.parent
    return bool(sets_of(folder, "hallucinators")) and not sets_of(folder, "labels")


def read_bases(path: Path) -> Released:
    """Read `images_best.pt` and `weights_best.pt`, or `images_15000.pt` and `styles_15000.pt`.

    Bases lie class by class, as many of each, without labels.

    Raises:
        UserError: one sentence that names the file and the fix.
    """
    folder, key, files = chosen_set(path)
    weights = beside(sets_of(folder, "hallucinators"), key, alone=True)
    if weights is None:
        raise UserError(f"{files[0]} has no hallucinators beside it; save them there as weights_best.pt")
    bases = joined(folder, [tensor(file) for file in files])
    parts = _parts(weights[0], content(weights[0]))
    into, back = parts["into"], parts["back"]
    side = tuple(bases.shape[2:])
    count = len(parts["back_bias"]) // max(1, back.shape[1])
    maps = tuple(size - KERNEL + 1 for size in side)
    if bases.ndim != 4 or into.shape[1:] != (bases.shape[1], KERNEL, KERNEL) or parts["scales"].shape[1:] != maps:
        raise UserError(
            f"{weights[0]} holds hallucinators of kernels {tuple(into.shape[1:])} and maps "
            f"{tuple(parts['scales'].shape[1:])}, which do not fit bases of shape {tuple(bases.shape[1:])} in "
            f"{files[0]}; give those of one run"
        )
    return Released(
        bases,
        None,
        decoder=Hallucinators(count=count, channels=len(into) // count, scale=1),
        parts=parts,
        files=tuple(file.name for file in (*files, weights[0])),
    )


def _parts(path: Path, held: Any) -> dict[str, Tensor]:
    """Return the decoder's parts of all hallucinators, one after the other, from the state of a list of them."""
    found = [NAME.fullmatch(name) for name in held] if isinstance(held, Mapping) and held else [None]
    numbered = {(int(one["number"]), one["part"]) for one in found if one is not None}
    count = max((number for number, _ in numbered), default=-1) + 1
    if None in found or numbered != {(number, part) for number in range(count) for part in PARTS}:
        raise UserError(f"{path} is no state of HaBa's hallucinators; is it of another layout?")
    parts = {}
    for theirs, ours in PARTS.items():
        tensors = [held[f"{number}.{theirs}"] for number in range(count)]
        if not all(isinstance(one, Tensor) and one.is_floating_point() for one in tensors):
            raise UserError(f"{path} holds a {theirs} that is no tensor of numbers; is it of another layout?")
        maps = ours in ("scales", "shifts")
        parts[ours] = joined(path, [one.squeeze(0) if maps else one for one in tensors]).float()
    sides = {name: part.ndim for name, part in parts.items()}
    wanted = {"into": 4, "into_bias": 1, "scales": 3, "shifts": 3, "back": 4, "back_bias": 1}
    if sides != wanted or not parts["back_bias"].numel() or len(parts["into"]) % count:
        raise UserError(f"{path} holds hallucinators of other shapes than HaBa's; is it of another layout?")
    return parts
