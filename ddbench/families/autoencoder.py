"""A small autoencoder of images, as a prior that is trained within the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ddbench.compute.compiling import Weights
from ddbench.meter.checkpoint import State
from ddbench.networks import InitialWeights

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task


class Autoencoder:
    """Two convolutions with stride 2 to `latents` channels at a quarter of the sides, and the way back.

    Args:
        shape: of an image, (C, H, W)
        latents: channels of a latent
        width: channels of the layers between
    """

    def __init__(self, shape: tuple[int, int, int], latents: int, width: int) -> None:
        channels, height, width_of = shape
        half = (height + 1) // 2, (width_of + 1) // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, latents, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(latents, 2 * width, 3, padding=1), nn.ReLU(),
            nn.Upsample(half), nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(),
            nn.Upsample((height, width_of)), nn.Conv2d(width, channels, 3, padding=1),
        )  # fmt: skip

    def initial(self, generator: torch.Generator) -> Weights:
        """Return fresh weights, by name, on the generator's device."""
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        return {
            f"{name}.{key}": weight
            for name, part in parts.items()
            for key, weight in InitialWeights(part)(generator).items()
        }

    def encode(self, weights: Weights, images: Tensor) -> Tensor:
        """Return latents, (N, latents, h, w), of images, (N, C, H, W)."""
        latents: Tensor = functional_call(self.encoder, _part(weights, "encoder."), (images,))
        return latents

    def decode(self, weights: Weights, latents: Tensor) -> Tensor:
        """Return images, (N, C, H, W), of latents."""
        images: Tensor = functional_call(self.decoder, _part(weights, "decoder."), (latents,))
        return images

    def loss(self, weights: Weights, images: Tensor) -> Tensor:
        """Return the mean squared error of decoded images, a scalar."""
        return F.mse_loss(self.decode(weights, self.encode(weights, images)), images)


def train_autoencoder(task: Task, meter: Meter, model: Autoencoder, steps: int, batch: int, lr: float) -> Weights:
    """Return the weights after so many steps of Adam on random real images, charged as `autoencoder`.

    Args:
        batch: real images of a step
        lr: step size
    """
    weights = model.initial(task.generator("autoencoder"))
    for weight in weights.values():
        weight.requires_grad_()
    state = State(weights=weights, optimizer=torch.optim.Adam(weights.values(), lr=lr))
    loss_gradient, generator = task.compiler.gradient(model.loss), task.generator("autoencoder/real")
    for _ in meter.steps(steps, state, name="autoencoder"):
        images, _ = task.real.batch(batch, generator)
        gradient, loss = loss_gradient(state.weights, images)
        for name, weight in state.weights.items():
            weight.grad = gradient[name]
        state.optimizer.step()
        meter.log(reconstruction=loss)
    return {name: weight.detach() for name, weight in state.weights.items()}


def _part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
