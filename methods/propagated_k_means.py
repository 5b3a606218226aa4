"""K-means of propagated features: the mean node of each cluster of a class, without edges.

Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 1982, on the features of Wu et al.,
"Simplifying Graph Convolutional Networks", ICML 2019, arXiv 1902.07153.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveInt

from ddbench import DistilledDataset, Meter, register_method
from ddbench.families.coresets import on_host
from ddbench.graphs.decoders import Nodes
from ddbench.graphs.task import GraphTask


@register_method("propagated_k_means")
@dataclass(frozen=True)
class PropagatedKMeans:
    """Centroids of propagated features, class by class. Ours; features of Wu et al. 2019.

    The labelled nodes' features, averaged over neighbours as often as the network has layers, are clustered within each
    class; the means are stored as nodes without edges. It costs the clustering of some hundred nodes. As many clusters
    as labelled nodes are these nodes' propagated features themselves.

    Differences: none known. The code of CGC (github.com/XYGaoG/CGC) clusters so, and weights members by a classifier's
    confidence, which is left out here.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1902.07153"
    modalities: ClassVar[tuple[str, ...]] = ("graphs",)
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {}

    restarts: PositiveInt = 10
    """k-means++ initialisations, of which the best clustering is kept"""

    def distill(self, task: GraphTask, meter: Meter) -> DistilledDataset:
        generator = task.generator("k_means", device="cpu")
        nodes = [self._centroids(task, c, generator) for c in range(task.classes)]  # (ipc, F) of each class
        return DistilledDataset({"features": torch.cat(nodes), "labels": task.labels()}, Nodes())

    def _centroids(self, task: GraphTask, c: int, generator: torch.Generator) -> torch.Tensor:
        """Return the mean nodes of `ipc` clusters of a class, (ipc, F)."""
        from sklearn.cluster import KMeans  # takes a second, which `ddbench list` need not wait for

        own = task.real.propagated[task.real.class_indices(c)]  # (n_c, F)
        seed = int(torch.randint(2**31, (), generator=generator))
        model = KMeans(task.ipc, n_init=self.restarts, random_state=seed)
        cluster = torch.from_numpy(model.fit_predict(on_host(own).numpy()))
        centroids = []
        for k in range(task.ipc):
            members = torch.nonzero(cluster == k).flatten()
            if not len(members):  # fewer different nodes than clusters
                members = torch.tensor([k])
            centroids.append(own[members.to(own.device, non_blocking=True)].mean(0))
        return torch.stack(centroids)
