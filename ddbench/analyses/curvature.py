"""Curvature: how sharp is the loss of the distilled images where training on real data passes by?

Yang, Zhu, Deng & Russakovsky, "What is Dataset Distillation Learning?", ICML 2024, arXiv 2406.04284, follow the trace
of the Hessian by Hutchinson's estimate (Communications in Statistics, 1989). Theirs stops by chance after 2 to 100
draws and is smoothed; here the same few vectors serve distilled and real images and every step, without smoothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor

from ddbench.analyses.subject import Subject
from ddbench.compute.compiling import Weights
from ddbench.networks.flatten import unflatten
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis

Loss = Callable[[Weights, Tensor, Tensor], Tensor]
MOST = 1e12
"""largest trace"""


@register_analysis("curvature@1")
@dataclass(frozen=True)
class Curvature:
    """The trace of the Hessian of the loss of distilled images, and of real ones, along training on real data.

    Intervals are over trajectories. `probe_error` says how exact the estimate of one trace is.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("peak", "largest trace of the Hessian of the distilled images' loss along the way", -MOST, MOST),
        Metric("peak_at", "step at which it is largest", 0, 300),
        Metric("peak_real", "largest trace of the Hessian of the real images' loss", -MOST, MOST),
        Metric("peak_real_at", "step at which it is largest", 0, 300),
        Metric(
            "end_ratio", "trace of the distilled images' over that of the real images', at the last step", -1e9, 1e9
        ),
        Metric("probe_error", "standard error of the trace at the peak, over the trace", 0, 1e9, "lower"),
    )
    headline: ClassVar[tuple[str, ...]] = ("peak", "peak_at", "peak_real", "end_ratio")
    figure: ClassVar[Figure] = Figure(
        "trace", "step", "distilled", "step of training on real data", "trace of the loss on distilled images"
    )

    trajectories: PositiveInt = 3
    """networks trained on real data, along which the trace is taken"""
    vectors: Annotated[int, Field(ge=2)] = 8
    """random vectors of signs, the same for all traces"""
    real: PositiveInt = 100
    """real images of each class"""

    def analyse(self, subject: Subject) -> Findings:
        kind = subject.artifact.label_kind
        if kind == "targets":
            return Findings(not_applicable="its labels are numbers of a regression, which have no cross-entropy")
        images, labels = subject.decoded()
        batch = images, labels.softmax(1) if kind == "logits" else labels
        ours, theirs = list[Tensor](), list[Tensor]()
        for number in range(self.trajectories):
            path = subject.references.trajectory(number)
            ours.append(self._along(subject, path, batch))
            theirs.append(self._of_real(subject, path, number))
            subject.report((number + 1) / self.trajectories)
        return found(torch.stack(ours), torch.stack(theirs), list(path))

    def _of_real(self, subject: Subject, path: Mapping[int, Weights], number: int) -> Tensor:
        def make() -> Tensor:
            chosen = [positions[: self.real] for positions in subject.references.by_class(subject.generator("real"))]
            return self._along(subject, path, subject.references.real(torch.cat(chosen)))

        key = {"analysis": "curvature@1", "number": number, "vectors": self.vectors, "real": self.real}
        return subject.references.cached("curvature", key, make)

    def _along(self, subject: Subject, path: Mapping[int, Weights], batch: tuple[Tensor, Tensor]) -> Tensor:
        """The estimate by each vector at each step, (steps, V)."""
        evaluator, like = subject.evaluator, next(iter(path.values()))
        size = sum(weight.numel() for weight in like.values())
        bits = torch.randint(2, (self.vectors, size), generator=subject.generator("vectors"))
        signs = (2.0 * bits - 1).to(subject.device)

        def loss(weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(evaluator.logits(weights, images), labels)

        chunk = evaluator.chunks.size(len(batch[1]))
        return torch.stack([traces(loss, weights, batch, signs, chunk) for weights in path.values()])


def traces(loss: Loss, weights: Weights, batch: tuple[Tensor, Tensor], vectors: Tensor, chunk: int) -> Tensor:
    """The quadratic form v' H v of the mean loss's Hessian H for each of several vectors, (V,) float64.

    The gradient's graph is made once and serves all vectors. On a CPU that costs half of forward over reverse mode; on
    other devices the vectors go through it together.

    Args:
        loss: the mean over images
        batch: images (N, C, H, W) and labels (N, ...)
        vectors: (V, P)
        chunk: images that are differentiated at a time
    """
    products = one_by_one if vectors.device.type == "cpu" else together
    count, total = len(batch[1]), torch.zeros(len(vectors), dtype=torch.float64, device=vectors.device)
    for images, labels in zip(*(part.split(chunk) for part in batch), strict=True):
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        with torch.enable_grad():
            slope = torch.autograd.grad(loss(leaves, images, labels), list(leaves.values()), create_graph=True)
        turned = products(slope, leaves, vectors)  # (V, P)
        total += len(labels) / count * (turned.double() * vectors).sum(1)
    return total


def one_by_one(slope: Sequence[Tensor], leaves: Weights, vectors: Tensor) -> Tensor:
    """The Hessian times each vector, (V, P), of a gradient with history; batched convolutions are slow on CPUs."""
    inputs = list(leaves.values())
    rows = [
        torch.autograd.grad(slope, inputs, list(unflatten(vector, leaves).values()), retain_graph=True)
        for vector in vectors
    ]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def together(slope: Sequence[Tensor], leaves: Weights, vectors: Tensor) -> Tensor:
    """What `one_by_one` gives, in one pass."""
    inputs = list(leaves.values())
    columns = vectors.split([leaf.numel() for leaf in inputs], dim=1)
    parts = [part.view(len(vectors), *leaf.shape) for part, leaf in zip(columns, inputs, strict=True)]
    products = torch.autograd.grad(slope, inputs, parts, retain_graph=True, is_grads_batched=True)
    return torch.cat([product.flatten(1) for product in products], 1)


def found(ours: Tensor, theirs: Tensor, steps: Sequence[int]) -> Findings:
    """What the traces of distilled and of real images say.

    Args:
        ours, theirs: (trajectories, steps, V)
    """
    own, real = ours.mean(2), theirs.mean(2)  # (trajectories, steps)
    (peak, at), (peak_real, real_at) = own.max(1), real.max(1)
    probes = ours[torch.arange(len(ours)), at]  # (trajectories, V)
    values = {
        "peak": peak.tolist(),
        "peak_at": [float(steps[place]) for place in at.tolist()],
        "peak_real": peak_real.tolist(),
        "peak_real_at": [float(steps[place]) for place in real_at.tolist()],
        "end_ratio": [a / b for a, b in zip(own[:, -1].tolist(), real[:, -1].tolist(), strict=True) if b > 0],
        "probe_error": (probes.std(1) / probes.shape[1] ** 0.5 / peak.abs().clamp(min=1e-9)).tolist(),
    }
    metrics = {name: Measure.over(column, "trajectories") for name, column in values.items() if column}
    curve = {"step": [float(step) for step in steps], "distilled": own.mean(0).tolist(), "real": real.mean(0).tolist()}
    return Findings(metrics=metrics, series={"trace": Series(columns=dict(curve))})
