"""The distilled set while it is learned: where it starts, how it is kept, and what it is stored as."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddbench.artifacts.checks import check_artifact
from ddbench.artifacts.recipe import Recipe
from ddbench.compute.generators import Generators, seeded
from ddbench.data import make_dataset
from ddbench.decoders import Canvas, Pixels
from ddbench.errors import UserError
from ddbench.families.synthetic_set import Init, SyntheticSet
from ddbench.meter.checkpoint import State, capture, restore
from ddbench.task.task import Task
from ddbench.testing import tiny_task

DECODERS = [
    "pixels",
    "multi_formation",
    "linear_bases,bases=4",
    "canvas,factor=1",
    "hallucinators,count=1,channels=1",
]
every_decoder = pytest.mark.parametrize("decoder", DECODERS)
every_init = pytest.mark.parametrize("init", ["real", "noise"])


def scramble(synthetic: SyntheticSet) -> None:
    with torch.no_grad():
        for part in synthetic.learned:
            part.normal_(generator=seeded(5))


# -- starts -----------------------------------------------------------------------------------------------------------


def test_real_pixels_start_as_every_method_does() -> None:
    synthetic, (images, labels) = SyntheticSet(tiny_task()), tiny_task().real_init()
    assert torch.equal(synthetic.parts["images"], images)
    assert torch.equal(synthetic.parts["labels"], labels)
    assert not torch.equal(SyntheticSet(tiny_task(generators=Generators("other"))).parts["images"], images)


def test_noise_pixels_start_as_every_method_does() -> None:
    task = tiny_task()
    images = torch.randn((6, 1, 8, 8), generator=task.generator("noise_init"))
    synthetic = SyntheticSet(tiny_task(), init="noise")
    assert torch.equal(synthetic.parts["images"], images)
    assert torch.equal(synthetic.parts["labels"], task.labels())


def test_noise_is_standard_normal() -> None:
    parts = SyntheticSet(tiny_task(200), init="noise").parts
    images, labels = parts["images"], parts["labels"]
    assert (images.shape, images.dtype) == ((600, 1, 8, 8), torch.float32)
    assert torch.equal(labels, tiny_task(200).labels())
    assert abs(images.mean().item()) < 0.03
    assert abs(images.std().item() - 1) < 0.03
    assert torch.equal(images, SyntheticSet(tiny_task(200), init="noise").parts["images"])


def test_tiles_start_as_real_images_that_were_averaged() -> None:
    task = tiny_task()
    images, _ = task.real.batch(8, task.generator("real_init"), of=range(3))
    tiles = SyntheticSet(tiny_task(), "multi_formation").parts["tiles"]
    torch.testing.assert_close(tiles.flatten(0, 1), F.avg_pool2d(images, 2))


@every_init
@every_decoder
def test_a_start_is_what_the_task_asks_for(decoder: str, init: Init) -> None:
    synthetic = SyntheticSet(tiny_task(), decoder, init)
    check_artifact(synthetic.artifact(), (1, 8, 8), 3, 2)
    images, labels = synthetic.images()
    assert images.shape[1:] == (1, 8, 8)
    assert torch.equal(labels, torch.arange(3).repeat_interleave(len(images) // 3))
    again = SyntheticSet(tiny_task(), decoder, init)
    assert all(torch.equal(part, again.parts[name]) for name, part in synthetic.parts.items())


@pytest.mark.parametrize("ipc", [20, 25, 47])
def test_a_class_with_fewer_images_gives_some_again(ipc: int) -> None:
    synthetic = SyntheticSet(tiny_task(ipc))
    assert synthetic.parts["labels"].bincount().tolist() == [ipc] * 3
    task = tiny_task(ipc)
    for c, images in enumerate(synthetic.parts["images"].unflatten(0, (3, ipc))):
        own = task.real.take(task.real.class_indices(c))[0]
        found = (images[:, None] == own[None]).flatten(2).all(2)  # (ipc, 20), which of them each is
        assert found.sum(1).tolist() == [1] * ipc
        counts = found.sum(0)
        assert counts.sum() == ipc
        assert counts.max() - counts.min() <= 1


def test_a_small_class_takes_nothing_from_the_large_ones() -> None:
    random = np.random.RandomState(0)
    images, labels = random.randint(0, 256, (14, 8, 8, 1)).astype(np.uint8), np.array([0] * 6 + [1] * 6 + [2] * 2)
    parts = SyntheticSet(tiny_task(5, data=make_dataset("uneven", images, labels, images[:3], np.arange(3)))).parts
    distinct = [len(own.flatten(1).unique(dim=0)) for own in parts["images"].split(5)]
    assert distinct == [5, 5, 2]


def test_a_start_in_the_smallest_class_has_all_of_its_images() -> None:
    random = np.random.RandomState(0)
    images, labels = random.randint(0, 256, (12, 8, 8, 1)).astype(np.uint8), np.repeat([0, 1, 2], 4)
    small = SyntheticSet(tiny_task(6, data=make_dataset("small", images, labels, images[:3], np.arange(3))))
    for own in small.parts["images"].unflatten(0, (3, 6)):
        assert len(own.flatten(1).unique(dim=0)) == 4


def test_what_the_decoder_refuses_is_refused() -> None:
    with pytest.raises(UserError, match="a canvas of factor 2 takes the storage of 4 images and ipc is 2"):
        SyntheticSet(tiny_task(), "canvas")


# -- labels -----------------------------------------------------------------------------------------------------------


@every_decoder
def test_soft_labels_are_certain_at_first(decoder: str) -> None:
    soft, hard = SyntheticSet(tiny_task(), decoder, soft=True), SyntheticSet(tiny_task(), decoder)
    assert (soft.label_kind, hard.label_kind) == ("probabilities", "index")
    assert torch.equal(soft.parts["labels"], F.one_hot(hard.parts["labels"], 3).float())
    assert torch.equal(soft.images()[1], F.one_hot(hard.images()[1], 3).float())
    artifact = soft.artifact()
    assert artifact.label_kind == "probabilities"
    check_artifact(artifact, (1, 8, 8), 3, 2)


def test_a_set_of_given_images_and_logits() -> None:
    images, logits = torch.randn(6, 1, 8, 8, generator=seeded(0)), torch.randn(6, 3, generator=seeded(1))
    synthetic = SyntheticSet(tiny_task(), parts={"images": images, "labels": logits})
    assert synthetic.label_kind == "logits"
    assert synthetic.decoder == Pixels()
    found = synthetic.images()
    assert torch.equal(found[0], images)
    assert torch.equal(found[1], logits)
    assert synthetic.parts["images"] is not images
    assert synthetic.learned[0].requires_grad
    assert synthetic.artifact().label_kind == "logits"
    scramble(synthetic)
    assert torch.equal(images, torch.randn(6, 1, 8, 8, generator=seeded(0)))


# -- what is learned --------------------------------------------------------------------------------------------------


@every_decoder
def test_all_parts_but_the_labels_are_leaves_that_slopes_reach(decoder: str) -> None:
    synthetic = SyntheticSet(tiny_task(), decoder, soft=True)
    assert len(synthetic.learned) == len(synthetic.parts) - 1
    assert not synthetic.parts["labels"].requires_grad
    synthetic.images()[0].square().sum().backward()
    for part in synthetic.learned:
        assert part.is_leaf
        assert part.grad is not None
        assert bool(part.grad.any())


def test_learning_leaves_the_real_images_alone() -> None:
    task = tiny_task()
    before = task.real.take(range(60))[0]
    scramble(SyntheticSet(task))
    assert torch.equal(task.real.take(range(60))[0], before)


# -- keeping ----------------------------------------------------------------------------------------------------------


@every_decoder
def test_parts_are_put_back_in_place(decoder: str) -> None:
    synthetic = SyntheticSet(tiny_task(), decoder)
    objects = dict(synthetic.parts)
    saved = {name: part.detach().clone() for name, part in synthetic.state_dict().items()}
    scramble(synthetic)
    assert not any(torch.equal(part, saved[name]) for name, part in objects.items() if name != "labels")
    synthetic.load_state_dict(saved)
    for name, part in synthetic.parts.items():
        assert part is objects[name]
        assert torch.equal(part, saved[name])
        assert part.requires_grad is (name != "labels")


@every_decoder
def test_a_state_that_was_put_back_learns_on_as_before(decoder: str) -> None:
    def learn(state: State, steps: int) -> None:
        for _ in range(steps):
            state.optimizer.zero_grad()
            state.synthetic.images()[0].square().mean().backward()
            state.optimizer.step()

    def begin() -> tuple[Task, State]:
        task = tiny_task()
        synthetic = SyntheticSet(task, decoder)
        optimizer = torch.optim.SGD(synthetic.learned, lr=0.1, momentum=0.9)
        return task, State(synthetic=synthetic, optimizer=optimizer, decode=task.generator("decode", device="cpu"))

    _, whole = begin()
    learn(whole, 2)
    saved = capture(whole)
    learn(whole, 3)
    _, resumed = begin()
    restore(resumed, saved)
    learn(resumed, 3)
    for name, part in whole.synthetic.parts.items():
        assert torch.equal(part, resumed.synthetic.parts[name])


# -- artefacts --------------------------------------------------------------------------------------------------------


def test_an_artefact_is_the_set_as_it_stands() -> None:
    synthetic, recipe = SyntheticSet(tiny_task(), "canvas,factor=1,crops=2"), Recipe(epochs=3)
    artifact = synthetic.artifact(recipe)
    assert artifact.decoder == Canvas(factor=1, crops=2)
    assert artifact.recipe == recipe
    before = {name: part.detach().clone() for name, part in synthetic.parts.items()}
    scramble(synthetic)
    assert all(torch.equal(part, before[name]) for name, part in artifact.parts.items())
    assert torch.equal(synthetic.artifact().parts["canvases"], synthetic.parts["canvases"])


def test_an_artefact_takes_other_parts_in_place_of_its_own() -> None:
    synthetic = SyntheticSet(tiny_task(), soft=True)
    other = torch.full((6, 3), 1 / 3)
    artifact = synthetic.artifact(parts={"labels": other})
    assert torch.equal(artifact.parts["labels"], other)
    assert torch.equal(artifact.parts["images"], synthetic.parts["images"])
    assert not torch.equal(synthetic.parts["labels"], other)


def test_a_fresh_decoder_draws_from_its_own_generator() -> None:
    task, other = tiny_task(), tiny_task()
    synthetic, twin = SyntheticSet(task, "canvas,factor=1"), SyntheticSet(other, "canvas,factor=1")
    torch.manual_seed(7)
    first, second = (synthetic.images()[0] for _ in range(2))
    torch.manual_seed(8)
    torch.randn(5, generator=other.generator("real"))
    assert torch.equal(twin.images()[0], first)
    assert torch.equal(twin.images()[0], second)
    assert not torch.equal(first, second)
    generator = tiny_task().generator("decode")
    expected = synthetic.decoder.decode(synthetic.parts, 0, generator)[0]
    assert torch.equal(first, expected)


def test_an_artefact_of_a_fresh_decoder_draws_from_the_generator_it_is_given() -> None:
    task = tiny_task()
    synthetic = SyntheticSet(task, "canvas,factor=1")
    before = task.generator("decode").get_state()
    ours, theirs = (synthetic.artifact().decode(0, seeded(3))[0] for _ in range(2))
    assert torch.equal(ours, theirs)
    assert torch.equal(task.generator("decode").get_state(), before)
