"""Distribution matching under differential privacy: class means of clipped features with Gaussian noise.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, arXiv 2110.04181, Algorithm 1, with the
mechanism of Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, arXiv 1607.00133, on its features.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching
from ddbench.families.privacy import bounded_features, noise_multiplier, noisy_means, poisson_batch
from ddbench.families.siamese import siamese
from ddbench.families.synthetic_set import Parametrisation, SyntheticSet


@register_method("private_distribution_matching", aliases=["private_dm"])
@dataclass(frozen=True)
class PrivateDistributionMatching:
    """Distribution matching (DM) with (epsilon, delta)-differential privacy. Zhao & Bilen 2023, Abadi et al. 2016.

    Each outer step sees the real images through one noisy sum of features of each class. Two training sets are
    neighbours where one has an image more; the noise is that with which `iterations` steps keep `epsilon` at `delta`,
    by Renyi divergences of the sampled Gaussian mechanism. A run that its budget ends earlier has spent less.

    What is not counted: the class of an image, the sizes of classes, what preprocessing takes of the data, and the
    choice of hyper-parameters. The guarantee is towards those who cannot repeat the random numbers: here their seed is
    in the record, as everywhere, so what is to be private in earnest needs a seed that nobody is told.

    Differences: the mechanism is ours. Of distribution matching: images start from noise; batches are drawn by Poisson
    sampling; features are clipped, on both sides; one draw of augmentation for all classes.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/1607.00133"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "rate": 0.4}
    init: ClassVar[str] = "noise"

    iterations: PositiveInt = 1000
    """outer steps, for which the noise is made"""
    epsilon: Annotated[float, Field(ge=0.1, le=1000)] = 10.0
    """logarithm of how far an image more may change the chances of what comes out"""
    delta: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-5
    """chance with which it may change them further"""
    clip: PositiveFloat = 1.0
    """largest norm of the features of an image; longer ones are shrunk to it"""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    """chance of each real image to be in the batch of a step"""
    lr_images: PositiveFloat = 1000.0
    """step size of SGD with momentum 0.5 on the images, for features in units of `clip`; the best of 100, 300, 1000 and
    3000 on held-out training images of MNIST, ipc 10, one seed"""
    augment: bool = True
    """differentiable siamese augmentation, with one draw for all classes"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        noise = noise_multiplier(self.epsilon, self.delta, self.rate, self.iterations)
        expected = [self.rate * count for count in task.real.counts]  # images of each class in a batch
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer)
        features = bounded_features(task.first_order.embed, self.clip)
        embed, matching = task.compiler.function(features), FeatureMatching(task, features, DISCREPANCIES["mean"])
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            weights = task.initial()  # a fresh network
            real, classes, marks = poisson_batch(task, self.rate)  # (N, C, H, W), (N,), (N,)
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), class by class
            if self.augment:
                real, images = siamese(task, real, images, task.generator("augment", device="cpu"))
            found = task.chunks.map(partial(embed, weights), real)  # (N, F), of norm 1 or less
            means = noisy_means(found, classes, marks, expected, noise, task.generator("privacy"))  # (K, F)
            gradient, loss = matching.gradient(images, labels, weights, means[:, None])  # (K * m, C, H, W), ()
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the decoder's parts
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()
