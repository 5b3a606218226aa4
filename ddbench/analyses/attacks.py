"""Attacks on images: changes of pixels within a bound that raise a loss until the answer is another.

Fast gradient sign: Goodfellow, Shlens & Szegedy, ICLR 2015, arXiv 1412.6572; projected gradient descent: Madry et al.,
ICLR 2018, arXiv 1706.06083; loss on the margin: Carlini & Wagner, S&P 2017, arXiv 1608.04644; AutoAttack: Croce & Hein,
ICML 2020, arXiv 2003.01690.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.analyses.subject import Subject
from ddbench.compute.compiling import Weights
from ddbench.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]
"""a sum over images of a loss of logits (N, K) and labels (N,)"""
AUTO_SEED = 0
AUTO_TARGETS = 9
"""classes that AutoAttack aims at, at most"""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest other logit less the label's own, which stays steep where probabilities are 0 or 1."""
    own = labels[:, None]
    others = logits.scatter(1, own, -torch.inf).amax(1)
    return (others - logits.gather(1, own)[:, 0]).sum()


@dataclass(frozen=True)
class Attacked:
    """A network under attack; its preprocessing is part of it, so that images are pixels in [0, 1].

    Nothing is compiled: images drop out as soon as they are lost, so that hardly two batches have one size, and that
    saves more than compiling would.
    """

    subject: Subject
    weights: Weights

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits, (N, K), of pixels (N, C, H, W); gradients pass through."""
        return self.subject.evaluator.logits(self.weights, self.subject.transform.of_pixels(pixels))

    def right(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Return which images get their label for an answer, (N,) bool."""
        return self.subject.evaluator.chunks.map(lambda chunk: self.logits(chunk).argmax(1), pixels) == labels

    def slope(self, loss: Loss, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the loss with respect to each pixel, (N, C, H, W), and which answers are right."""
        gradients, right = [], []
        for gradient, mask in self.subject.evaluator.chunks.each(
            lambda *part: self._slope(loss, *part), pixels, labels
        ):
            gradients.append(gradient)
            right.append(mask)
        return torch.cat(gradients), torch.cat(right)

    def _slope(self, loss: Loss, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pixels.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(pixels)
            (gradient,) = torch.autograd.grad(loss(logits, labels), pixels)
        return gradient, logits.detach().argmax(1) == labels


def fgsm(network: Attacked, pixels: Tensor, labels: Tensor, eps: float) -> Tensor:
    """One step of length eps along the sign of the gradient of the cross-entropy."""
    gradient, _ = network.slope(cross_entropy, pixels, labels)
    return (pixels + eps * gradient.sign()).clamp(0, 1)


@dataclass(frozen=True)
class Pgd:
    """Steps along the sign of the gradient of a loss, back into the bound after each.

    An image whose answer has become another takes no more of them.
    """

    loss: Loss
    steps: int
    share: float = 0.25
    """length of a step as a share of eps"""

    def __call__(self, network: Attacked, pixels: Tensor, labels: Tensor, eps: float, start: Tensor) -> Tensor:
        """Return the images attacked, each pixel within eps of its own and in [0, 1].

        Args:
            start: where to begin, in units of eps from each pixel, (N, C, H, W) in [-1, 1]
        """
        low, high = (pixels - eps).clamp(min=0), (pixels + eps).clamp(max=1)
        found = (pixels + eps * start).clamp(low, high)
        left = torch.arange(len(pixels), device=pixels.device)
        for _ in range(self.steps):
            gradient, right = network.slope(self.loss, found[left], labels[left])
            left = left[right]
            if not len(left):
                break
            found[left] = (found[left] + self.share * eps * gradient[right].sign()).clamp(low[left], high[left])
        return found


def auto_attack() -> Any:
    """The class of AutoAttack's authors, of an optional package.

    Raises:
        UserError: when it is not installed.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise UserError(
            "attacks=auto needs pyautoattack; pip install 'ddbench[autoattack]', or leave attacks at pgd"
        ) from error
    return AutoAttack


def auto(network: Attacked, pixels: Tensor, labels: Tensor, eps: float) -> Tensor:
    """The images after AutoAttack's standard form: two forms of adaptive descent, FAB and the square attack.

    Raises:
        UserError: when it is not installed, or there are fewer classes than its losses need.
    """
    classes = len(network.subject.data.classes)
    if classes < 4:
        raise UserError(f"AutoAttack needs four classes, and the data have {classes}; leave attacks at pgd")
    with torch.random.fork_rng():  # it seeds the global generator
        attack = auto_attack()(network.logits, device=pixels.device, eps=eps, seed=AUTO_SEED)
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(AUTO_TARGETS, classes - 1)
        found: Tensor = attack.run_standard_evaluation(pixels, labels, batch_size=len(pixels))[0]
    return found
