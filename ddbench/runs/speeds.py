"""How fast networks train and kernels predict on this machine: a few steps of each, on empty images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ddbench.compute.device import wait_for
from ddbench.data.builtin import Size
from ddbench.families.kernels.named import KERNELS, KernelName
from ddbench.families.kernels.regression import exact
from ddbench.networks import build_network
from ddbench.records.cell import NetworkSpec

PROBE_SECONDS = 0.03
"""how long the speed of a network is measured, after a step that warms up"""
FEW, MANY = 2, 32
"""images of the steps that are measured; a network that takes long for few is not measured with many"""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use a number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Speed:
    """How long a network trains: a part for each step, however small, and a part for each image of it."""

    step: float
    """seconds"""
    image: float
    """seconds"""

    def seconds(self, steps: int, images: int) -> float:
        """Return what so many steps of so many images take."""
        return steps * (self.step + images * self.image)


class Speeds:
    """How fast networks train and kernels predict here, each measured once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._known = dict[tuple[str, tuple[int, ...], int], Speed]()
        self._pairs = dict[tuple[KernelName, tuple[int, ...]], float]()

    def of(self, network: NetworkSpec, data: Size) -> Speed:
        key = str(network), data.shape, data.classes
        if key not in self._known:
            self._known[key] = self._measure(network, data)
        return self._known[key]

    def pair(self, kernel: KernelName, data: Size) -> float:
        """Return the seconds that a kernel takes for two images."""
        if (kernel, data.shape) not in self._pairs:
            self._pairs[kernel, data.shape] = self._pair(kernel, data)
        return self._pairs[kernel, data.shape]

    def _pair(self, kernel: KernelName, data: Size) -> float:
        self._kernel_seconds(kernel, data, FEW // 2)  # which warms up
        for count in (FEW // 2, MANY // 2):
            taken = self._kernel_seconds(kernel, data, count)
            if taken > PROBE_SECONDS / 10:
                break
        return taken / count**2

    def _kernel_seconds(self, kernel: KernelName, data: Size, count: int) -> float:
        images = exact(torch.zeros(count, *data.shape, device=self.device))
        started = time.perf_counter()
        KERNELS[kernel](images, images)
        wait_for(self.device)
        return time.perf_counter() - started

    def _measure(self, network: NetworkSpec, data: Size) -> Speed:
        module = build_network(network.name, data.shape, data.classes, network.parameters).to(self.device)
        images = torch.zeros(MANY, *data.shape, device=self.device)
        few = self._usual_seconds(module, images[:FEW])
        if few > PROBE_SECONDS / 4:
            return Speed(0.0, few / FEW)
        many = max(few, self._usual_seconds(module, images))
        image = (many - few) / (MANY - FEW)
        return Speed(max(0.0, few - FEW * image), image)

    def _usual_seconds(self, module: torch.nn.Module, images: torch.Tensor) -> float:
        """Return the median over steps, after one that warms up: a moment in which others are at work says little."""
        self._step_seconds(module, images)
        steps = [self._step_seconds(module, images)]
        while sum(steps) < PROBE_SECONDS:
            steps.append(self._step_seconds(module, images))
        return statistics.median(steps)

    def _step_seconds(self, module: torch.nn.Module, images: torch.Tensor) -> float:
        started = time.perf_counter()
        module(images).sum().backward()
        wait_for(self.device)
        return time.perf_counter() - started
