"""Decoders: what turns an artefact's parts into training images. Each is pure and registered by name."""

from __future__ import annotations

from ddbench.decoders.base import Decoder
from ddbench.decoders.pixels import Pixels

__all__ = ["Decoder", "Pixels"]
