"""K-means: the mean image of each cluster of a class.

Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 1982; a baseline of Wang et al.,
"Dataset Distillation", 2018, arXiv 1811.10959, section 4.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, Task, register_method
from ddbench.families.coresets import Space, feature_space, on_host, stored
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.synthetic_set import Parametrisation


@register_method("k_means", aliases=["kmeans"])
@dataclass(frozen=True)
class KMeansCentroids:
    """Centroids of k-means, class by class. Wang et al. 2018, section 4 ('k-means').

    Images are clustered in feature space, and each cluster is stored as the mean of its images. In `pixels` that is the
    centroid itself, as in the paper. It costs the training of the feature network, a forward pass over the training
    data, and the clustering.

    Differences: features of a trained network by default, where the paper clusters pixels.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1811.10959"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"training_steps": 5, "batch_real": 16}

    space: Annotated[Space, Choice("trained", "random", "pixels")] = "trained"
    """space in which images are compared: features of a `trained` or a `random` network, or `pixels`"""
    training_steps: Annotated[PositiveInt, LogRange(100, 3000)] = 1000
    """training steps of the feature network, by SGD"""
    batch_real: PositiveInt = 256
    """real images in a training step of the feature network"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, or one that lets more, smaller ones fit, `multi_formation`, ..."""
    restarts: PositiveInt = 1
    """k-means++ initialisations, of which the best clustering is kept"""
    labels: Labels = "hard"
    """`hard`, the class of each image; or `expert,epochs=20,lr=0.1`, what a network answers that is trained for it"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        features = feature_space(task, meter, self.space, self.training_steps, self.batch_real)  # (N, F)
        chosen = stored(task, self.decoder, lambda n: self._centroids(task, features, n))
        return labelled(task, meter, self.labels, chosen)

    def _centroids(self, task: Task, features: torch.Tensor, n: int) -> torch.Tensor:
        """Return the mean images of n clusters of each class, (K * n, C, H, W)."""
        from sklearn.cluster import KMeans  # takes a second, which `ddbench list` need not wait for

        generator = task.generator("k_means", device="cpu")
        centroids = []
        for c in range(task.classes):
            indices = task.real.class_indices(c)
            seed = int(torch.randint(2**31, (), generator=generator))
            clusters = min(n, len(indices))
            model = KMeans(clusters, n_init=self.restarts, random_state=seed)
            cluster = torch.from_numpy(model.fit_predict(on_host(features[indices]).numpy()))
            for k in (number % clusters for number in range(n)):
                members = torch.nonzero(cluster == k).flatten()  # (n_k,)
                if not len(members):  # fewer different images than clusters
                    members = torch.tensor([k])
                own = indices[members.to(indices.device, non_blocking=True)]
                centroids.append(task.real.take(own)[0].mean(0))
        return torch.stack(centroids)
