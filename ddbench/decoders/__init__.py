"""Decoders, which turn an artefact's parts into training images. Each is pure and registered by name."""

from __future__ import annotations

from ddbench.decoders.base import (
    MOST_NUMBERS,
    Decoder,
    check_storage,
    decoded_shapes,
    make_decoder,
    parse_decoder,
    settings_of,
)
from ddbench.decoders.canvas import Canvas
from ddbench.decoders.hallucinators import Hallucinators
from ddbench.decoders.linear_bases import LinearBases
from ddbench.decoders.multi_formation import MultiFormation
from ddbench.decoders.pixels import Pixels

__all__ = [
    "MOST_NUMBERS",
    "Canvas",
    "Decoder",
    "Hallucinators",
    "LinearBases",
    "MultiFormation",
    "Pixels",
    "check_storage",
    "decoded_shapes",
    "make_decoder",
    "parse_decoder",
    "settings_of",
]
