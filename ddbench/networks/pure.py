"""What makes a module a function of its parameters and its batch: no chance, and no buffers that change."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ddbench.errors import UserError
from ddbench.networks.initial_weights import torch_seeded
from ddbench.networks.running import MOMENTUM, RunningBatchNorm

RATES = ("dropout", "attention_dropout", "drop_prob", "drop_path", "drop_rate", "drop_path_rate", "p_dropout")
"""names under which layers keep the share that they drop"""
DROPS = ("StochasticDepth", "DropPath", "DropBlock2d")
"""layers of torchvision and timm that drop by a share `p`"""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def purified(module: nn.Module, label: str) -> nn.Module:
    """Return a module in training mode without dropout and without running averages beside its weights; it is changed.

    Batch norm with running averages becomes `RunningBatchNorm`. Parameters that are not to be trained become buffers.

    Raises:
        UserError: for batch norm without an affine part, or of a kind of its own, and for lazy layers.
    """
    module.train()
    for layer in list(module.modules()):
        _check_known(layer, label)
        _drop_nothing(layer)
        for name, child in list(layer.named_children()):
            if isinstance(child, _BatchNorm) and child.track_running_stats:
                setattr(layer, name, _running(child, label))
        for name, parameter in list(layer.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(layer, name)
                layer.register_buffer(name, parameter.detach())
    return module


def check_pure(module: nn.Module, images: Tensor, label: str) -> None:
    """Refuse a module that gives something else for the same images, or that changes its buffers.

    Args:
        images: (N, C, H, W)
    """
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    answers = []
    for seed in range(2):
        with torch_seeded(seed), torch.no_grad():
            answers.append(module(images))
    for name, buffer in module.named_buffers():
        if name not in before or not torch.equal(buffer, before[name]):
            raise UserError(
                f"buffer {name.removeprefix('features.')!r} of {label} changes as it computes; a network is a function "
                "of its parameters and images, so make it a constant"
            )
    if not torch.equal(*answers):
        raise UserError(f"{label} draws random numbers as it computes; leave that out in training mode, too")


def _check_known(layer: nn.Module, label: str) -> None:
    if any(nn.parameter.is_lazy(parameter) for parameter in layer.parameters(recurse=False)):
        raise UserError(f"{label} has lazy layers, whose weights have no shape yet; give their sizes")


def _drop_nothing(layer: nn.Module) -> None:
    if isinstance(layer, _DropoutNd) or type(layer).__name__ in DROPS:
        layer.p = 0.0  # type: ignore[assignment]  # its stub has modules and tensors alone
    for name in RATES:
        if isinstance(vars(layer).get(name), float):
            setattr(layer, name, 0.0)


def _running(norm: _BatchNorm, label: str) -> nn.Module:
    """Return batch norm with the same affine part, followed by what a layer of timm does after it."""
    if not norm.affine:
        raise UserError(f"{label} has batch norm without an affine part, where averages are kept; set affine=True")
    running = RunningBatchNorm(norm.num_features, norm.eps, MOMENTUM if norm.momentum is None else norm.momentum)
    running.weight, running.bias = norm.weight, norm.bias
    if type(norm) in NORMS:
        return running
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    if not isinstance(drop, nn.Module) or not isinstance(act, nn.Module):
        raise UserError(f"{label} has a batch norm of its own kind, {type(norm).__name__}; use nn.BatchNorm2d")
    return nn.Sequential(running, drop, act)
