"""Files of `torch.save`: tensors in containers come back equal, nothing else is followed."""

from __future__ import annotations

import io
import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddbench.io.torch_files import OldFormat, load_tensors

FIVE = torch.arange(30.0).reshape(5, 6)
DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
]


def saved(path: Path, value: Any, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def rewritten(path: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    """The archive with other members, by the ends of their names."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, members.get(name.rpartition("/")[2].replace(".", "_"), content))
    return path


def instructions(path: Path, *steps: bytes) -> Path:
    """A file with a pickle of these instructions, and a storage of four numbers."""
    saved(path, torch.zeros(4))
    return rewritten(path, data_pkl=b"\x80\x02" + b"".join(steps) + b".")


@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint8, torch.bool])
def test_tensors_come_back_equal(tmp_path: Path, dtype: torch.dtype) -> None:
    loaded = load_tensors(saved(tmp_path / "x.pt", FIVE.to(dtype)))
    assert loaded.dtype == dtype
    assert torch.equal(loaded, FIVE.to(dtype))


@pytest.mark.parametrize(
    "tensor",
    [
        FIVE.T, FIVE[1:3, ::2], FIVE.flatten()[7:], torch.tensor(0.5), torch.zeros(0), torch.zeros(3, 0),
        torch.nn.Parameter(FIVE),
    ],
    ids=["transposed", "strided", "offset", "scalar", "empty", "no columns", "parameter"],
)  # fmt: skip
def test_views_come_back_equal(tmp_path: Path, tensor: Tensor) -> None:
    loaded = load_tensors(saved(tmp_path / "x.pt", tensor))
    assert loaded.shape == tensor.shape
    assert torch.equal(loaded, tensor.detach())


def test_containers_and_plain_values_come_back_equal(tmp_path: Path) -> None:
    value = {
        "a": [1, -2, 300, 70_000, 2**40, 0.5, True, False, None, "x"],
        3: (),
        "b": (1,),
        "c": (1, 2),
        "d": (1, 2, 3),
    }
    value |= {"e": (1, 2, 3, 4), "f": {}, "g": [], "h": OrderedDict(), "i": [[]] * 3}
    assert load_tensors(saved(tmp_path / "x.pt", value)) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    value = {"data": [[FIVE.clone().requires_grad_(), array]], "more": [torch.nn.Parameter(FIVE), array, "é" * 300]}
    loaded = load_tensors(saved(tmp_path / "x.pt", OrderedDict(value), pickle_protocol=protocol))
    assert torch.equal(loaded["data"][0][0], FIVE)
    assert torch.equal(loaded["more"][0], FIVE)
    assert torch.equal(loaded["data"][0][1], torch.from_numpy(array))
    assert loaded["more"][1] is loaded["data"][0][1]
    assert loaded["more"][2] == "é" * 300


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3)[:, ::-1], np.zeros((0, 2)), np.array(3.0), np.arange(4, dtype=np.uint8),
        np.array([True, False]), np.arange(3, dtype=np.float16), np.arange(3, dtype=np.int8),
    ],
)  # fmt: skip
def test_arrays_of_numpy_come_back_as_tensors(tmp_path: Path, array: Any, protocol: int) -> None:
    loaded = load_tensors(saved(tmp_path / "x.pt", [array], pickle_protocol=protocol))[0]
    assert loaded.shape == array.shape
    assert torch.equal(loaded, torch.from_numpy(array.copy()))


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("array", [np.array(["a"]), np.array([{}], object), np.arange(3, dtype=">f4")])
def test_arrays_of_anything_else_are_refused(tmp_path: Path, array: Any, protocol: int) -> None:
    with pytest.raises(ValueError, match=r"^holds (an array of something else|more) than (plain|tensors)"):
        load_tensors(saved(tmp_path / "x.pt", [array], pickle_protocol=protocol))


def test_a_tensor_with_its_channels_last_keeps_its_axes(tmp_path: Path) -> None:
    images = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    loaded = load_tensors(saved(tmp_path / "x.pt", images.to(memory_format=torch.channels_last)))
    assert torch.equal(loaded, images)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    loaded = load_tensors(saved(tmp_path / "x.pt", {"a": [np.float64(0.5), np.int64(3), np.str_("x"), 1], "b": FIVE}))
    assert loaded["a"] == [0.5, 3, None, 1]
    assert torch.equal(loaded["b"], FIVE)


def test_tensors_may_share_their_numbers(tmp_path: Path) -> None:
    first, second = load_tensors(saved(tmp_path / "x.pt", [FIVE, FIVE.T]))
    assert torch.equal(first, second.T)


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = rewritten(saved(tmp_path / "x.pt", FIVE), zipfile.ZIP_DEFLATED)
    assert torch.equal(load_tensors(path), FIVE)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


REFUSED = r"^holds more than tensors and numbers \({}\), and was not read$"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Bomb(), "posix mkdir"),
        (torch.zeros(2, 2).to_sparse(), r"torch\.serialization _get_layout"),
        (torch.zeros(2, device="meta"), r"torch\._utils _rebuild_meta_tensor_no_storage"),
        (torch.zeros(2, dtype=torch.complex64), "torch ComplexFloatStorage"),
        (Path("x"), "pathlib.*"),
        ({1, 2}, "__builtin__ set"),
    ],
    ids=["code", "sparse", "meta", "complex", "path", "set"],
)
def test_whatever_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, what: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=REFUSED.format(what)):
        load_tensors(saved(tmp_path / "x.pt", value))
    assert not (tmp_path / "exploded").exists()


STORAGE = [
    b"(",
    b"X\x07\0\0\0storage",
    b"ctorch\nFloatStorage\n",
    b"X\x01\0\0\x000",
    b"X\x03\0\0\0cpu",
    b"K\x04",
    b"tQ",
]
TENSOR = [b"ctorch._utils\n_rebuild_tensor_v2\n", b"(", *STORAGE]
DOUBLED = [b"N", *[b"q\x05h\x05\x86"] * 60]  # 2^60 of nothing, in tuples of two
NAME = b"X\xe8\x03\0\0" + 1000 * b"a" + b"\x8c\x01a\x93"
DTYPE = [b"cnumpy\ndtype\n", b"X\x02\0\0\0f4\x85R"]
ARRAY = [b"cnumpy.core.multiarray\n_reconstruct\n)R"]
HUGE = b"\x8a\x06" + bytes(5) + b"\x01"  # 2^40


def test_instructions_make_a_tensor(tmp_path: Path) -> None:
    path = instructions(
        tmp_path / "x.pt", *TENSOR, b"K\x00", b"K\x02K\x02\x86", b"K\x02K\x01\x86", b"\x89", b"Nt", b"R"
    )
    assert load_tensors(path).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (
            [*TENSOR, b"K\x00", HUGE + b"\x85", b"K\x00\x85", b"\x89Nt", b"R"],
            r"a tensor of shape \(1099511627776,\) with 4 n",
        ),
        ([*TENSOR, b"K\x03", b"K\x04\x85", b"K\x01\x85", b"\x89Nt", b"R"], "is damaged"),  # numbers 3 to 6 of 4
        ([*TENSOR, b"K\x00", b"K\x04\x85", b"K\xff\x85", b"\x89Nt", b"R"], "is damaged"),  # steps of 255
        (
            [b"(", b"X\x07\0\0\0storage", b"ctorch\nFloatStorage\n", b"X\x01\0\0\x000", b"NK\x08", b"tQ"],
            "are not 8 numbers",
        ),
        (
            [b"(", b"X\x07\0\0\0storage", b"ctorch\nFloatStorage\n", b"X\x03\0\0\0../", b"NK\x08", b"tQ"],
            "has no .*/data/../$",
        ),
        ([b"ccollections\nOrderedDict\n", b"cos\nsystem\n", b"\x85", b"\x81"], REFUSED.format("NEWOBJ")),
        ([b"X\x02\0\0\0os", b"X\x06\0\0\0system", b"\x93)R"], REFUSED.format("os system")),
        ([b"K\x01K\x02\x93"], "a function without a name"),
        ([NAME, b"\x86R"], "is damaged"),
        ([*ARRAY, b"(K\x01" + HUGE + b"\x85", *DTYPE, b"\x89C\x04aaaatb"], "is damaged .*4 bytes are no"),
        ([*ARRAY, b"(K\x01)", *DTYPE, b"\x89Ntb"], "something else than plain numbers"),
        ([*ARRAY, b")b"], "an array without a state"),
        ([b"c_codecs\nencode\nX\x02\0\0\0\xc4\x80X\x06\0\0\0latin1\x86R"], "bytes that are none"),
        ([b"cos\nsystem\n", b"X\x02\0\0\0ls\x85", b"R"], REFUSED.format("os system")),
        ([b"c__builtin__\nbytearray\n", HUGE + b"\x85", b"R"], REFUSED.format("__builtin__ bytearray")),
        ([b"ctorch\nTensor\n", HUGE + b"\x85", b"R"], REFUSED.format("torch Tensor")),
        (
            [b"}", *[b"K\x01\x85q\x00h\x00\x86"], b"K\x01", b"s"],
            "a key that is no name",
        ),  # a hash of tuples may take for ever
        ([b"K\x01", b"K\x02", b"a"], "an item outside of a list"),
        ([*DOUBLED, b"K\x01\x85", b"R"], "a call of no function"),
        ([b"(NX\x05\0\0\0torch", *DOUBLED, b"NK\x04", b"tQ"], "a storage without a name"),
        ([b"(N", *DOUBLED, b"X\x01\0\0\x000", b"NK\x04", b"tQ"], "a storage without a name"),
        ([b"(NNt", b"Q"], "a storage without a name"),
        ([b"}(K\x01u"], "an item outside of a dictionary"),
        ([b"\xff"], "is damaged .*unknown"),
        (
            [b"ctorch._utils\n_rebuild_tensor_v2\n(", *STORAGE, b"K\0}K\x05", *DOUBLED, b"s)t", b"R"],
            "a tensor without sides",
        ),
        ([b"ctorch._utils\n_rebuild_tensor_v2\n(]K\0))t", b"R"], "a tensor without sides"),
        ([b"R"], "is damaged"),
        ([b"h\x07"], "is damaged"),
        ([b"t"], "is damaged"),
        ([], "is damaged"),
    ],
)
def test_instructions_that_lead_elsewhere_are_refused(tmp_path: Path, steps: list[bytes], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_tensors(instructions(tmp_path / "x.pt", *steps))


def test_nothing_stands_in_for_what_is_called_by_an_ordered_dictionary(tmp_path: Path) -> None:
    # PyTorch's reader would go over a tensor of 2^40 rows for the items of this dictionary.
    steps = [b"ccollections\nOrderedDict\n", *STORAGE, b"\x85", b"R"]
    assert load_tensors(instructions(tmp_path / "x.pt", *steps)) == {}


def test_storages_are_as_long_as_they_say(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", FIVE)
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data/0"))
    rewritten(path, **{"0": bytes(4)})
    with pytest.raises(ValueError, match=r"is damaged \(4 bytes are not 30 numbers\)"):
        load_tensors(path)
    assert name.endswith("data/0")


def test_too_many_instructions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddbench.io.torch_files.MOST_INSTRUCTIONS", 100)
    with pytest.raises(ValueError, match=r"^has a pickle of more than 100 instructions$"):
        load_tensors(saved(tmp_path / "x.pt", [FIVE] * 100))


def test_an_array_that_is_named_again_and_again_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddbench.io.torch_files.MOST_BYTES", 1000)
    text = b"X\x64\0\0\0" + 100 * b"a" + b"q\x00"
    again = b"c_codecs\nencode\nh\x00X\x06\0\0\0latin1\x86R"
    with pytest.raises(ValueError, match=r"^has arrays of more than 1000 bytes$"):
        load_tensors(instructions(tmp_path / "x.pt", text, *[again] * 22))
    with pytest.raises(ValueError, match=r"^has a pickle of more than 1000 bytes$"):
        load_tensors(instructions(tmp_path / "x.pt", text * 10))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(OldFormat, match=r"^is in the format of PyTorch before 1\.6$"):
        load_tensors(saved(path, FIVE, _use_new_zipfile_serialization=False))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^is truncated or no zip archive$"):
        load_tensors(path)
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"^is no file of torch\.save$"):
        load_tensors(path)
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "none.pt")
