"""What an artefact says of its origin is followed where it is what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddbench.artifacts.provenance import check_provenance
from ddbench.errors import UserError

SOUND = {
    "dataset": "digits", "dataset_digest": "sha256:00", "method": "random_real", "ipc": 1,
    "network": {"name": "convnet", "parameters": {"width": 8}}, "preprocessing": {"kind": "normalize"},
    "protocol": "dsa-1000@1", "networks": 5, "git": None, "versions": {"torch": "2.6"},
}  # fmt: skip


def test_what_is_sound_passes_with_whatever_else_is_said() -> None:
    check_provenance(SOUND, Path("a"))
    check_provenance(SOUND | {"networks": None, "method": "converted from dc"}, Path("a"))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UserError, match=r"^a does not say its ipc, protocol; write it with `ddbench distill`$"):
        check_provenance({name: value for name, value in SOUND.items() if name not in ("ipc", "protocol")}, Path("a"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": "../x"}, "a says of its dataset: '../x'; a name begins with a letter or digit"),
        ({"dataset": "/etc/x.npz"}, "a says of its dataset: '/etc/x.npz'; a name begins with"),
        ({"dataset": ["digits"]}, "a says of its dataset: ['digits']; input should be a valid string"),
        ({"method": "\x1b[2J"}, r"a says of its method: '\x1b[2J'; a name begins with"),
        ({"ipc": True}, "a says of its ipc: True; input should be a valid integer"),
        ({"ipc": 0}, "a says of its ipc: 0; input should be greater than 0"),
        ({"network": "convnet"}, "a says of its network: 'convnet'; input should be a valid dictionary"),
        ({"network": {"name": "a\nb"}}, "a says of its network.name: "),
        ({"preprocessing": "zca"}, "a says of its preprocessing: 'zca'; input should be a valid dictionary"),
        ({"protocol": 5}, "a says of its protocol: 5; input should be a valid string"),
        ({"networks": 10**9}, "a says of its networks: 1000000000; input should be less than or equal to 1000"),
    ],
)
def test_what_is_not_sound_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        check_provenance(SOUND | changes, Path("a"))
    assert str(caught.value).startswith(sentence)
