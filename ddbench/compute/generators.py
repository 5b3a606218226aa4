"""Named random generators: a name and what it belongs to decide the seed, never the clock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def derive_seed(*key: object) -> int:
    """A 63-bit seed from the text of its arguments.

    >>> derive_seed("digits", 0, "real") == derive_seed("digits", 0, "real")
    True
    """
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


class Generators:
    """Generators made on first use, whose states the meter saves and puts back.

    Args:
        key: what they belong to; (dataset, network, ipc, seed) for a task
    """

    def __init__(self, *key: object) -> None:
        self._key = key
        self._made: dict[str, torch.Generator] = {}
        self._waiting: dict[str, Tensor] = {}

    def get(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """The generator of that name; its seed comes from the key and the name."""
        if name not in self._made:
            generator = seeded(derive_seed(*self._key, name), device)
            if name in self._waiting:
                generator.set_state(self._waiting.pop(name))
            self._made[name] = generator
        return self._made[name]

    def adopt(self, name: str, generator: torch.Generator) -> None:
        """Save and put back a generator that was seeded elsewhere, too."""
        self._waiting.pop(name, None)
        self._made[name] = generator

    def get_state(self) -> dict[str, Tensor]:
        return {name: generator.get_state() for name, generator in self._made.items()} | self._waiting

    def set_state(self, states: Mapping[str, Tensor]) -> None:
        """Put every generator back; one that was not made yet starts from its state when it is."""
        for name in list(self._made):
            if name in states:
                self._made[name].set_state(states[name])
            else:
                del self._made[name]
        self._waiting = {name: state for name, state in states.items() if name not in self._made}
