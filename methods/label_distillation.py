"""Label distillation: the labels of fixed real images are learned, by ridge regression on a network's features.

Bohdal, Yang & Hospedales, "Flexible Dataset Distillation: Learn Labels Instead of Images", workshop on meta-learning at
NeurIPS 2020, arXiv 2006.08572, the algorithm with ridge regression (LD RR).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, LogRange, Meter, State, Task, register_method
from ddbench.families.ridge_learner import RidgeLearner, Stagnation, ridge_solution


@register_method("label_distillation", aliases=["ld"])
@dataclass(frozen=True)
class LabelDistillation:
    """Label distillation with ridge regression (LD RR). Bohdal et al. 2020.

    The images are those of `random_real`; only their labels are learned, and begin uniform. The last layer of a network
    moves towards the ridge regression of a batch's labels on its features, so that the loss of real images under it is
    differentiated in the labels without any training being unrolled. The network trains on the same batch. An outer
    step costs two forward passes and a backward pass over a batch of the images, and a forward pass over `batch_real`.

    Differences: a network is replaced when the mean error of a window of steps is no lower than that of an earlier one,
    where the authors look at a window that moves with every step; labels of the last step are returned, where they keep
    those of the best of many evaluations on held-out images; and networks are scored under the board's protocol, where
    theirs are trained as here, with the last layer of ridge regression, for as long as networks lasted.
    """

    family: ClassVar[str] = "backprop through optimisation"
    paper: ClassVar[str] = "https://arxiv.org/abs/2006.08572"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 5, "batch_real": 16, "batch_images": 4, "window": 2}

    iterations: PositiveInt = 19_600
    """outer steps (the authors' 400 epochs over 50 000 images)"""
    batch_images: Annotated[PositiveInt, LogRange(10, 200)] = 50
    """images with learned labels in a step; all where there are fewer"""
    batch_real: PositiveInt = 1024
    """real images in the outer loss"""
    lr_labels: Annotated[PositiveFloat, LogRange(1e-4, 1e-2)] = 1e-3
    """step size of Adam on the labels"""
    lr_network: Annotated[PositiveFloat, LogRange(1e-4, 1e-2)] = 1e-3
    """step size of Adam on the network"""
    lr_scale: PositiveFloat = 0.01
    """step size of Adam on the factor of its logits"""
    penalty: PositiveFloat = 1.0
    """weight of the squared last layer in the ridge regression"""
    share: PositiveFloat = 0.01
    """share of a batch's regression in the last layer"""
    window: Annotated[PositiveInt, LogRange(5, 100)] = 50
    """outer steps whose mean error decides whether the network is replaced; 100 or 200 as published for more images"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        images, _ = task.real_init()  # (N, C, H, W)
        labels = torch.full((len(images), task.classes), 1 / task.classes, device=task.device).requires_grad_()
        state = State(
            labels=labels,
            optimizer=torch.optim.Adam([labels], lr=self.lr_labels),
            learner=RidgeLearner(task, self.lr_network, self.lr_scale),
            stagnation=Stagnation(self.window),
        )

        def result() -> DistilledDataset:
            return DistilledDataset.pixels(images, state.labels, label_kind="probabilities")

        order = task.generator("order", device="cpu")
        for _ in meter.steps(self.iterations, state, result):
            chosen = torch.randperm(len(images), generator=order)[: self.batch_images]
            chosen = chosen.to(task.device, non_blocking=True)  # (n,)
            learner = state.learner
            solution = ridge_solution(
                learner.features(images[chosen]), state.labels[chosen], self.penalty
            )  # (F + 1, K)
            head = (1 - self.share) * learner.head + self.share * solution
            real, answers = task.real.batch(self.batch_real, task.generator("real"))
            logits = learner.scale * (learner.features(real) @ head)
            loss = F.cross_entropy(logits, answers)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()
            project(state.labels)
            learner.step(images[chosen], state.labels.detach()[chosen], head.detach())
            if state.stagnation.noted((logits.detach().argmax(1) != answers).float().mean()):
                learner.renew()
                state.stagnation.reset()
            meter.log(loss=loss)
        return result()


@torch.no_grad()
def project(labels: torch.Tensor) -> None:
    """Make labels, (N, K), probabilities again: clamp them to 0 to 1, and divide by their sums."""
    labels.clamp_(0, 1)
    labels.div_(labels.sum(1, keepdim=True).clamp(min=1e-12))
