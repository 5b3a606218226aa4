"""Latent k-means: decoded centres of the clusters of a class in the latent space of an autoencoder.

Su, Hou, Gao, Tian & Tang, "D^4M: Dataset Distillation via Disentangled Diffusion Model", CVPR 2024, arXiv 2407.15138,
the prototypes of its Algorithm 1.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ddbench import DistilledDataset, LogRange, Meter, Task, Weights, register_method
from ddbench.families.autoencoder import Autoencoder, train_autoencoder
from ddbench.families.coresets import on_host
from ddbench.families.label_sources import Labels, labelled


@register_method("latent_k_means", aliases=["d4m"])
@dataclass(frozen=True)
class LatentKMeans:
    """Centres of each class's latents, decoded by an autoencoder (D4M's prototypes). Su et al., CVPR 2024.

    The autoencoder is trained on the real images within the budget and thrown away: pixels are stored, so it costs
    seconds and no bytes. Its control is `k_means`, whose clusters are means of images.

    Differences: an autoencoder of some ten thousand numbers, trained on the task's images alone, where the authors take
    the one of a diffusion model of the world's pictures, and let that model redraw what is decoded.
    """

    family: ClassVar[str] = "generative"
    paper: ClassVar[str] = "https://arxiv.org/abs/2407.15138"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 5, "batch_real": 16, "width": 4}

    iterations: Annotated[PositiveInt, LogRange(500, 10000)] = 3000
    """training steps of the autoencoder"""
    lr_autoencoder: Annotated[PositiveFloat, LogRange(1e-4, 1e-2)] = 1e-3
    """step size of Adam on the autoencoder"""
    batch_real: PositiveInt = 128
    """real images in a training step of the autoencoder"""
    latents: Annotated[PositiveInt, LogRange(2, 16)] = 4
    """channels of a latent, whose sides are a quarter of an image's"""
    width: PositiveInt = 16
    """channels of the autoencoder's outer layers; the inner ones have twice as many"""
    labels: Labels = "hard"
    """`hard`, the class of each image; or `expert,epochs=20,lr=0.1`, what a network answers that is trained for it"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        model = Autoencoder(task.shape, self.latents, self.width)
        weights = train_autoencoder(task, meter, model, self.iterations, self.batch_real, self.lr_autoencoder)
        encode = task.compiler.function(model.encode)
        latents = torch.cat([encode(weights, images).flatten(1) for images, _ in task.real.batches(512)])  # (N, F)
        centres = self._centres(task, latents)  # (K * ipc, F)
        images = self._decoded(task, model, weights, centres)
        return labelled(task, meter, self.labels, DistilledDataset.pixels(images, task.labels()))

    def _centres(self, task: Task, latents: Tensor) -> Tensor:
        """Return the means of ipc clusters of each class's latents, (K * ipc, F); a smaller class repeats some."""
        from sklearn.cluster import KMeans  # takes a second, which `ddbench list` need not wait for

        generator, centres = task.generator("k_means", device="cpu"), []
        for c in range(task.classes):
            own = on_host(latents[task.real.class_indices(c)])
            seed = int(torch.randint(2**31, (), generator=generator))
            found = KMeans(min(task.ipc, len(own)), n_init=1, random_state=seed).fit(own.numpy()).cluster_centers_
            centres.append(torch.from_numpy(found)[torch.arange(task.ipc) % len(found)])
        return torch.cat(centres).to(latents)

    @staticmethod
    def _decoded(task: Task, model: Autoencoder, weights: Weights, centres: Tensor) -> Tensor:
        """Return the images of latents that are given as rows, (N, C, H, W)."""
        sides = [(side + 3) // 4 for side in task.shape[1:]]
        with torch.no_grad():
            return model.decode(weights, centres.unflatten(1, (-1, *sides)))
