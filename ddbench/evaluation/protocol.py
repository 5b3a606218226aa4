"""How a network is trained on an artefact and scored: the fields of a protocol, and the checks of its name."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar

from ddbench.errors import UserError
from ddbench.evaluation.kernel_protocol import KernelProtocol
from ddbench.records.cell import CEILING
from ddbench.registry import PROTOCOLS

OptimizerName = Literal["sgd", "adam", "adamw"]
LossName = Literal["cross_entropy", "squared_error", "kl"]
RecipeField = Literal["lr", "order", "epochs", "momentum", "initial"]


@dataclass(frozen=True)
class Protocol:
    """Gradient descent under a schedule of step sizes, the last step scored.

    Args:
        name: with its version, `dsa-1000@1`
        source: where the settings come from
        kind: how a network comes of an artefact: `train` is gradient descent on its images, `full_data` on all training
            images in its place
        epochs: passes over the artefact; None when `steps` or `steps_by_size` counts instead
        steps: training steps
        short: epochs or steps of the short form, for points on the way
        batch_size: images a step, or the whole artefact where it is smaller
        lr, momentum, weight_decay: of the optimiser
        decay_at: share of the training after which `lr` falls to `decay` of itself, or several shares; 1 never
        decay: to what part of itself
        restart: whether momentum starts anew at the first fall, as where authors make a new optimiser
        augmentation: `none`; `dsa`; `flip`, half of the images, but no digits; `shift_scale_rotate`, one of the
            three for each image; or `always_color_cutmix`: flip and colour always, one of crop, scale and
            rotate, and half the batches mixed by CutMix, but digits are not flipped, and grey ones not mixed
        honours: which learned recipe fields are used where the artefact has them
        networks: how many networks a board trains unless it says otherwise
        optimizer: `sgd` with momentum; `adam`, with its usual moments; or `adamw`, whose weight decay is no part of the
            gradient
        schedule: `drops` of the step size, or a `cosine` from the end of the warm-up to `floor` of it
        warm_up: steps over which the step size rises linearly from 0
        floor: part of the step size at which a cosine ends
        losses: what is minimised, each with its weight: `cross_entropy`; `squared_error` from regression targets, or
            from what else labels an image less 1 / K; `kl`, of the labels' distribution from the network's. None is
            `cross_entropy`, and `squared_error` from targets
        temperature: what `kl` divides logits by, on both sides; its gradient is not scaled back
        average: decay of the debiased moving average of weights that is scored; 0 scores the weights
        mixup: parameter of the symmetric beta distribution from which the share of a batch in its mixture with a
            shuffled copy is drawn; 0 mixes nothing. Of kind `train` alone
        cutmix: probability that a batch is mixed with a shuffled copy by CutMix. Of kind `train` alone
        steps_by_size: training steps of artefacts of at least so many images: (images, steps) by ascending images
    """

    name: str
    source: str
    epochs: int | None = None
    steps: int | None = None
    short: int = 100
    batch_size: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_at: float | tuple[float, ...] = 0.5
    decay: float = 0.1
    restart: bool = True
    augmentation: Literal["none", "dsa", "flip", "shift_scale_rotate", "always_color_cutmix"] = "none"
    honours: tuple[RecipeField, ...] = ()
    networks: int = 5
    kind: Literal["train", "full_data"] = "train"
    optimizer: OptimizerName = "sgd"
    schedule: Literal["drops", "cosine"] = "drops"
    warm_up: int = 0
    floor: float = 0.0
    losses: tuple[tuple[LossName, float], ...] = ()
    temperature: float = 1.0
    average: float = 0.0
    mixup: float = 0.0
    steps_by_size: tuple[tuple[int, int], ...] = ()
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if [self.epochs is None, self.steps is None, not self.steps_by_size].count(False) != 1:
            raise ValueError(f"protocol {self.name}: give epochs or steps, one of the two")

    def describe(self) -> dict[str, Any]:
        """As plain values, for records; without what is at its default and came after `kind`, as records have it."""
        names = [field.name for field in fields(self)]
        later = {field.name: field.default for field in fields(self)[names.index("kind") + 1 :]}
        values = asdict(self).items()
        return {name: _plain(value) for name, value in values if name not in later or value != later[name]}

    @property
    def length(self) -> str:
        """How long a training is, in words."""
        if self.steps_by_size:
            counts = [steps for _, steps in self.steps_by_size]
            return f"{min(counts)} to {max(counts)} steps, by the number of images,"
        return f"{self.epochs} epochs" if self.epochs is not None else f"{self.steps} steps"


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


AnyProtocol = Protocol | KernelProtocol
P = TypeVar("P", Protocol, KernelProtocol)


def register_protocol(protocol: P) -> P:
    """File a protocol under its name; a taken name raises ValueError, since protocols never change."""
    PROTOCOLS.register(protocol.name, module=sys._getframe(1).f_globals["__name__"])(protocol)
    return protocol


def check_ceiling(method: str, protocol: AnyProtocol) -> None:
    """Refuse to score a distilled set by training on all data, and the control of all data in any other way.

    Raises:
        UserError: where method and protocol do not go together.
    """
    if (method == CEILING) != (protocol.kind == "full_data"):
        known = ", ".join(name for name in PROTOCOLS if PROTOCOLS.get(name).kind == "full_data")
        raise UserError(
            f"protocol {protocol.name} with method {method}: {CEILING} and protocols that train on all data "
            f"({known}) go together; change one of the two"
        )


def usual_networks(protocol: AnyProtocol, other: str, known: int | None) -> int:
    """Return the number of networks where nothing says it: as under another protocol, if that is of the same kind.

    Args:
        known: networks under the protocol `other`
    """
    alike = other not in PROTOCOLS or PROTOCOLS.get(other).kind == protocol.kind
    return known if known is not None and alike else protocol.networks
