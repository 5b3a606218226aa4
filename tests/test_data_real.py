"""What a method gets of the training data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from ddbench.data import Dataset, Preprocessing, RealData, make_dataset
from ddbench.errors import UserError

COUNTS = (5, 9, 7)
LABELS = np.random.RandomState(0).permutation(np.repeat(np.arange(3), COUNTS))


def numbered() -> Dataset:
    """Every pixel of image i is i, so that a batch says which images it holds."""
    images = np.tile(np.arange(21, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 1))
    return make_dataset("numbered", images, LABELS, images[:3], np.arange(3))


def real(kind: str = "normalize") -> RealData:
    dataset = numbered()
    return RealData(dataset, Preprocessing.for_dataset(dataset, kind).fit(dataset), "cpu")


def numbers(images: torch.Tensor, kind: str = "normalize") -> list[int]:
    dataset = numbered()
    pixels = Preprocessing.for_dataset(dataset, kind).fit(dataset).inverse(images)
    return [int(value) for value in (pixels[:, 0, 0, 0] * 255).round()]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_size_and_counts() -> None:
    assert len(real()) == 21
    assert real().counts == COUNTS
    assert real().shape == (1, 4, 4)
    assert real().device == torch.device("cpu")


def test_no_whole_set_is_public() -> None:
    public = {name: getattr(real(), name) for name in dir(real()) if not name.startswith("_")}
    assert not [name for name, value in public.items() if isinstance(value, torch.Tensor | Dataset)]


@pytest.mark.parametrize("kind", ["normalize", "zca"])
def test_a_batch_holds_preprocessed_images_and_their_labels(kind: str) -> None:
    images, labels = real(kind).batch(8, generator())
    held = numbers(images, kind)
    assert images.shape == (8, 1, 4, 4)
    assert images.dtype == torch.float32
    assert len(set(held)) == 8
    assert labels.tolist() == LABELS[held].tolist()


def test_zca_batches_are_the_transformed_images() -> None:
    dataset = numbered()
    transform = Preprocessing.for_dataset(dataset, "zca").fit(dataset)
    images, _ = RealData(dataset, transform, "cpu").take([4, 2])
    torch.testing.assert_close(images, transform(dataset.train_images[[4, 2]]), atol=1e-5, rtol=1e-5)


def test_a_batch_of_more_than_all_is_all() -> None:
    images, _ = real().batch(100, generator())
    assert sorted(numbers(images)) == list(range(21))


def test_a_batch_of_one_class() -> None:
    images, labels = real().batch(4, generator(), of=2)
    assert labels.tolist() == [2] * 4
    assert len(set(numbers(images))) == 4
    assert set(numbers(images)) <= set(np.flatnonzero(LABELS == 2).tolist())


def test_a_small_class_gives_all_it_has() -> None:
    images, _ = real().batch(100, generator(), of=0)
    assert sorted(numbers(images)) == np.flatnonzero(LABELS == 0).tolist()


@pytest.mark.parametrize(
    ("n", "of", "counts"),
    [(3, [0, 1, 2], [3] * 3), (100, [0, 1, 2], COUNTS), (7, [2, 0, 1], [7, 5, 7]), (2, (2, 0), [2, 2])],
)
def test_a_batch_of_classes_is_grouped_in_the_order_asked(n: int, of: Sequence[int], counts: Sequence[int]) -> None:
    images, labels = real().batch(n, generator(), of=of)
    held = numbers(images)
    assert labels.tolist() == [c for c, count in zip(of, counts, strict=True) for _ in range(count)]
    assert LABELS[held].tolist() == labels.tolist()
    assert len(set(held)) == len(held)


def test_each_class_gives_what_it_has() -> None:
    sizes = (300, 100, 30, 2)
    labels = np.repeat(np.arange(4), sizes)
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    dataset = make_dataset("long_tailed", images, labels, images[:4], np.arange(4))
    source = RealData(dataset, Preprocessing.for_dataset(dataset).fit(dataset), "cpu")
    assert [len(own) for own in source.by_class(256, generator())] == [256, 100, 30, 2]
    assert source.batch(256, generator(), of=range(4))[1].bincount().tolist() == [256, 100, 30, 2]


def test_images_by_class_are_those_of_a_batch_of_all_classes() -> None:
    images, labels = real().batch(6, generator(3), of=range(3))
    for c, own in enumerate(real().by_class(6, generator(3))):
        assert torch.equal(own, images[labels == c])


def test_a_class_named_twice_is_drawn_twice() -> None:
    images, labels = real().batch(5, generator(), of=[0, 0])
    assert labels.tolist() == [0] * 10
    assert sorted(numbers(images)[:5]) == sorted(numbers(images)[5:])


@pytest.mark.parametrize("of", [None, 1, [2, 0]])
def test_batches_depend_on_the_generator_alone(of: int | list[int] | None) -> None:
    def draw(seed: int) -> list[int]:
        return numbers(real().batch(3, generator(seed), of=of)[0])

    before = torch.get_rng_state()
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_member_of_a_class_is_drawn_equally_often() -> None:
    source, draw = real(), generator()
    held = [number for _ in range(900) for number in numbers(source.batch(3, draw, of=[0, 1])[0])]
    times = np.bincount(held, minlength=21)
    assert np.abs(times[LABELS == 0] - 540).max() < 75
    assert np.abs(times[LABELS == 1] - 300).max() < 75


def test_an_epoch_in_stored_order() -> None:
    parts = list(real().batches(8))
    assert [len(images) for images, _ in parts] == [8, 8, 5]
    assert [number for images, _ in parts for number in numbers(images)] == list(range(21))
    assert torch.cat([labels for _, labels in parts]).tolist() == LABELS.tolist()


def test_a_shuffled_epoch_holds_everything_once() -> None:
    order = [number for images, _ in real().batches(8, generator()) for number in numbers(images)]
    again = [number for images, _ in real().batches(8, generator()) for number in numbers(images)]
    assert sorted(order) == list(range(21))
    assert order == again != list(range(21))


@pytest.mark.parametrize("indices", [[7, 0, 7], torch.tensor([7, 0, 7])])
def test_take_gives_what_is_asked(indices: list[int] | torch.Tensor) -> None:
    images, labels = real().take(indices)
    assert numbers(images) == [7, 0, 7]
    assert labels.tolist() == LABELS[[7, 0, 7]].tolist()


def test_class_indices_are_positions_in_stored_order() -> None:
    source = real()
    for c in range(3):
        assert source.class_indices(c).tolist() == np.flatnonzero(c == LABELS).tolist()
    source.class_indices(1).zero_()
    assert source.class_indices(1).tolist() == np.flatnonzero(LABELS == 1).tolist()


@pytest.mark.parametrize("kind", ["normalize", "zca"])
@pytest.mark.parametrize(
    "get",
    [
        lambda source: next(source.batches(21)),
        lambda source: source.take(range(21)),
        lambda source: source.batch(21, generator()),
        lambda source: source.batch(5, generator(), of=0),
    ],
)
def test_returned_tensors_are_the_callers(
    kind: str, get: Callable[[RealData], tuple[torch.Tensor, torch.Tensor]]
) -> None:
    source = real(kind)
    images, labels = get(source)
    kept = images.clone(), labels.clone()
    images.fill_(9)
    labels.fill_(9)
    assert torch.equal(get(source)[0], kept[0])
    assert torch.equal(get(source)[1], kept[1])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda source: source.batch(0, generator()), "cannot draw a batch of 0 images; ask for at least 1"),
        (lambda source: source.batches(-1), "cannot draw a batch of -1 images; ask for at least 1"),
        (lambda source: source.batch(1, generator(), of=3), "no class 3; classes are 0..2"),
        (lambda source: source.batch(1, generator(), of=[0, -1]), "no class -1; classes are 0..2"),
        (lambda source: source.batch(1, generator(), of=[]), "batch was asked for images of no class (of=[]); name at"),
        (lambda source: source.take([0, 21]), "no training image 21; positions are 0..20"),
        (lambda source: source.take([-1]), "no training image -1; positions are 0..20"),
        (lambda source: source.class_indices(5), "no class 5; classes are 0..2"),
    ],
)
def test_a_bad_request_is_refused(call: Callable[[RealData], object], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        call(real())
    assert sentence in str(caught.value)


def test_a_generator_elsewhere_is_refused() -> None:
    with pytest.raises(UserError, match=r"lives on cuda:0, the data on cpu; make it with torch.Generator\('cpu'\)"):
        real().batch(1, _Elsewhere())  # type: ignore[arg-type]


class _Elsewhere:
    device = torch.device("cuda", 0)
