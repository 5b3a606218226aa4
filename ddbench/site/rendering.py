"""Render templates as bytes; everything that comes from records is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ddbench.leaderboard.columns import Strong
from ddbench.leaderboard.summaries import ENDINGS
from ddbench.site import docs
from ddbench.site.format import (
    MINUS,
    board_page,
    difference,
    method_page,
    number,
    percent,
    protocol_page,
    relative,
    significant,
    slug,
)

HERE = Path(__file__).resolve().parent
NAVIGATION = (
    ("index.html", "Leaderboard"),
    ("methods.html", "Methods"),
    ("protocols.html", "Protocols"),
    ("published.html", "Published figures"),
    ("methodology.html", "Methodology"),
)
BLANK = re.compile(r"\n\s*\n")
TAG = re.compile(r"<\w[^<>]*>")
"""first tag of an element; everywhere else, and in values, these signs are escaped"""
NEEDLESS_QUOTES = re.compile(r'="([\w./#:@%,+-]+)"(?=[\s>])')


class Renderer:
    """Renders pages, each with links relative to itself, so that they work when opened from a file.

    Args:
        documentation: path of the documentation inside the site; empty for none
    """

    def __init__(self, documentation: str = "") -> None:
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "percent": percent,
            "difference": difference,
            "number": number,
            "thousands": _thousands,
            "significant": significant,
            "markdown": docs.render_markdown,
            "inline": docs.render_inline,
            "slug": slug,
            "soft_half": _soft_half,
            "breakable": _breakable,
        }
        self._environment.tests["strong"] = lambda text: isinstance(text, Strong)
        self._environment.globals |= {
            "navigation": (*NAVIGATION, (documentation, "Documentation")) if documentation else NAVIGATION,
            "documentation": documentation,
            "endings": tuple(ENDINGS),
            "board_page": board_page,
            "method_page": method_page,
            "protocol_page": protocol_page,
        }

    def render(self, page: str, template: str, values: Mapping[str, Any]) -> bytes:
        """Return the bytes of a page.

        Args:
            page: path of the page inside the site
            values: values that the template shows
        """
        context = {**values, "page": page, "link": partial(relative, page)}
        text = self._environment.get_template(template).render(context)
        return (text if page.endswith(".xml") else compact(text)).encode()


def compact(text: str) -> str:
    """Return the page without blank lines, and without quotes where HTML needs none."""
    return TAG.sub(lambda tag: NEEDLESS_QUOTES.sub(r"=\1", tag.group()), BLANK.sub("\n", text))


def _breakable(name: str) -> Markup:
    """Let a long name break after an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _soft_half(text: str) -> Markup:
    """Set the half-width of `71.5 ± 0.5` apart, or leave its place empty where there is none."""
    mean, _, half = text.partition(" ± ")
    signed = f"{MINUS}{mean[1:]}" if re.match(r"-\d", mean) else mean
    return Markup("{} <i>{}</i>").format(signed, f"± {half}" if half else "")


def _thousands(text: object) -> str:
    """Group digits in threes; what is no whole number stays as it is."""
    return number(int(str(text))) if str(text).isdigit() else str(text)
