"""Artefacts, files that describe themselves: reading, checking, drawing, converting and publishing them."""
