"""What a record says about where it was made."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ddbench.compute import environment


def test_a_package_inside_of_somebodys_repository_has_no_revision_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = environment.git_revision.__wrapped__
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "site" / "ddbench" / "compute" / "environment.py"))
    (tmp_path / "site").mkdir()
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "--quiet"], [*identity, "commit", "--quiet", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    monkeypatch.delenv("DDBENCH_REVISION", raising=False)
    assert revision() is None
    monkeypatch.setenv("DDBENCH_REVISION", 40 * "a")
    assert revision() == 12 * "a"
    (tmp_path / ".git").rename(tmp_path / "site" / ".git")
    assert re.fullmatch("[0-9a-f]{12}", revision())
    assert revision() != 12 * "a"


@pytest.mark.parametrize(
    ("named", "recorded"),
    [
        ("0123456789abcdef0123456789abcdef01234567", "0123456789ab"),
        ("0123456789abcdef+", "0123456789ab+"),
        ("0123456789AB", "0123456789ab"),
        ("", None),
    ],
)
def test_a_tree_without_git_takes_the_named_revision(
    named: str, recorded: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "ddbench" / "compute" / "environment.py"))
    monkeypatch.setenv("DDBENCH_REVISION", named)
    assert environment.git_revision.__wrapped__() == recorded


@pytest.mark.parametrize("named", ["0123456789a", 41 * "a", "main", "0123456789ag", "0123456789ab++"])
def test_what_names_no_commit_is_left_out_with_a_warning(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "ddbench" / "compute" / "environment.py"))
    monkeypatch.setenv("DDBENCH_REVISION", named)
    expected = re.escape(f"DDBENCH_REVISION is {named!r}, which names no commit, so that records name none; give 12 to")
    with pytest.warns(RuntimeWarning, match=expected):
        assert environment.git_revision.__wrapped__() is None
