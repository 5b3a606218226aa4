"""How fast networks train on this machine: a few steps of each, on empty images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ddbench.compute.device import wait_for
from ddbench.data.builtin import Size
from ddbench.networks import build_network
from ddbench.records.cell import NetworkSpec

PROBE_SECONDS = 0.1
"""how long the speed of a network is measured, after a step that warms up"""
FEW, MANY = 4, 64
"""images of a step of a large network, and of one that takes `FEW` of them within a tenth of that time"""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use a number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Speeds:
    """Seconds that networks take here for an image that they are trained on, each measured once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._known = dict[tuple[str, tuple[int, ...], int], float]()

    def of(self, network: NetworkSpec, data: Size) -> float:
        key = str(network), data.shape, data.classes
        if key not in self._known:
            self._known[key] = self._measure(network, data)
        return self._known[key]

    def _measure(self, network: NetworkSpec, data: Size) -> float:
        module = build_network(network.name, data.shape, data.classes, network.parameters).to(self.device)
        images = torch.zeros(MANY, *data.shape, device=self.device)
        self._step_seconds(module, images[:FEW])
        first = self._step_seconds(module, images[:FEW])
        count, steps = (MANY, list[float]()) if first < PROBE_SECONDS / 10 else (FEW, [first])
        while sum(steps) < PROBE_SECONDS:
            steps.append(self._step_seconds(module, images[:count]))
        return statistics.fmean(steps) / count

    def _step_seconds(self, module: torch.nn.Module, images: torch.Tensor) -> float:
        started = time.perf_counter()
        module(images).sum().backward()
        wait_for(self.device)
        return time.perf_counter() - started
