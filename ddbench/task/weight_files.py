"""Networks from elsewhere, to adapt or to attack: a `.safetensors` file of their weights.

The parameters of one network stand under their own names, those of several under `0/name`, `1/name`, ...
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.errors import UserError
from ddbench.io.atomic import digest
from ddbench.io.safetensors_files import read_safetensors
from ddbench.networks.flatten import flatten
from ddbench.records.cell import GivenWeights


def describe(file: str, held_out: int | None = None) -> GivenWeights:
    """What a file gives: one network, to learn and to score with, or several, of which the last are held out.

    Args:
        held_out: of several, half of them unless said otherwise

    Raises:
        UserError: when it cannot be read, or leaves none to learn with.
    """
    count = len(_networks(file))
    last = held_out or max(1, count // 2)
    if count > 1 and last >= count:
        raise UserError(f"{file} has {count} networks and held_out is {last}; leave some to learn with")
    return GivenWeights(file=file, digest=_digest(file), train=max(1, count - last), held_out=min(last, count))


def read(given: GivenWeights, like: Weights) -> Tensor:
    """The networks of a file, (networks, P).

    Args:
        like: names, shapes, precision and device of what they are used for

    Raises:
        UserError: when it is another file than was described, or of another network.
    """
    networks = _networks(given.file)
    if _digest(given.file) != given.digest:
        raise UserError(f"{given.file} is not the file that was named ({given.digest[:19]}); provide that one")
    for weights in networks:
        odd = sorted(
            name
            for name in weights.keys() | like.keys()
            if name not in weights or name not in like or weights[name].shape != like[name].shape
        )
        if odd:
            raise UserError(f"{given.file} is of another network, see {odd[0]!r}; name the right one in the board")
    return torch.stack([flatten({name: weights[name].to(like[name]) for name in like}) for weights in networks])


def _networks(file: str) -> list[Weights]:
    try:
        _, content = read_safetensors(Path(file))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read weights from {file!r} ({error}); name a .safetensors file") from error
    if not any("/" in name for name in content):
        return [content]
    networks: dict[str, Weights] = {}
    for name, weight in content.items():
        number, _, own = name.partition("/")
        networks.setdefault(number, {})[own] = weight
    if wrong := sorted(number for number in networks if not number.isdecimal()):
        raise UserError(f"{file} has {wrong[0]!r} beside numbered networks; name their weights 0/..., 1/...")
    return [networks[number] for number in sorted(networks, key=int)]


def _digest(file: str) -> str:
    return digest(Path(file).read_bytes())
