"""How a network is trained on an artefact and scored: named, versioned, frozen. A change is a new version."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields, replace
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
        augmentation: `none`; `dsa`; `shift_scale_rotate`, one of the three for each image; or `always_color_cutmix`:
            flip and colour always, one of crop, scale and rotate, and half the batches mixed by CutMix, but digits are
            not flipped, and grey ones not mixed
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
    augmentation: Literal["none", "dsa", "shift_scale_rotate", "always_color_cutmix"] = "none"
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


ZHAO = "Zhao, Mopuri, Bilen, ICLR 2021 (arXiv 2006.05929), the authors' evaluation loop"

register_protocol(
    Protocol(
        "quick-300@1",
        "ours: the field's optimiser for 300 small steps, so that two cores can score a board",
        steps=300,
        short=300,
        batch_size=25,
    )
)
register_protocol(
    # The authors' loop runs one epoch more than its setting and drops the step size after epoch E // 2 + 1.
    Protocol("dc-300@1", f"{ZHAO}; no augmentation", epochs=301, decay_at=152 / 301)
)
register_protocol(
    Protocol(
        "dc-mnist-1000@1",
        f"{ZHAO}; MNIST alone is augmented, each image by one of crop, scale and rotate",
        epochs=1001,
        short=300,
        decay_at=502 / 1001,
        augmentation="shift_scale_rotate",
    )
)
register_protocol(
    Protocol(
        "dsa-1000@1",
        "Zhao & Bilen, ICML 2021 (arXiv 2102.08259): siamese augmentation, one operation a batch",
        epochs=1001,
        short=300,
        decay_at=502 / 1001,
        augmentation="dsa",
    )
)
register_protocol(
    Protocol(
        "idc-1000@1",
        "Kim et al., ICML 2022 (arXiv 2205.14959), the authors' evaluation: batches of 64, CutMix, the step size a "
        "fifth after two thirds and five sixths; they report the best of four tests, here the last step counts",
        epochs=1000,
        short=300,
        batch_size=64,
        decay_at=(0.666, 0.833),  # whole epochs
        decay=0.2,
        restart=False,
        augmentation="always_color_cutmix",
    )
)
register_protocol(
    Protocol(
        "mtt-1000@1",
        "Cazenavette et al., CVPR 2022 (arXiv 2203.11932): dsa-1000 with the learned step size, scored at its end",
        epochs=1001,
        short=300,
        decay_at=502 / 1001,
        augmentation="dsa",
        honours=("lr",),
    )
)
register_protocol(
    Protocol(
        "adam-300@1",
        "Feng, Vedantam & Kempe, ICLR 2024 (arXiv 2311.07025): Adam at 1e-3 on all images; they report the best of "
        "300, 600, 1000 and 3000 steps on the test set, here 300 are taken",
        steps=300,
        short=300,
        lr=1e-3,
        weight_decay=0.0,
        decay_at=1.0,
        restart=False,
        optimizer="adam",
    )
)
register_protocol(
    Protocol(
        "full-data-10@1",
        "ours: the field's optimiser for ten passes over all training images, not augmented",
        epochs=10,
        short=10,
        decay_at=(0.5, 0.75),
        restart=False,
        networks=3,
        kind="full_data",
    )
)
register_protocol(
    Protocol(
        "full-data-dsa-200@1",
        "ours: the field's optimiser for 200 passes over all training images, siamese augmentation",
        epochs=200,
        short=200,
        decay_at=(0.5, 0.75),
        restart=False,
        augmentation="dsa",
        networks=3,
        kind="full_data",
    )
)
register_protocol(
    Protocol(
        "own-recipe@1",
        "ours: plain gradient descent as the artefact says, its initial weights, order and step sizes; "
        "an artefact without a recipe is trained as under quick-300@1",
        steps=300,
        short=300,
        batch_size=25,
        honours=("lr", "order", "epochs", "momentum", "initial"),
    )
)
register_protocol(
    Protocol(
        "frepo@1",
        "Zhou, Nezhadarya & Ba, NeurIPS 2022 (arXiv 2206.00719), the authors' evaluation: squared error, the moving "
        "average of weights scored; operations of theirs are augmented with at dsa's strengths",
        steps_by_size=((10, 1000), (100, 2000), (200, 20000), (400, 5000), (1000, 10000), (2000, 40000)),
        short=1000,
        batch_size=500,
        lr=3e-4,
        weight_decay=0.0,
        restart=False,
        augmentation="dsa",
        optimizer="adam",
        schedule="cosine",
        warm_up=500,
        floor=0.01,
        losses=(("squared_error", 1.0),),
        average=0.995,
    )
)
RCIG = Protocol(
    "rcig@1",
    "Loo, Hasani, Lechner & Rus, ICML 2023 (arXiv 2302.06755), the authors' evaluation, without augmentation: squared "
    "error; their code runs on past its schedule, and appends flipped images of three channels, both left out here",
    steps_by_size=((1, 1000), (11, 2000)),
    short=1000,
    lr=1e-4,
    weight_decay=0.0,
    restart=False,
    optimizer="adam",
    schedule="cosine",
    warm_up=500,
    floor=0.01,
    losses=(("squared_error", 1.0),),
)
register_protocol(RCIG)
register_protocol(replace(RCIG, name="rcig-dsa@1", source=f"{RCIG.source}; augmented as by dsa", augmentation="dsa"))
register_protocol(
    Protocol(
        "soft-label-3000@1",
        "Qin, Deng & Alvarez-Melis, NeurIPS 2024 (arXiv 2406.10485): dsa for 3000 epochs, the step size 0.3 of itself "
        "at each quarter; they report the best of tests every 200 epochs, here the last step counts",
        epochs=3000,
        short=300,
        decay_at=(0.25, 0.5, 0.75),
        decay=0.3,
        restart=False,
        augmentation="dsa",
    )
)
