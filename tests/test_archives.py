"""Zip archives: what is sound is read, sizes are looked at before anything is unpacked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from ddbench.io import archives
from ddbench.io.archives import open_archive


def npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def raw(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """An archive whose member `a.npy` holds these bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", content)
    return path


def array(shape: str, kind: str = "|u1", content: bytes = b"") -> bytes:
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return npy.magic(1, 0) + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["ä", "bc"]),
        np.zeros((0, 3), np.int64),
        np.float32(1.5),
        np.arange(3, dtype=">i8"),
    ],
)
def test_arrays_come_back_equal(tmp_path: Path, value: Any) -> None:
    with open_archive(npz(tmp_path / "a.npz", a=value)) as archive:
        assert archive.names == {"a.npy"}
        assert archive.array("a").tolist() == value.tolist()
        assert archive.array("a").dtype == value.dtype


def test_a_header_of_the_second_version_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    npy.write_array(buffer, np.arange(3), version=(2, 0))
    with open_archive(raw(tmp_path / "a.npz", buffer.getvalue())) as archive:
        assert archive.array("a").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (array("(1099511627776,)"), r"is damaged: 0 bytes are no uint8 of shape \(1099511627776,\)"),
        (array("(4294967296, 4294967296)"), "is damaged: 0 bytes"),  # 2^64, which is 0 in 64 bits
        (array("(-1,)"), "is damaged: 0 bytes"),
        (array("(2,)", content=b"123"), "is damaged: 3 bytes"),
        (array("(1099511627776,)", "<U0"), "holds elements of type <U0"),
        (array("(1,)", "|O", b"12345678"), "holds pickled Python objects, which are never loaded"),
        (array("(1,)", "<c8", bytes(8)), "holds elements of type complex64"),
        (array("(" * 3000), "is no array"),
        (array("__import__('os')"), "is no array"),
        (b"\x93NUMPY\x09\x00", "is no array"),
        (b"text", "is no array"),
    ],
)
def test_arrays_that_are_not_there_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with open_archive(raw(tmp_path / "a.npz", content)) as archive, pytest.raises(ValueError, match=reason):
        archive.array("a")


def flagged(path: Path) -> None:
    """Say that the member is encrypted."""
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def shortened(path: Path) -> None:
    """Say that the member has ten bytes more."""
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 24] += 10
    path.write_bytes(content)


def spoilt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("compression", "change", "reason"),
    [
        (zipfile.ZIP_LZMA, lambda path: None, "is encrypted, or compressed by something else than deflate"),
        (zipfile.ZIP_BZIP2, lambda path: None, "is encrypted, or compressed by something else than deflate"),
        (zipfile.ZIP_STORED, flagged, "is encrypted, or compressed by something else than deflate"),
        (zipfile.ZIP_STORED, shortened, "is damaged|is truncated"),
        (zipfile.ZIP_STORED, spoilt, "is damaged"),
        (zipfile.ZIP_DEFLATED, spoilt, "is damaged"),
    ],
)
def test_members_that_cannot_be_unpacked_are_refused(
    tmp_path: Path, compression: int, change: Callable[[Path], None], reason: str
) -> None:
    path = raw(tmp_path / "a.npz", array("(300,)", content=bytes(range(100)) * 3), compression)
    change(path)
    with open_archive(path) as archive, pytest.raises(ValueError, match=reason):
        archive.read("a.npy")


def test_all_that_is_read_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ROOM", 1000)
    monkeypatch.setattr(archives, "RATIO", 1)
    path = npz(tmp_path / "a.npz", a=np.zeros(10), b=np.zeros(60))  # 80 and 480 bytes, and headers of 128
    with open_archive(path) as archive:
        assert len(archive.read("b.npy")) == 608
        assert len(archive.read("a.npy")) == 208
        with pytest.raises(ValueError, match=r"^unpacks to more than 1 times the size of its file$"):
            archive.read("a.npy")


def test_a_large_file_may_unpack_to_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ROOM", 1000)
    path = npz(tmp_path / "a.npz", a=np.zeros(1000))
    assert path.stat().st_size * archives.RATIO > 8128
    with open_archive(path) as archive:
        assert len(archive.array("a")) == 1000


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"\x93NUMPY"])
def test_what_is_no_archive_of_arrays_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    reason = r"^(is truncated or no zip archive|is a single array and no archive|has no a\.npy)$"
    with pytest.raises(ValueError, match=reason), open_archive(tmp_path / "a.npz") as archive:
        archive.array("a")
