"""The leaderboard as a folder of pages that opens from disk, a pure function of records, published figures and code."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ddbench.errors import UserError
from ddbench.site.content import read_content
from ddbench.site.pages import files

MARK = ".ddbench-site"
"""file that marks a folder as a site, which may be replaced"""

__all__ = ["write_site"]


def write_site(folder: Path, out: Path, documentation: str = "") -> Path:
    """Write the pages of the records below a folder; an older site in `out` is replaced as a whole.

    Args:
        folder: a folder with records, artefacts and maybe `published.yaml`
        out: a new or empty folder, or an older site
        documentation: a path below `out` that the pages lead to, and that something else writes; empty for none

    Returns:
        The path of the page to open.

    Raises:
        UserError: when there are no records, one of them is not valid, or `out` holds something else.
    """
    if out.exists() and not (out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir()))):
        raise UserError(f"{out} holds something that is no site; name a new or empty folder with --site")
    content = read_content(folder)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as work:
            built = Path(work) / "site"
            for name, data in [(MARK, b""), *files(content, documentation)]:
                path = built / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            if out.exists():
                shutil.rmtree(out)
            built.rename(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; name another folder with --site") from error
    return out / "index.html"
