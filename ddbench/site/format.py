"""Formatting of numbers, names and texts on the pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ddbench.io.atomic import canonical_json, digest

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"


def percent(share: float) -> str:
    """Write a share in [0, 1] in percent with one decimal."""
    return number(100 * share, 1)


def difference(share: float) -> str:
    """Write a difference of shares in percent points, with its sign."""
    text = number(100 * share, 1)
    return text if text.startswith(MINUS) else f"+{text}"


def number(value: float, decimals: int = 0) -> str:
    """Write a number with thousands separated and a true minus sign; never a negative zero.

    >>> number(-12345.67, 1) == f"{MINUS}12{THIN}345.7"
    True
    """
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace(",", THIN).replace("-", MINUS)


def significant(value: Any) -> str:
    """Write a measured number with four significant digits; other values as they are."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


Pairs = list[tuple[str, str]]


def pairs(mapping: Mapping[str, Any]) -> Pairs:
    return [(str(name), _text(value)) for name, value in mapping.items()]


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        return canonical_json(value).decode()
    return repr(value) if isinstance(value, float) else significant(value)


SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}")


def slug(name: str) -> str:
    """Return a file name for a name: the name itself where it is plain, otherwise its plain signs and a digest.

    >>> slug("dsa-1000@1")
    'dsa-1000@1'
    """
    if SAFE.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
    return f"{plain or 'name'}-{digest(name.encode())[-8:]}"


def board_page(board: str) -> str:
    return f"boards/{slug(board)}.html"


def method_page(method: str) -> str:
    return f"methods/{slug(method)}.html"


def protocol_page(protocol: str) -> str:
    return f"protocols/{slug(protocol)}.html"


def relative(page: str, target: str) -> str:
    """Return a link from one page to another, both given as paths inside the site."""
    return "../" * page.count("/") + target
