"""What a method receives: real training data in batches, fresh networks and named generators. No test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ddbench.compute.compiling import Compiler, Weights
from ddbench.compute.generators import Generators
from ddbench.compute.precision import Precision
from ddbench.data import RealData
from ddbench.data.augmentation import DSA
from ddbench.networks import Chunks
from ddbench.networks.part import Part
from ddbench.task.first_order import NetworkFunctions, ReducedNetwork
from ddbench.task.settings import Setting

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset
    from ddbench.meter.meter import Meter


class Method(Protocol):
    """A distillation method: a frozen dataclass whose fields are its hyper-parameters.

    It may also have `check_ipc(ipc)`, which raises a UserError for a number of images per class that it cannot work
    with; it is asked before anything runs. A method with a field `init` of value `noise` may be asked for more images
    of a class than there are real ones.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    paper: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]
    """the settings it works in"""
    tiny: ClassVar[Mapping[str, Any]]
    """hyper-parameters for the contract's tiny task, where a run takes a second"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset: ...


class Task:
    """One distillation problem.

    Args:
        real: the training data
        network: the architecture; its own parameters are never used, see `forward`
        ipc: images per class, the storage a method may fill
        setting: where networks start and what they are to answer
        augmentation: differentiable siamese augmentation with the operations that suit the data set
        generators: named, seeded from the cell and the distillation seed
        device: where batches, weights and generators live
        compiler: by default nothing is compiled
        precision: of what `first_order` computes
    """

    def __init__(
        self,
        real: RealData,
        network: nn.Module,
        *,
        shape: tuple[int, int, int],
        classes: int,
        ipc: int,
        setting: Setting,
        augmentation: DSA,
        generators: Generators,
        device: torch.device,
        compiler: Compiler | None = None,
        precision: Precision = "float32",
    ) -> None:
        self.real = real
        self.network = network
        self.shape = shape
        self.classes = classes
        self.ipc = ipc
        self.setting = setting
        self.augmentation = augmentation
        self.device = device
        self.chunks = Chunks(network, shape)
        """takes large batches through the network in pieces"""
        self.compiler = compiler or Compiler()
        """makes gradients, and functions without them, fast to call again and again"""
        self._embed = Part(network, "embed")
        self._activations = Part(network, "activations")
        self._generators = generators
        self.precision = precision
        self.fixed_initial = setting.stored  # drawn here, before a resumed run puts the generators back
        """the weights to store in the artefact, where the setting has one set of them"""
        self.like = {name: torch.zeros_like(own.detach(), device=device) for name, own in network.named_parameters()}
        """weights of no meaning, for their names and shapes"""

    def generator(self, name: str, device: torch.device | str | None = None) -> torch.Generator:
        """The task's generator of that name, on the task's device unless said otherwise; the meter saves it."""
        return self._generators.get(name, device or self.device)

    def initial(self, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return weights to start from, by parameter name: fresh, a copy of the `fixed` ones, or a network of the pool.

        Args:
            generator: of fresh weights; stored and pretrained ones do not depend on it
        """
        return self.setting.initial(generator)

    @property
    def one_start(self) -> bool:
        """True if every network starts from the same weights."""
        return self.setting.one_start

    def forward(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Logits, (N, K), of the network with these weights."""
        logits: Tensor = functional_call(self.network, dict(weights), (images,))
        return logits

    def embed(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Last features before the classifier, (N, F)."""
        features: Tensor = self._embed(weights, images)
        return features

    def activations(self, weights: Mapping[str, Tensor], images: Tensor) -> list[Tensor]:
        """What each activation gives, (N, C, H, W) in a convolutional network, and last the features, (N, F)."""
        found: list[Tensor] = self._activations(weights, images)
        return found

    def loss(self, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the network with these weights, a scalar; labels (N,) or probabilities (N, K)."""
        return F.cross_entropy(self.forward(weights, images), labels)

    @property
    def first_order(self) -> NetworkFunctions:
        """`forward`, `embed`, `activations` and `loss` for what is differentiated once or not at all.

        They are the task's own, or compute in bfloat16 where the cell says so. What is differentiated twice, as
        gradients that are matched and trainings that are unrolled, calls the task's own.
        """
        return ReducedNetwork(self) if self.precision == "bfloat16" else self

    def target_labels(self, labels: Tensor) -> Tensor:
        """What trained networks are to answer for real images of these labels, (N,): another class under an attack."""
        return self.setting.targets(labels)

    def labels(self) -> Tensor:
        """The labels of a balanced set, (K * ipc,), class by class."""
        return torch.arange(self.classes, device=self.device).repeat_interleave(self.ipc)

    def real_init(self) -> tuple[Tensor, Tensor]:
        """Random real images, (K * ipc, C, H, W), and their labels: the same for every method at one seed."""
        return self.real.batch(self.ipc, self.generator("real_init"), of=range(self.classes))
