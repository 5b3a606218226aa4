"""A method's file as git has it at the revision that a record names."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ddbench.errors import UserError
from ddbench.io.atomic import digest
from ddbench.records.source_digest import PREFIX, file_source_digest

ROOT = Path(__file__).resolve().parents[2]
REVISION = re.compile(r"[0-9a-f]{7,40}")
FORMER = "ddbench/matching"
"""folder of the parts of methods that digests of the old rule covered"""


def committed_digest(path: Path, revision: str, recorded: str) -> str | None:
    """Return the digest that a method's file had at a revision, by the rule of the recorded one.

    Args:
        path: of the file as it is now
        revision: a commit's hash, or its beginning

    Returns:
        None where git does not tell: there is no such file at that revision, or the old rule covered parts beside it.

    Raises:
        UserError: when this clone has no such revision.
    """
    if not REVISION.fullmatch(revision) or _git("cat-file", "-e", f"{revision}^{{commit}}") is None:
        raise UserError(f"revision {revision!r} is not in this clone; fetch it, or run again from a commit that is")
    place = path.resolve()
    if ROOT not in place.parents:
        return None
    name = place.relative_to(ROOT).as_posix()
    if recorded.startswith(PREFIX):
        return _digest_at(revision, name)
    content = _git("show", f"{revision}:{name}")
    return None if content is None or _git("cat-file", "-e", f"{revision}:{FORMER}") is not None else digest(content)


def _digest_at(revision: str, name: str) -> str | None:
    archive = _git("archive", revision, name, "ddbench")
    if archive is None:
        return None
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        tree.extractall(folder, filter="data")
        return file_source_digest(Path(folder, name), Path(folder, "ddbench"))


def _git(*arguments: str) -> bytes | None:
    """What a git command prints; None where it fails."""
    command = ["git", "-C", str(ROOT), "-c", "safe.directory=*", *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
