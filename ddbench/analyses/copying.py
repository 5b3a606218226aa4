"""Copying: are the images training images, or near to those that they started from?

Images that are published show who is in the training data where they stay near to them: it takes no network to see it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from ddbench.analyses.nearest import Neighbours, likeness, neighbours
from ddbench.analyses.subject import Subject
from ddbench.records.findings import MOST_ROWS, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis
from ddbench.stats import bootstrap_interval, share_interval

SPACES = {"pixels": "in pixels", "features": "in features of a network trained on real images", "ssim": "by SSIM"}
MEASURED = ("pixels", "features")
"""spaces with distances"""
HALF_A_LEVEL = 0.5 / 255
"""root mean square difference of pixels up to which an image is a copy"""
FAR = 1e6
"""largest ratio of distances"""
CHUNK = 4096


@register_analysis("copying@1")
@dataclass(frozen=True)
class Copying:
    """How near the images are to training images, to test images, and to the real images that they started from.

    They are compared with as many training as test images, the starting images among them. Images that owe nothing to
    training images are nearer to either half of the time.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("copies", "share of images that are a training image, to half a grey level", better="lower"),
        *(Metric(f"train_nearer_{space}", f"share nearer to training than to as many test images {how}; 0.5 by chance",
                 better="lower") for space, how in SPACES.items()),
        *(Metric(f"ratio_{space}", f"mean distance to the nearest of these training images {SPACES[space]}, over that "
                 "to the nearest test image", 0, FAR) for space in MEASURED),
        *(Metric(f"start_kept_{space}", f"share whose nearest training image {how} is the one that it started from",
                 better="lower") for space, how in SPACES.items()),
        *(Metric(f"start_rank_{space}", f"median place of the start among all training images {SPACES[space]}, 1 for "
                 "the nearest", 1, 1e9) for space in MEASURED),
    )  # fmt: skip
    headline: ClassVar[tuple[str, ...]] = (
        "copies", "train_nearer_pixels", "ratio_pixels", "start_kept_pixels", "start_rank_pixels",
        "train_nearer_features", "start_kept_features", "train_nearer_ssim", "start_kept_ssim",
    )  # fmt: skip

    shortlist: PositiveInt = 20
    """nearest images in pixels, of training and of test images each, that SSIM is measured with"""

    def analyse(self, subject: Subject) -> Findings:
        images, _ = subject.decoded()
        starts = start_positions(subject, len(images))
        some, test = compared(subject, starts)
        found = dict[str, Neighbours]()
        for number, (name, of) in enumerate(_spaces(subject).items()):
            train, others = _points(subject, of, subject.data.train_images), _points(subject, of, test)
            found[name] = neighbours(of(images), train, others, some, starts, self.shortlist)
            subject.report((number + 1) / len(SPACES))
        pixels = found["pixels"]
        alike = _alike(subject, images, pixels, test, starts)
        metrics = {"copies": _share(pixels.distance <= HALF_A_LEVEL * images[0].numel() ** 0.5)}
        for name, near in found.items():
            metrics |= {f"{kind}_{name}": measure for kind, measure in _measured(near, starts is not None).items()}
        metrics["train_nearer_ssim"] = _share(_nearer(-alike["some"], -alike["test"]))
        columns = {"nearest": pixels.train[:, 0], "distance": pixels.distance, "ssim": alike["train"]}
        if starts is not None:
            metrics["start_kept_ssim"] = _share(alike["start"] >= alike["train"])
            columns |= {"start": starts, "distance_start": pixels.start_distance, "ssim_start": alike["start"]}
        shown = {name: list(map(float, column[:MOST_ROWS].tolist())) for name, column in columns.items()}
        return Findings(metrics=metrics, series={"images": Series(columns=dict(shown))})


def start_positions(subject: Subject, count: int) -> Tensor | None:
    """Positions of the training images that an artefact's images started from, (M,).

    None where they did not start so, or it cannot be told: the artefact stores no whole images, or its seed or kind of
    device is another or not known.
    """
    artifact, origin = subject.artifact, subject.references.origin
    said = artifact.provenance
    real = dict(said.get("hyperparameters", {})).get("init") == "real"
    if not real or said.get("seed") is None or artifact.decoder.name != "pixels":
        return None
    if origin.device != subject.device.type:
        return None
    starts, _ = subject.references.random_images().decode()
    if len(starts) != count:
        return None
    train = _points(subject, _pixels(subject), subject.data.train_images)
    return torch.cdist(_pixels(subject)(starts.to(subject.device)), train).argmin(1)


def compared(subject: Subject, starts: Tensor | None) -> tuple[Tensor, Tensor]:
    """Positions of random training images, the starts first, and as many test images, (n, C, H, W)."""
    data, generator = subject.data, subject.generator("compared")
    count = min(len(data.train_labels), len(data.test_labels))
    order = torch.randperm(len(data.train_labels), generator=generator)
    chosen = torch.randperm(len(data.test_labels), generator=generator)[:count].to(subject.device)
    if starts is not None:
        order = torch.cat([starts.cpu().unique(), order[~torch.isin(order, starts.cpu())]])
    return order[:count].to(subject.device), data.test_images[chosen]


def _alike(
    subject: Subject, images: Tensor, near: Neighbours, test: Tensor, starts: Tensor | None
) -> dict[str, Tensor]:
    """The largest SSIM with the images of each list, (M,) each."""
    train, ours = subject.data.train_images, subject.transform.inverse(images).clamp(0, 1)
    lists = {"train": (train, near.train), "some": (train, near.some), "test": (test, near.test)}
    if starts is not None:
        lists["start"] = train, starts[:, None]
    return {name: likeness(ours, _seen(subject, side, listed)).amax(1) for name, (side, listed) in lists.items()}


def _spaces(subject: Subject) -> dict[str, Callable[[Tensor], Tensor]]:
    """Functions from images, as networks see them, to points, (N, F)."""
    trained = subject.trained_on_real(0)
    return {
        "pixels": _pixels(subject),
        "features": lambda images: subject.features(trained, images),
    }


def _pixels(subject: Subject) -> Callable[[Tensor], Tensor]:
    return lambda images: subject.transform.inverse(images).flatten(1)


def _points(subject: Subject, of: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([of(subject.transform(chunk)) for chunk in images.split(CHUNK)])


def _seen(subject: Subject, images: Tensor, positions: Tensor) -> Tensor:
    """Pixels of the images at these positions, (M, L), (M, L, C, H, W)."""
    chosen = subject.transform.inverse(subject.transform(images[positions.flatten()]))
    return chosen.clamp(0, 1).view(*positions.shape, *images.shape[1:])


def _measured(near: Neighbours, started: bool) -> dict[str, Measure]:
    pairs = torch.stack([near.some_distance, near.test_distance], dim=1).double().cpu().numpy()
    found = {
        "train_nearer": _share(_nearer(near.some_distance, near.test_distance)),
        "ratio": _estimate(pairs, lambda rows: float(min(FAR, rows[:, 0].sum() / max(rows[:, 1].sum(), 1e-300)))),
    }
    if started:
        ranks = near.start_rank.double().cpu().numpy()
        found |= {"start_kept": _share(near.start_rank == 1)}
        found |= {"start_rank": _estimate(ranks, lambda rows: float(np.median(rows)))}
    return found


def _nearer(ours: Tensor, theirs: Tensor) -> Tensor:
    """1 where the first is smaller, 0.5 where both are equal."""
    return (ours < theirs).double() + (ours == theirs).double() / 2


def _share(marks: Tensor) -> Measure:
    """Mean of marks in [0, 1], with Clopper and Pearson's interval."""
    total, count = float(marks.double().sum()), len(marks)
    low, high = share_interval(total, count)
    return Measure(values=[total / count], of="images", low=low, high=high)


def _estimate(rows: NDArray[Any], statistic: Callable[[NDArray[Any]], float]) -> Measure:
    """Statistic of images with a bootstrap interval."""
    value = statistic(rows)
    low, high = bootstrap_interval(rows, statistic)
    return Measure(values=[value], of="images", low=min(low, value), high=max(high, value))
