"""How a network is trained on an artefact and scored: named, versioned, frozen. A change is a new version."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ddbench.registry import PROTOCOLS

RecipeField = Literal["lr", "order", "epochs", "momentum", "initial"]


@dataclass(frozen=True)
class Protocol:
    """SGD with momentum, drops of the step size, the last step scored.

    Args:
        name: with its version, `dsa-1000@1`
        source: where the settings come from
        kind: how a network comes of an artefact; `train` is gradient descent
        epochs: passes over the artefact; None when `steps` counts instead
        steps: SGD steps
        short: epochs or steps of the short form, for points on the way
        batch_size: images a step, or the whole artefact where it is smaller
        lr, momentum, weight_decay: of SGD
        decay_at: share of the training after which `lr` falls to `decay` of itself, or several shares; 1 never
        decay: to what part of itself
        restart: whether momentum starts anew at the first fall, as where authors make a new optimiser
        augmentation: `none`; `dsa`; `shift_scale_rotate`, one of the three for each image; or `always_color_cutmix`:
            flip and colour always, one of crop, scale and rotate, and half the batches mixed by CutMix, but digits are
            not flipped, and grey ones not mixed
        honours: which learned recipe fields are used where the artefact has them
        networks: how many networks a board trains unless it says otherwise
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
    kind: Literal["train"] = "train"

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"protocol {self.name}: give epochs or steps, one of the two")

    def describe(self) -> dict[str, Any]:
        """As plain values, for records."""
        return asdict(self) | {"honours": list(self.honours), "decay_at": _plain(self.decay_at)}


def _plain(shares: float | tuple[float, ...]) -> float | list[float]:
    return list(shares) if isinstance(shares, tuple) else shares


def register_protocol(protocol: Protocol) -> Protocol:
    """File a protocol under its name; a taken name raises ValueError, since protocols never change."""
    PROTOCOLS.register(protocol.name, module=sys._getframe(1).f_globals["__name__"])(protocol)
    return protocol


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
        "own-recipe@1",
        "ours: plain gradient descent as the artefact says, its initial weights, order and step sizes; "
        "an artefact without a recipe is trained as under quick-300@1",
        steps=300,
        short=300,
        batch_size=25,
        honours=("lr", "order", "epochs", "momentum", "initial"),
    )
)
