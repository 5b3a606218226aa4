"""What a study measures with: the data, and networks that are trained on artefacts or on real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Weights
from ddbench.compute.generators import Generators, derive_seed, seeded
from ddbench.data import Dataset, Preprocessing, RealData
from ddbench.data.derived import derived
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.records.cell import Cell, NetworkSpec

Keep = Callable[[str, Callable[[], list[float]]], list[float]]


@dataclass(frozen=True)
class Bench:
    """What the artefacts of a seed are measured with.

    Args:
        cell: the row's
        variant: how the row uses its method, where that is not the usual way
        evaluator: trains networks as the cell's protocol says, and has the whole data set
        report: told the share of the work that is done
        kept: gives what `make` has returned under this name for the row and seed, also before an interruption
        shared: the same, for all rows and seeds of the study on these data
    """

    cell: Cell
    variant: str | None
    evaluator: ImageEvaluator
    report: Callable[[float], None] = lambda share: None
    kept: Keep = lambda name, make: make()
    shared: Keep = lambda name, make: make()

    @property
    def data(self) -> Dataset:
        return self.evaluator.data

    @property
    def on_real(self) -> bool:
        """True where networks learn from real images, and nothing is distilled."""
        return self.evaluator.protocol.kind == "full_data"

    def trained(self, artifact: DistilledDataset, number: int) -> Weights:
        """Network `number` from scratch on an artefact of the whole data set's classes, as the protocol says."""
        return self.evaluator.train(artifact, number)

    def trained_on(self, data: Dataset, number: int) -> Weights:
        """Network `number` from scratch on the training images of a part of the data, with the whole one's classes."""
        return replace(self.evaluator, data=data, others={}).train(self.unread, number)

    @property
    def unread(self) -> DistilledDataset:
        """An artefact for protocols that train on all training images, whatever it holds."""
        return DistilledDataset.pixels(torch.zeros(1, *self.data.shape), torch.zeros(1, dtype=torch.int64))

    def under(self, network: NetworkSpec, protocol: Protocol | None = None) -> Bench:
        """The bench of another network, and of another protocol where one is given."""
        changed = replace(
            self.evaluator, network=network, protocol=protocol or self.evaluator.protocol, held_out=None, others={}
        )
        return replace(self, evaluator=changed)

    def accuracy(self, artifact: DistilledDataset, number: int) -> float:
        """Test accuracy of network `number`, trained from scratch on an artefact as the protocol says."""
        return self.evaluator.score(artifact, seed=number).accuracy

    def starts(self, split: str, seed: int) -> Tensor:
        """Images, (K * ipc, C, H, W), preprocessed, that methods which start from real ones start from on a part."""
        part = derived(self.data, f"{self.data.digest}+{split}")
        generators = Generators(part.digest, str(self.cell.network), self.cell.ipc, seed)
        real = RealData(part, self.evaluator.transform, self.evaluator.device)
        generator = generators.get("real_init", self.evaluator.device)
        return real.batch(self.cell.ipc, generator, of=range(len(part.classes)))[0]

    def logits(self, weights: Weights, images: Tensor) -> Tensor:
        """Logits of a network for images (N, C, H, W) uint8, (N, K) float64."""
        evaluator = self.evaluator
        found = evaluator.chunks.map(lambda own: evaluator.logits(weights, evaluator.transform(own)), images)
        return found.double()

    def images_of(self, artifact: DistilledDataset) -> tuple[Tensor, Tensor]:
        """Images of an artefact's first epoch, (M, C, H, W), as the evaluator's preprocessing gives them, and labels.

        Labels are classes, (M,), or probabilities, (M, K).
        """
        images, labels = artifact.decode(0, seeded(derive_seed("study", self.data.digest, "decode")))
        transform, described = self.evaluator.transform, artifact.provenance.get("preprocessing")
        if described is not None and described != transform.describe():
            own = Preprocessing.from_description(described).without_data()
            images = transform.of_pixels(own.inverse(images))
        return images, F.softmax(labels, 1) if artifact.label_kind == "logits" else labels
