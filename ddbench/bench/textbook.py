"""Each family's step as its paper writes it: plain PyTorch, eager, class by class.

Tests compare ddbench's own steps with these, number by number, and benchmarks time both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from ddbench.data.augmentation import DSA, Draw

Batch = tuple[Tensor, Tensor]


def gradient_matching(network: nn.Module, real: Sequence[Tensor], synthetic: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance summed over classes, and its gradient. Zhao et al., ICLR 2021, Algorithm 1, lines 7 to 10.

    Args:
        real: a batch (N, C, H, W) of each class
        synthetic: (K * ipc, C, H, W), class by class
    """
    synthetic = synthetic.detach().requires_grad_()
    weights = list(network.parameters())
    total = torch.zeros((), device=synthetic.device)
    for c, (images, ours) in enumerate(zip(real, synthetic.chunk(len(real)), strict=True)):
        target = torch.autograd.grad(_class_loss(network, images, c), weights)
        gradients = torch.autograd.grad(_class_loss(network, ours, c), weights, create_graph=True)
        for a, b in zip(target, gradients, strict=True):
            if a.ndim > 1:
                a, b = a.flatten(1), b.flatten(1)
                total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    return total.detach(), torch.autograd.grad(total, synthetic)[0]


def distribution_matching(
    network: nn.Module, real: Sequence[Tensor], synthetic: Tensor, augmentation: DSA, draws: Sequence[Draw]
) -> tuple[Tensor, Tensor]:
    """Return the squared distance of class means, and its gradient. Zhao & Bilen, WACV 2023, Algorithm 1.

    Args:
        real: a batch (N, C, H, W) of each class
        synthetic: (K * ipc, C, H, W), class by class
        draws: an augmentation for each class
    """
    synthetic = synthetic.detach().requires_grad_()
    total = torch.zeros((), device=synthetic.device)
    for images, ours, draw in zip(real, synthetic.chunk(len(real)), draws, strict=True):
        target = network.embed(augmentation.apply(images, draw)).detach().mean(0)  # type: ignore[operator]
        mean = network.embed(augmentation.apply(ours, draw)).mean(0)  # type: ignore[operator]
        total = total + (mean - target).square().sum()
    return total.detach(), torch.autograd.grad(total, synthetic)[0]


def trajectory_matching(
    network: nn.Module, start: Mapping[str, Tensor], target: Mapping[str, Tensor], batches: Sequence[Batch], lr: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the normalised distance, and its gradients with respect to each step's images and, last, the step size.

    Cazenavette et al., CVPR 2022, Algorithm 1, lines 8 to 14.
    """
    images, lr = [batch.detach().requires_grad_() for batch, _ in batches], lr.detach().requires_grad_()
    walk = [(batch, labels, lr) for batch, (_, labels) in zip(images, batches, strict=True)]
    student = _descend(network, start, walk)
    far = torch.stack([(student[name] - target[name]).square().sum() for name in start]).sum()
    loss = far / torch.stack([(start[name] - target[name]).square().sum() for name in start]).sum()
    return loss.detach(), list(torch.autograd.grad(loss, [*images, lr]))


def backprop(
    network: nn.Module, start: Mapping[str, Tensor], batches: Sequence[Batch], lrs: Tensor, real: Batch
) -> tuple[Tensor, list[Tensor]]:
    """Return the loss on real images after training on the batches, and its gradients for each batch, then for `lrs`.

    Wang et al. 2018, Algorithm 1, lines 5 to 10.
    """
    images, lrs = [batch.detach().requires_grad_() for batch, _ in batches], lrs.detach().requires_grad_()
    walk = [(batch, labels, lr) for batch, (_, labels), lr in zip(images, batches, lrs, strict=True)]
    loss = F.cross_entropy(functional_call(network, _descend(network, start, walk), (real[0],)), real[1])
    return loss.detach(), list(torch.autograd.grad(loss, [*images, lrs]))


def train(
    network: nn.Module, images: Tensor, labels: Tensor, epochs: int, *, momentum: float = 0.9, decay: float = 5e-4
) -> None:
    """Train for epochs of SGD on images (N, C, H, W) and labels, in shuffled batches of 256."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=momentum, weight_decay=decay)
    loader = DataLoader(TensorDataset(images, labels), batch_size=256, shuffle=True)
    for _ in range(epochs):
        for batch, batch_labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(batch), batch_labels).backward()
            optimizer.step()


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images (N, C, H, W) that the network classifies correctly, in batches of 256."""
    correct = 0
    for batch, batch_labels in DataLoader(TensorDataset(images, labels), batch_size=256):
        correct += int((network(batch).argmax(1) == batch_labels).sum())
    return correct / len(labels)


def _class_loss(network: nn.Module, images: Tensor, c: int) -> Tensor:
    return F.cross_entropy(network(images), torch.full((len(images),), c, device=images.device))


def _descend(
    network: nn.Module, start: Mapping[str, Tensor], walk: Sequence[tuple[Tensor, Tensor, Tensor]]
) -> dict[str, Tensor]:
    weights = {name: weight.detach().requires_grad_() for name, weight in start.items()}
    for images, labels, lr in walk:
        loss = F.cross_entropy(functional_call(network, weights, (images,)), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {name: weights[name] - lr * gradient for name, gradient in zip(weights, gradients, strict=True)}
    return weights
