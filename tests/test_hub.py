"""The Hub: what is pushed to a stub of its HTTP interface comes back, also without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.records.files import dump_record
from ddbench.records.run_folder import record_beside
from factories import Call, make_record
from test_cards import HEADER, NETWORK

constants = pytest.importorskip(
    "huggingface_hub.constants", reason="huggingface_hub is not installed: pip install -e '.[test]'"
)
SHA = "0123456789abcdef0123456789abcdef01234567"


class Stub(BaseHTTPRequestHandler):
    """As much of the Hub's HTTP interface as one data set repository needs; its files are in memory."""

    files: dict[str, bytes]
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = urlsplit(self.path).path
        self.asked.append(f"POST {path}")
        if path == "/api/repos/create":
            self.reply(
                {
                    "url": f"http://{self.headers['Host']}/datasets/me/distilled",
                    "id": "me/distilled",
                    "name": "me/distilled",
                }
            )
        elif path == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            told = [each["path"] for each in json.loads(body)["files"]]
            self.reply({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in told]})
        elif path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply(
                {
                    "success": True,
                    "commitOid": SHA,
                    "commitUrl": f"http://{self.headers['Host']}/datasets/me/distilled/commit/{SHA}",
                }
            )
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        if path.startswith("/api/datasets/me/distilled/tree/"):
            self.reply(
                [
                    {"type": "file", "path": name, "oid": oid(data), "size": len(data)}
                    for name, data in self.files.items()
                ]
            )
        elif path.startswith("/api/datasets/me/distilled"):
            siblings = [{"rfilename": name} for name in self.files]
            self.reply({"_id": "x", "id": "me/distilled", "sha": SHA, "private": False, "siblings": siblings})
        elif "/resolve/" in path and (name := path.partition("/resolve/")[2].partition("/")[2]) in self.files:
            self.reply_bytes(self.files[name], {"ETag": f'"{oid(self.files[name])}"', "X-Repo-Commit": SHA})
        else:
            self.send_error(404)

    def reply(self, content: Any) -> None:
        self.reply_bytes(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def reply_bytes(self, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stub]]:
    """A server of an empty repository, and a cache of its own."""
    handler = type("OwnStub", (Stub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_stub")
    yield handler
    server.shutdown()
    server.server_close()


def distilled(folder: Path, method: str, accuracy: float, **changes: Any) -> Path:
    """An artefact and its record, as `ddbench distill` leaves them."""
    path = folder / f"{method}.safetensors"
    folder.mkdir(exist_ok=True)
    images = torch.full((20, 1, 8, 8), accuracy)
    made = DistilledDataset.pixels(images, torch.arange(10).repeat_interleave(2))
    made.with_provenance(HEADER | {"method": method}).save(path)
    record = make_record(
        method, 3, (accuracy,), artifact=file_digest(path), network=NETWORK, dataset="digits", ipc=2, **changes
    )
    write_atomically(record_beside(path), dump_record(record))
    return path


def test_what_is_pushed_comes_back_with_its_record(stub: type[Stub], tmp_path: Path) -> None:
    pushed = distilled(tmp_path / "own", "backprop", 0.9)
    assert ddbench.push(pushed, "me/distilled").endswith(SHA)
    (card,) = [data for name, data in stub.files.items() if name == "README.md"]
    assert b"dataset-distillation" in card
    found = ddbench.get("digits", 2, "me/distilled", out=tmp_path / "got.safetensors")
    assert found.path.read_bytes() == pushed.read_bytes()
    assert record_beside(found.path).read_bytes() == record_beside(pushed).read_bytes()
    assert found.sentence.startswith("backprop, digits, 2 a class: claims 90.0 % of convnet(depth=1) under ")


def test_a_second_set_keeps_the_card_and_the_best_is_chosen_on_request(stub: type[Stub], tmp_path: Path) -> None:
    for method, accuracy in (("backprop", 0.7), ("gradient_matching", 0.8)):
        ddbench.push(distilled(tmp_path / "own", method, accuracy), "me/distilled")
    assert sum(name == "README.md" for name in stub.files) == 1
    assert b"backprop" in stub.files["README.md"]
    with pytest.raises(UserError, match=r"2 sets fit for digits/ipc2 in me/distilled; name a --method, or take"):
        ddbench.get("digits", 2, "me/distilled", out=tmp_path / "x.safetensors")
    found = ddbench.get("digits", 2, "me/distilled", best=True, out=tmp_path / "x.safetensors")
    assert (found.record.result.cell.method, found.candidates) == ("gradient_matching", 2)
    by_alias = ddbench.get("digits", 2, "me/distilled", method="bptt", out=tmp_path / "y.safetensors")
    assert by_alias.record.result.cell.method == "backprop"


def test_sets_that_were_scored_differently_are_not_ranked(stub: type[Stub], tmp_path: Path) -> None:
    ddbench.push(distilled(tmp_path / "own", "backprop", 0.7, protocol="quick-300@1"), "me/distilled")
    ddbench.push(distilled(tmp_path / "own", "gradient_matching", 0.8, protocol="dsa-1000@1"), "me/distilled")
    with pytest.raises(UserError, match="do not compare"):
        ddbench.get("digits", 2, "me/distilled", best=True)
    found = ddbench.get("digits", 2, "me/distilled", best=True, protocol="quick-300@1", out=tmp_path / "z.safetensors")
    assert found.record.result.cell.method == "backprop"


def test_what_was_fetched_before_serves_without_a_network(
    stub: type[Stub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddbench.push(distilled(tmp_path / "own", "backprop", 0.9), "me/distilled")
    first = ddbench.get("digits", 2, "me/distilled", out=tmp_path / "a.safetensors").path
    asked = len(stub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = ddbench.get("digits", 2, "me/distilled", out=tmp_path / "b.safetensors").path
    assert again.read_bytes() == first.read_bytes()
    assert len(stub.asked) == asked


def test_an_exchanged_artefact_is_refused(stub: type[Stub], tmp_path: Path) -> None:
    ddbench.push(distilled(tmp_path / "own", "backprop", 0.9), "me/distilled")
    other = distilled(tmp_path / "other", "backprop", 0.1).read_bytes()
    (name,) = [name for name in stub.files if name.endswith(".safetensors")]
    stub.files[name] = other
    with pytest.raises(UserError, match="does not belong to its artefact"):
        ddbench.get("digits", 2, "me/distilled", out=tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_nothing_that_fits_names_what_is_there(stub: type[Stub], tmp_path: Path) -> None:
    ddbench.push(distilled(tmp_path / "own", "backprop", 0.9), "me/distilled")
    with pytest.raises(UserError, match=r"nothing fits for digits/ipc2 in me/distilled; there is backprop under"):
        ddbench.get("digits", 2, "me/distilled", method="herding")
    with pytest.raises(UserError, match=r"nothing fits for mnist/ipc1 in me/distilled; there is none"):
        ddbench.get("mnist", 1, "me/distilled")


def test_no_file_is_written_over(stub: type[Stub], tmp_path: Path) -> None:
    ddbench.push(distilled(tmp_path / "own", "backprop", 0.9), "me/distilled")
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    with pytest.raises(UserError, match="exists and is another"):
        ddbench.get("digits", 2, "me/distilled", out=tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["", "digits", "../x/y", "me/..", "a/b/c"])
def test_a_repository_is_an_owner_and_a_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDBENCH_HUB", raising=False)
    with pytest.raises(UserError, match="is no OWNER/NAME"):
        ddbench.get("digits", 1, name)


def test_a_hub_that_cannot_be_reached_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="the Hub did not answer for me/distilled"):
        ddbench.get("digits", 1, "me/distilled")


def test_the_commands_push_and_get(
    stub: type[Stub], tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDBENCH_HUB", "me/distilled")
    code, out, _ = call("push", distilled(tmp_path / "own", "backprop", 0.9), "--json")
    assert (code, json.loads(out)["address"].endswith(SHA)) == (0, True)
    code, out, err = call("get", "digits", "--ipc", 2, "--best", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["method"], said["accuracy"], said["candidates"]) == ("backprop", 0.9, 1)
    assert Path("digits-ipc2-backprop.safetensors").read_bytes() == (tmp_path / "own/backprop.safetensors").read_bytes()
