"""K-means: the mean image of each cluster of a class.

Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 1982; a baseline of Wang et al.,
"Dataset Distillation", 2018, arXiv 1811.10959, section 4.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.coresets import CoresetSettings


@register_method("k_means", aliases=["kmeans"])
@dataclass(frozen=True)
class KMeansCentroids(CoresetSettings):
    """Centroids of k-means, class by class. Wang et al. 2018, section 4 ('k-means').

    Clusters are found in feature space; an artefact holds images, so that a cluster is stored as the mean of its
    images. In `pixels` that is the centroid itself, as in the paper. It costs the training of the feature network, a
    forward pass over the training data, and the clustering.

    Differences: features of a trained network by default, where the paper has pixels.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1811.10959"

    restarts: PositiveInt = 1
    """of k-means++; the best is kept"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        from sklearn.cluster import KMeans  # takes a second, which `ddbench list` need not wait for

        features = self.features(task, meter)
        generator = task.generator("k_means", device="cpu")
        centroids = []
        for c in range(task.classes):
            indices = task.real.class_indices(c)
            seed = int(torch.randint(2**31, (), generator=generator))
            model = KMeans(task.ipc, n_init=self.restarts, random_state=seed)
            cluster = torch.from_numpy(model.fit_predict(features[indices].cpu().numpy()))
            for k in range(task.ipc):
                members = indices[(cluster == k).to(indices.device)]
                if not len(members):  # fewer different images than clusters
                    members = indices[k : k + 1]
                centroids.append(task.real.take(members)[0].mean(0))
        return DistilledDataset.pixels(torch.stack(centroids), task.wanted(task.labels()), initial=task.fixed_initial)
