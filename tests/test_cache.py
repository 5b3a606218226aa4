"""What several cells compute alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ddbench.meter.cache import Cache, CachedTensors

CPU = torch.device("cpu")
KEY = {"experts": 2}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", {"threads": 1})


def entry(value: float = 1.0) -> CachedTensors:
    return CachedTensors({"w": torch.full((2, 2), value)}, 2.5, {"experts": 4})


def file_of(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache").iterdir()
    return path


def test_what_was_put_is_got(cache: Cache) -> None:
    assert cache.get("experts", KEY, CPU) is None
    cache.put("experts", KEY, entry())
    found = cache.get("experts", KEY, CPU)
    assert found is not None
    assert found.tensors["w"].tolist() == [[1, 1], [1, 1]]
    assert (found.seconds, found.steps) == (2.5, {"experts": 4})


def test_the_name_the_key_and_the_context_count(cache: Cache, tmp_path: Path) -> None:
    cache.put("experts", KEY, entry())
    assert cache.get("teachers", KEY, CPU) is None
    assert cache.get("experts", {"experts": 3}, CPU) is None
    assert Cache(tmp_path / "cache", {"threads": 2}).get("experts", KEY, CPU) is None
    assert Cache(tmp_path / "cache", {"threads": 1}).get("experts", dict(KEY), CPU) is not None


def test_the_order_of_a_key_does_not_count(cache: Cache) -> None:
    assert cache.key("n", {"a": 1, "b": 2}) == cache.key("n", {"b": 2, "a": 1})


@pytest.mark.parametrize("data", [b"", b"no safetensors", None])
def test_a_damaged_entry_is_made_again(cache: Cache, tmp_path: Path, data: bytes | None) -> None:
    cache.put("experts", KEY, entry())
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] if data is None else data)
    with pytest.warns(RuntimeWarning, match=rf"^{path} is damaged \(it is not what was written\); it is kept as "):
        assert cache.get("experts", KEY, CPU) is None
    assert path.with_name(f"{path.name}.damaged").exists()
    cache.put("experts", KEY, entry(3.0))
    found = cache.get("experts", KEY, CPU)
    assert found is not None
    assert found.tensors["w"][0, 0] == 3


def test_an_entry_without_a_header_is_made_again(cache: Cache, tmp_path: Path) -> None:
    import safetensors.torch

    cache.put("experts", KEY, entry())
    path = file_of(tmp_path)
    for header in (None, {"ddbench": "{}"}, {"ddbench": "x"}):
        safetensors.torch.save_file({"w": torch.zeros(1)}, path, header)
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert cache.get("experts", KEY, CPU) is None


@pytest.mark.parametrize("part", ["seconds", "2.5", "experts", ""])
def test_one_changed_bit_is_noticed(cache: Cache, tmp_path: Path, part: str) -> None:
    cache.put("experts", KEY, entry())
    path = file_of(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(part.encode()) if part else -1] ^= 1
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="is damaged"):
        assert cache.get("experts", KEY, CPU) is None


def test_every_type_and_shape_is_kept(cache: Cache) -> None:
    tensors = {
        "half": torch.ones(2, 3, dtype=torch.bfloat16),
        "none": torch.zeros(0, 4),
        "one": torch.tensor(7),
        "marks": torch.tensor([True, False]),
    }
    cache.put("experts", KEY, CachedTensors(tensors, 0.0, {}))
    found = cache.get("experts", KEY, CPU)
    assert found is not None
    for name, tensor in tensors.items():
        assert (found.tensors[name].dtype, found.tensors[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found.tensors[name], tensor)


def test_views_of_one_tensor_are_stored_apart(cache: Cache) -> None:
    flat = torch.arange(6.0, requires_grad=True)
    first, second = flat.split(3)
    cache.put("experts", KEY, CachedTensors({"a": first, "b": second, "c": flat.view(2, 3).T}, 0.0, {}))
    found = cache.get("experts", KEY, CPU)
    assert found is not None
    assert found.tensors["b"].tolist() == [3, 4, 5]
    assert found.tensors["c"].tolist() == [[0, 3], [1, 4], [2, 5]]
