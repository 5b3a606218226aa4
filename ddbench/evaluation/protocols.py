"""How a network is trained on an artefact and scored: named, versioned, frozen. A change is a new version."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from ddbench.errors import UserError
from ddbench.evaluation.kernel_protocol import KernelProtocol
from ddbench.records.cell import CEILING
from ddbench.registry import PROTOCOLS

OptimizerName = Literal["sgd", "adam"]
RecipeField = Literal["lr", "order", "epochs", "momentum", "initial"]


@dataclass(frozen=True)
class Protocol:
    """Gradient descent with drops of the step size, the last step scored.

    Args:
        name: with its version, `dsa-1000@1`
        source: where the settings come from
        kind: how a network comes of an artefact: `train` is gradient descent on its images, `full_data` on all training
            images in its place
        epochs: passes over the artefact; None when `steps` counts instead
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
        optimizer: `sgd` with momentum, or `adam`, with its usual moments
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

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"protocol {self.name}: give epochs or steps, one of the two")

    def describe(self) -> dict[str, Any]:
        """As plain values, for records."""
        described = asdict(self) | {"honours": list(self.honours), "decay_at": _plain(self.decay_at)}
        if self.optimizer == "sgd":  # as records have it from before there was another
            del described["optimizer"]
        return described


def _plain(shares: float | tuple[float, ...]) -> float | list[float]:
    return list(shares) if isinstance(shares, tuple) else shares


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
