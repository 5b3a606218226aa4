"""What a record says about where it was made."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ddbench.compute import environment


def test_a_package_inside_of_somebodys_repository_has_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = environment.git_revision.__wrapped__
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "site" / "ddbench" / "compute" / "environment.py"))
    (tmp_path / "site").mkdir()
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "--quiet"], [*identity, "commit", "--quiet", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    assert revision() is None
    (tmp_path / ".git").rename(tmp_path / "site" / ".git")
    assert re.fullmatch("[0-9a-f]{12}", revision())
