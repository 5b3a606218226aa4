"""Best window selection (BWS): real images as difficult as suits the size of the set.

Choi, Ki & Chung, "BWS: Best Window Selection Based on Sample Scores for Data Pruning across Broad Ranges", ICML 2024,
arXiv 2406.03057.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, register_method
from ddbench.families.coresets import stored
from ddbench.families.difficulty import Dynamics, Measure, Rating, along_training, taken, window
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.ridge_learner import ridge_solution, with_bias
from ddbench.families.synthetic_set import Parametrisation


@register_method("best_window", aliases=["bws"])
@dataclass(frozen=True)
class BestWindow:
    """The window of difficulty from which ridge regression predicts the training images best. Choi et al., ICML 2024.

    Small sets want easy images and large ones hard images (Sorscher et al., NeurIPS 2022, arXiv 2206.14486), and how
    hard is measured here: from each of several windows of a class's images in the order of their difficulty, ridge
    regression on a network's features predicts the classes of all other candidates, and the best window is stored. It
    costs the training of the network, with a forward pass beside each step, and a regression for each window.

    CAD-Prune of Dey et al., CVPR 2026, arXiv 2604.18811, which matches difficulty to a budget of compute, is another
    method; it is not this one.

    Differences: images are chosen class by class; the difficulty is the mean margin by default, which tells images
    apart that are never forgotten; features and difficulty are those of one training; a window's own images are not
    predicted, which would favour the hardest where candidates are few.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/2406.03057"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"windows": 3, "epochs": 3, "batch_real": 16}

    windows: PositiveInt = 20
    """windows that are compared, from that of the easiest images to that of the hardest"""
    space: Literal["trained", "random"] = "trained"
    """features for the regression: of the network that was `trained`, as in the paper, or of a `random` one"""
    penalty: PositiveFloat = 1.0
    """weight of the penalty of the regression"""
    measure: Measure = "margin"
    """difficulty: the mean `margin` along the training, or how often an image is forgotten, `forgetting`"""
    epochs: PositiveInt = 20
    """passes over the images in the training of the network"""
    lr_network: PositiveFloat = 0.01
    """step size of SGD with momentum 0.9 on the network"""
    batch_real: PositiveInt = 256
    """real images in a training step of the network"""
    candidates: PositiveInt | None = None
    """random images of each class that are considered, and that the network trains on; None takes all"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, or one that lets more, smaller ones fit, `multi_formation`, ..."""
    labels: Labels = "hard"
    """`hard`, the class of each image; or `expert,epochs=20,lr=0.1`, what a network answers that is trained for it"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        rating = Rating(self.epochs, self.batch_real, self.lr_network, self.candidates)
        dynamics = along_training(task, meter, rating)
        chosen = stored(task, self.decoder, partial(self._best, task, meter, dynamics))
        return labelled(task, meter, self.labels, chosen)

    def _best(self, task: Task, meter: Meter, dynamics: Dynamics, n: int) -> torch.Tensor:
        """Return n images of each class from the best window, (K * n, C, H, W)."""
        weights = dynamics.weights if self.space == "trained" else task.initial(task.generator("features"))
        ordered = dynamics.rated(self.measure).easiest_first()  # K of (M_c,)
        everything = torch.cat(ordered)  # (M,)

        def features(images: torch.Tensor) -> torch.Tensor:
            return with_bias(task.chunks.map(partial(task.first_order.embed, weights), images))

        candidates = torch.cat([features(task.real.take(part)[0]) for part in everything.split(512)])  # (M, F + 1)
        classes, counts = torch.arange(task.classes), torch.tensor(dynamics.counts)
        truth, labels = (  # (M,), (K * n,)
            task.target_labels(classes.repeat_interleave(each).to(task.device)) for each in (counts, n)
        )
        targets = F.one_hot(labels, task.classes) - 1 / task.classes
        state = State(best=taken(task, window(ordered, 0.0, n), n), accuracy=torch.full((), -1.0, device=task.device))
        for number in meter.steps(self.windows, state, name="windows"):
            chosen = window(ordered, number / max(1, self.windows - 1), n)
            images = taken(task, chosen, n)  # (K * n, C, H, W)
            head = ridge_solution(features(images), targets, self.penalty)  # (F + 1, K)
            others = ~torch.isin(everything, torch.cat(chosen))  # (M,)
            right = ((candidates @ head).argmax(1) == truth) & others
            accuracy = right.sum() / others.sum().clamp(min=1)
            state.best = torch.where(accuracy > state.accuracy, images, state.best)
            state.accuracy = torch.maximum(accuracy, state.accuracy)
            meter.log(window_accuracy=accuracy)
        best: torch.Tensor = state.best
        return best
