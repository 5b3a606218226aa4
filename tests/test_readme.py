"""The README and its companions: the method is the one that `ddbench new` writes, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ddbench.cli.registry import new_method

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Return the fragments that lead to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_method_of_the_readme_is_the_one_that_new_writes(tmp_path: Path) -> None:
    written = new_method("mine", tmp_path).read_text()
    assert f"```python\n{written}```\n" in PAGES[0].read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    elsewhere = ("http", "generated/")  # pages that the documentation's build makes, and follows links to
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if not link.startswith(elsewhere)]
    for link in links:
        place, _, fragment = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link
