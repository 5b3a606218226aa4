"""Saving and putting back what a loop changes."""

from __future__ import annotations

import io
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ddbench.compute.generators import Generators, derive_seed, seeded
from ddbench.errors import CannotWrite
from ddbench.io.atomic import write_sealed
from ddbench.meter import checkpoint
from ddbench.meter.checkpoint import State, capture, contents, copied, restore

CPU = torch.device("cpu")


def through_a_file(state: State, folder: Path) -> dict[str, Any]:
    checkpoint.save(folder / "c.pt", {"state": capture(state)})
    content = checkpoint.load(folder / "c.pt", CPU)
    assert content is not None
    return content["state"]


def test_a_tensor_is_restored_in_place(tmp_path: Path) -> None:
    images = torch.tensor([1.0, 2.0], requires_grad=True)
    state = State(images=images)
    saved = through_a_file(state, tmp_path)
    with torch.no_grad():
        images.mul_(10)
    restore(state, saved)
    assert state.images is images
    assert images.tolist() == [1.0, 2.0]
    assert images.requires_grad


def test_what_was_captured_does_not_change_with_the_state() -> None:
    state = State(images=torch.zeros(2), seen=[1], weights={"w": torch.zeros(1)})
    saved = capture(state)
    state.images += 1
    state.seen.append(2)
    state.weights["w"] += 1
    assert saved["images"].tolist() == [0, 0]
    assert saved["seen"] == [1]
    assert saved["weights"]["w"].tolist() == [0]


def test_what_was_restored_from_a_copy_shares_nothing_with_what_was_saved() -> None:
    state = State(seen=[torch.zeros(1)], shape=torch.zeros(2))
    saved = capture(state)
    state.shape = torch.zeros(3)
    restore(state, copied(saved))
    state.seen.append(1)
    state.seen[0] += 1
    state.shape += 1
    assert len(saved["seen"]) == 1
    assert saved["seen"][0].tolist() == [0]
    assert saved["shape"].tolist() == [0, 0]


def test_a_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    state = State(generator=generator)
    torch.rand(5, generator=generator)
    saved = through_a_file(state, tmp_path)
    expected = torch.rand(3, generator=generator)
    restore(state, saved)
    assert state.generator is generator
    assert torch.equal(torch.rand(3, generator=generator), expected)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_goes_on_with_its_moments(tmp_path: Path, kind: type[torch.optim.Optimizer]) -> None:
    settings = {"momentum": 0.5} if kind is torch.optim.SGD else {}

    def start() -> State:
        images = torch.tensor([1.0, -2.0], requires_grad=True)
        return State(images=images, optimizer=kind([images], lr=0.1, **settings))  # type: ignore[arg-type]

    def advance(state: State) -> None:
        state.optimizer.zero_grad()
        state.images.square().sum().backward()
        state.optimizer.step()

    unbroken, resumed = start(), start()
    advance(unbroken)
    saved = through_a_file(unbroken, tmp_path)
    restore(resumed, saved)
    for state in (unbroken, resumed):
        advance(state)
        advance(state)
    assert torch.equal(unbroken.images, resumed.images)
    assert resumed.optimizer.param_groups[0]["params"][0] is resumed.images


def test_a_restored_optimizer_leaves_what_was_saved_alone() -> None:
    images = torch.ones(1, requires_grad=True)
    state = State(images=images, optimizer=torch.optim.SGD([images], lr=1.0, momentum=0.5))
    images.sum().backward()
    state.optimizer.step()
    saved = capture(state)
    restore(state, copied(saved))
    state.optimizer.step()
    assert saved["optimizer"]["state"][0]["momentum_buffer"].tolist() == [1.0]


def test_a_schedule_and_a_module_are_restored(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    state = State(module=module, optimizer=optimizer, schedule=schedule)
    optimizer.step()
    schedule.step()
    saved, weight = through_a_file(state, tmp_path), module.weight.detach().clone()
    schedule.step()
    nn.init.zeros_(module.weight)
    restore(state, saved)
    assert torch.equal(module.weight, weight)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert schedule.last_epoch == 1


def test_a_list_that_grew_is_replaced(tmp_path: Path) -> None:
    state = State(seen=[torch.tensor([1]), torch.tensor([2])])
    saved = through_a_file(state, tmp_path)
    fresh = State(seen=[])
    restore(fresh, saved)
    assert [int(item) for item in fresh.seen] == [1, 2]


def test_a_dict_of_tensors_is_restored_in_place(tmp_path: Path) -> None:
    weights = {"w": torch.ones(2), "b": torch.zeros(1)}
    w = weights["w"]
    state = State(weights=weights)
    saved = through_a_file(state, tmp_path)
    w.add_(1)
    weights["b"] = torch.ones(1)
    restore(state, saved)
    assert state.weights is weights
    assert weights["w"] is w
    assert w.tolist() == [1, 1]
    assert weights["b"].tolist() == [0]


def test_a_dict_with_other_keys_is_replaced(tmp_path: Path) -> None:
    saved = through_a_file(State(best={"step": 3}), tmp_path)
    state = State(best={})
    restore(state, saved)
    assert state.best == {"step": 3}


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "text", b"bytes", (1, "a"), [1, [2.0]], torch.float64])
def test_plain_values_are_replaced(tmp_path: Path, value: object) -> None:
    saved = through_a_file(State(value=value), tmp_path)
    state = State(value="other")
    restore(state, saved)
    assert state.value == value


def test_a_name_that_the_fresh_state_lacks_is_added(tmp_path: Path) -> None:
    state = State()
    restore(state, through_a_file(State(late=1), tmp_path))
    assert state.late == 1


@pytest.mark.parametrize("fresh", [torch.zeros(3), torch.zeros(2, dtype=torch.float64)])
def test_a_tensor_of_another_shape_or_type_is_replaced(tmp_path: Path, fresh: torch.Tensor) -> None:
    saved = through_a_file(State(w=torch.tensor([1.0, 2.0])), tmp_path)
    state = State(w=fresh)
    restore(state, saved)
    assert state.w.tolist() == [1.0, 2.0]
    assert state.w.dtype == torch.float32
    assert fresh.sum() == 0


def test_a_value_that_cannot_be_resumed_is_refused_at_once() -> None:
    @dataclass
    class Mine:
        x: int = 0

    with pytest.raises(TypeError, match=r"^a loop's state holds a Mine, which cannot be resumed; keep tensors, lists,"):
        capture(State(inner=[Mine()]))


def test_what_was_on_another_gpu_comes_to_the_device_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:7")
        checkpoint.save(tmp_path / "c.pt", {"state": contents(State(w=torch.ones(3)))})
    content = checkpoint.load(tmp_path / "c.pt", CPU)
    assert content is not None
    assert content["state"]["w"].tolist() == [1, 1, 1]


def test_a_part_of_a_larger_tensor_is_written_alone(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", {"state": contents(State(first=torch.zeros(100_000)[:2]))})
    assert (tmp_path / "c.pt").stat().st_size < 10_000


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")
def test_tensors_of_any_kind_are_written(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    found = through_a_file(
        State(
            shared=shared, view=shared.view(2, 3), bits=shared.view(torch.int32), turned=shared.view(2, 3).T,
            sparse=torch.eye(3).to_sparse(), wide=torch.ones(1).expand(4), empty=torch.zeros(0),
        ),
        tmp_path,
    )  # fmt: skip
    assert found["view"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert torch.equal(found["bits"], shared.view(torch.int32))
    assert torch.equal(found["sparse"].to_dense(), torch.eye(3))
    assert (found["wide"].tolist(), found["empty"].tolist()) == ([1, 1, 1, 1], [])


def test_a_disk_that_fills_while_a_checkpoint_is_written_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", {"state": contents(State(step=1))})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CannotWrite, match=r"cannot write .*/c.pt: File too large; choose another place with --out"):
            checkpoint.save(tmp_path / "c.pt", {"state": contents(State(step=2, w=torch.zeros(100_000)))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]
    content = checkpoint.load(tmp_path / "c.pt", CPU)
    assert content == {"state": {"step": 1}}


def test_memory_that_loading_lacks_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise torch.OutOfMemoryError("full")

    checkpoint.save(tmp_path / "c.pt", {"state": contents(State(step=1))})
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        checkpoint.load(tmp_path / "c.pt", CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_contents_are_no_copy() -> None:
    state = State(images=torch.zeros(2, requires_grad=True))
    assert contents(state)["images"].data_ptr() == state.images.data_ptr()
    assert not contents(state)["images"].requires_grad


def test_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "none.pt", CPU) is None


@pytest.mark.parametrize("keep", [0, 10, 72, -20])
def test_a_torn_file_is_set_aside(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"state": capture(State(w=torch.zeros(100)))})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.warns(
        RuntimeWarning, match=r"c.pt is damaged \(its checksum does not match\); it is kept as c.pt.damaged"
    ):
        assert checkpoint.load(path, CPU) is None
    assert [kept.name for kept in tmp_path.iterdir()] == ["c.pt.damaged"]


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"state": capture(State(w=torch.full((100,), 2.0)))})
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((100,), 2.0).numpy().tobytes())] ^= 1  # torch reads it without complaint
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="c.pt is damaged"):
        assert checkpoint.load(path, CPU) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"version": 0}, "it has version 0 and this ddbench reads 3"),
        ({}, "'version'"),
        (Path("."), "Weights only load failed"),
    ],
)
def test_a_checkpoint_of_another_release_is_set_aside(tmp_path: Path, content: object, reason: str) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_sealed(tmp_path / "c.pt", buffer.getvalue())
    with pytest.warns(RuntimeWarning, match=rf"c.pt is damaged \(.*{reason}.*\); it is kept as c.pt.damaged and made"):
        assert checkpoint.load(tmp_path / "c.pt", CPU) is None


def test_a_seed_depends_on_every_part_of_the_key() -> None:
    assert derive_seed("digits", 0, "real") == 7351066252383515508
    assert len({derive_seed("a", "b"), derive_seed("ab"), derive_seed("b", "a"), derive_seed("a", "b", "")}) == 4
    assert all(0 <= derive_seed(number) < 2**63 for number in range(100))


def test_named_generators_are_made_once_and_differ() -> None:
    generators = Generators("digits", 0)
    assert generators.get("a") is generators.get("a")
    assert generators.get("a").initial_seed() == derive_seed("digits", 0, "a")
    assert generators.get("a").initial_seed() != generators.get("b").initial_seed()
    assert Generators("digits", 1).get("a").initial_seed() != generators.get("a").initial_seed()


def test_generators_are_put_back_and_later_ones_start_anew() -> None:
    generators = Generators("k")
    generators.get("a")
    states = generators.get_state()
    first = torch.rand(2, generator=generators.get("a"))
    late = torch.rand(2, generator=generators.get("late"))
    generators.set_state(states)
    assert torch.equal(torch.rand(2, generator=generators.get("a")), first)
    assert torch.equal(torch.rand(2, generator=generators.get("late")), late)


def test_a_generator_made_after_restoring_goes_on_where_it_was() -> None:
    generators = Generators("k")
    torch.rand(3, generator=generators.get("a"))
    states = generators.get_state()
    expected = torch.rand(2, generator=generators.get("a"))
    resumed = Generators("k")
    resumed.set_state(states)
    assert torch.equal(resumed.get_state()["a"], states["a"])
    assert torch.equal(torch.rand(2, generator=resumed.get("a")), expected)


def test_an_adopted_generator_is_saved_and_put_back() -> None:
    generators, own = Generators("k"), seeded(5)
    generators.adopt("own", own)
    states = generators.get_state()
    first = torch.rand(2, generator=own)
    generators.set_state(states)
    assert torch.equal(torch.rand(2, generator=own), first)
