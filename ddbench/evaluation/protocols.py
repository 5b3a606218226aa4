"""The protocols that ship, each with its source: named, versioned, never edited. A change is a new version."""

from __future__ import annotations

from dataclasses import replace

from ddbench.evaluation.protocol import AnyProtocol as AnyProtocol
from ddbench.evaluation.protocol import LossName as LossName
from ddbench.evaluation.protocol import Protocol as Protocol
from ddbench.evaluation.protocol import check_ceiling as check_ceiling
from ddbench.evaluation.protocol import register_protocol as register_protocol
from ddbench.evaluation.protocol import usual_networks as usual_networks

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
register_protocol(
    Protocol(
        "rded-300@1",
        "Sun et al., CVPR 2024 (arXiv 2312.03526), the authors' evaluation at 32 pixels: the teacher's answers at "
        "temperature 20 for flipped images mixed by CutMix; theirs are batches of 10, 50 and 100 by the number of "
        "images, weight decay of matrices alone, the first half of a cosine over twice the epochs, and the best of "
        "tests after 80 %, here batches of 50, decay of all, a cosine to the same end, and the last step",
        epochs=300,
        short=60,
        batch_size=50,
        lr=1e-3,
        weight_decay=0.01,
        restart=False,
        augmentation="flip",
        optimizer="adamw",
        schedule="cosine",
        floor=0.5,
        losses=(("kl", 1.0),),
        temperature=20.0,
        cutmix=1.0,
    )
)
