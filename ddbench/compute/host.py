"""The places at which the host waits for the device, and the functions that copy numbers from one to the other.

A host that waits sends no work meanwhile, and a GPU that has nothing to do stands still. `WAITS` lists every place
where numbers of a tensor are needed in host memory; in distilling and training for a score there is no other, which
`tests/test_meta.py` checks. Beside it the clock waits for steps that were sent more than eight steps ago, see
`DeviceClock`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Wait:
    """A place at which the host waits for the device.

    Args:
        reason: why the host needs the numbers
        within_steps: true if it happens in steps of the meter or of an evaluation's training, not before or after them
    """

    reason: str
    within_steps: bool = False


WAITS: dict[str, Wait] = {
    "accuracy": Wait("it decides whether a network is trained further or replaced, once an epoch", within_steps=True),
    "trajectory": Wait("an expert's weights are kept in host memory, once an epoch", within_steps=True),
    "own weights": Wait("a network's own code draws on the host, by a seed from the device", within_steps=True),
    "class table": Wait("the number of images of each class decides shapes"),
    "unused bases": Wait("the number of bases that the images do not need decides how many random numbers are drawn"),
    "clusters": Wait("scikit-learn clusters on the host"),
    "pool": Wait("the digest of the networks that are held out is taken of their bytes"),
    "artefact": Wait("what is stored, in snapshots and in the end, is checked and written on the host"),
    "answers": Wait("trained networks are scored on the host"),
}
"""every place, by the name that `read` is given"""


def read(tensor: Tensor, wait: str) -> Tensor:
    """Wait for the device and return a copy of a tensor in host memory, without history.

    A tensor of the `meta` device has no numbers: it is read as 1, 2, 3, ...

    Args:
        wait: name of the place in `WAITS`
    """
    if wait not in WAITS:
        raise ValueError(f"the host waits for {wait!r}, which is not in WAITS; add it with the reason")
    return _made_up(tensor) if tensor.is_meta else tensor.detach().to("cpu", copy=True)


def sent(tensor: Tensor) -> Tensor:
    """Return a copy in host memory, without history, that may be read once the device has finished this step."""
    return _made_up(tensor) if tensor.is_meta else tensor.detach().to("cpu", non_blocking=True)


def _made_up(tensor: Tensor) -> Tensor:
    return torch.arange(1, tensor.numel() + 1).to(tensor.dtype).view(tensor.shape)
