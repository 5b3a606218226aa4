"""Realistic patches: crops and stitching by hand, the choice by a planted teacher, and its labels."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.errors import UserError
from ddbench.families import patches
from ddbench.families.patches import random_resized_crops, resized, stitched
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.task.hyperparameters import make_method
from ddbench.testing import tiny_task
from methods.realistic_patches import RealisticPatches


def test_a_box_of_an_image_is_resized_as_torch_does() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = resized(images, *(torch.full((2,), value) for value in (1.0, 1.0, 0.0, 0.0)))
    assert torch.allclose(whole, images, atol=1e-6)
    box = resized(images, *(torch.full((2,), value) for value in (0.5, 0.5, 0.25, 0.5)))  # columns 2 to 5, rows 4 to 7
    expected = F.interpolate(images[:, :, 4:, 2:6], (8, 8), mode="bilinear")
    assert torch.allclose(box[:, :, 1:, 1:-1], expected[:, :, 1:, 1:-1], atol=1e-6)  # inside, where no edge is seen


def test_crops_have_the_areas_and_ratios_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = dict[str, Tensor]()

    def watch(images: Tensor, width: Tensor, height: Tensor, left: Tensor, top: Tensor) -> Tensor:
        seen.update(width=width, height=height, left=left, top=top)
        return images

    monkeypatch.setattr(patches, "resized", watch)
    random_resized_crops(torch.zeros(4000, 1, 4, 4), 0.25, torch.Generator().manual_seed(0))
    width, height = seen["width"], seen["height"]
    area, ratio = width * height, width / height
    assert 0.24 < area.min() < 0.26
    assert area.max() > 0.95
    free = (width < 1) & (height < 1)
    assert bool(((ratio > 3 / 4 - 1e-5) & (ratio < 4 / 3 + 1e-5))[free].all())
    assert float(ratio[free].log().mean()) == pytest.approx(0, abs=0.02)
    assert bool((seen["left"] + width <= 1 + 1e-6).all())
    assert bool((seen["top"] + height <= 1 + 1e-6).all())


def test_four_patches_make_an_image_row_by_row() -> None:
    values = torch.arange(1.0, 9.0)
    made = stitched(values.view(8, 1, 1, 1).expand(8, 1, 4, 4), 2)
    assert made.shape == (2, 1, 4, 4)
    assert made[0, 0, ::2, ::2].tolist() == [[1, 2], [3, 4]]
    assert made[1, 0, ::2, ::2].tolist() == [[5, 6], [7, 8]]


def made(settings: dict[str, object], ipc: int = 2) -> tuple[RealisticPatches, object, Meter]:
    task = tiny_task(ipc=ipc)
    return make_method(RealisticPatches, {**RealisticPatches.tiny, **settings}), task, Meter(Budget(), snapshots=())


def test_the_patches_of_lowest_loss_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher whose logit of every class but the first is the image's mean: the brightest crops of class 1 win."""
    method, task, _ = made({"candidates": 6, "crops": 3})

    def planted(weights: object, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1)
        return torch.stack([torch.zeros_like(mean), *[mean] * (task.classes - 1)], 1)

    monkeypatch.setattr(type(task.first_order), "forward", lambda self, weights, images: planted(weights, images))
    drawn = list[Tensor]()
    monkeypatch.setattr(
        "methods.realistic_patches.random_resized_crops",
        lambda *given: drawn.append(random_resized_crops(*given)) or drawn[-1],
    )
    chosen = method._best_patches(task, {}, 1)
    crops = torch.stack(drawn)  # (3, 6, C, H, W)
    brightest = crops.flatten(2).mean(2).max(0).values.sort(descending=True).values
    assert chosen.flatten(1).mean(1).tolist() == pytest.approx(brightest[:2].tolist())


def test_the_teacher_is_trained_once_and_labels() -> None:
    method, task, meter = made({})
    artifact = method.distill(task, meter)
    assert artifact.teacher is not None
    assert meter.done == {"teacher": 2}
    method, task, meter = made({"labels": "expert,epochs=1,epoch_batches=2,batch=16"})
    soft = method.distill(task, meter)
    assert soft.label_kind == "probabilities"
    assert torch.equal(soft.parts["images"], artifact.parts["images"])


def test_a_factor_that_divides_no_side_is_refused() -> None:
    method, task, meter = made({"factor": 3})
    height, width = task.shape[1:]
    with pytest.raises(UserError, match=re.escape(f"factor 3 does not divide images of {height} x {width}")):
        method.distill(task, meter)
