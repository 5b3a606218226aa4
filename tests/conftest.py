"""Light fixtures that several test modules share."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from ddbench import registry


@dataclass
class CountingClock:
    """Stands still unless a test advances it."""

    now: float = 0.0

    def tick(self) -> float:
        return self.now

    def settle(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> registry.Registry[type]:
    """METHODS and BROKEN, emptied for one test."""
    registry.discover()  # first, or the methods that ship would be registered for this test alone
    monkeypatch.setattr(registry.METHODS, "_objects", {})
    monkeypatch.setattr(registry.METHODS, "_aliases", {})
    monkeypatch.setattr(registry, "BROKEN", {})
    return registry.METHODS
