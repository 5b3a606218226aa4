"""Named random generators, whose seeds follow from their name and their owner, never from the clock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def derive_seed(*key: object) -> int:
    """Derive a 63-bit seed from the text of the arguments.

    >>> derive_seed("digits", 0, "real") == derive_seed("digits", 0, "real")
    True
    """
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class MetaGenerator(torch.Generator):
    """A generator of the `meta` device, which torch does not have: it takes the CPU's in its place."""

    device = torch.device("meta")


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    generator = MetaGenerator() if torch.device(device).type == "meta" else torch.Generator(device)
    return generator.manual_seed(seed)


class Generators:
    """Generators made on first use, whose states the meter saves and restores.

    Args:
        key: what they belong to, such as (dataset, network, ipc, seed) for a task
    """

    def __init__(self, *key: object) -> None:
        self._key = key
        self._made: dict[str, torch.Generator] = {}
        self._waiting: dict[str, Tensor] = {}

    def get(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Return the generator of that name; its seed follows from the key and the name."""
        if name not in self._made:
            generator = seeded(derive_seed(*self._key, name), device)
            if name in self._waiting:
                generator.set_state(self._waiting.pop(name))
            self._made[name] = generator
        return self._made[name]

    def adopt(self, name: str, generator: torch.Generator) -> None:
        """Add a generator that was seeded elsewhere, so that it is saved and restored too."""
        self._waiting.pop(name, None)
        self._made[name] = generator

    def drop(self, name: str) -> None:
        """Save and restore the generator of that name no more."""
        self._made.pop(name, None)

    def get_state(self) -> dict[str, Tensor]:
        return {name: generator.get_state() for name, generator in self._made.items()} | self._waiting

    def set_state(self, states: Mapping[str, Tensor]) -> None:
        """Restore every generator; one that was not made yet starts from its saved state."""
        for name in list(self._made):
            if name in states:
                self._made[name].set_state(states[name])
            else:
                del self._made[name]
        self._waiting = {name: state for name, state in states.items() if name not in self._made}
