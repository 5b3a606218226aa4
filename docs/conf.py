"""Sphinx builds these pages as a site: `sphinx-build -W docs site/docs`, beside the leaderboard's in `site/`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring

sys.path.insert(0, str(Path(__file__).resolve().parent))

import generated

import ddbench

project, author, release = "ddbench", "the ddbench authors", ddbench.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 170
nb_execution_in_temp = True
nb_render_markdown_format = "gfm"

default_role = "code"  # docstrings are plain English: `name` is code, and no reference
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "pydata_sphinx_theme"
html_title = "ddbench"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_sidebars = {"index": [], "tutorial": []}
html_show_sourcelink = False
html_theme_options = {
    "external_links": [{"name": "Leaderboard", "url": os.environ.get("DDBENCH_SITE", "../index.html")}],
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
}

REPOSITORY = os.environ.get("GITHUB_REPOSITORY", "")
"""owner and name of the repository, where a workflow builds the site"""
OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+([^)#]*)(#[^)]*)?\)")
"""a link to a file of the repository that is no page"""
CONTRIBUTING = re.compile(r"\[([^\]]*)\]\((?:\.\./)+CONTRIBUTING\.md")


def link_to_repository(app: Sphinx, document: str, source: list[str]) -> None:
    """Let links out of this folder lead to the repository; without one, they are text."""
    if app.env.docname.startswith("generated/"):
        return
    target = rf"[\1](https://github.com/{REPOSITORY}/blob/main/\2\3)" if REPOSITORY else r"\1"
    source[0] = OUTSIDE.sub(target, CONTRIBUTING.sub(r"[\1](generated/contributing.md", source[0]))


def read_sections(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Read `Args:` and `Raises:` of docstrings; a field's note is a sentence, in which a colon says no type."""
    if what not in ("attribute", "property"):
        lines[:] = GoogleDocstring(lines, what=what, name=name, obj=thing, options=options).lines()


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("builder-inited", lambda app: generated.write(Path(app.srcdir)))
    app.connect("source-read", link_to_repository)
