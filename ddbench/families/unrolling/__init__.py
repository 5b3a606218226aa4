"""Differentiable training."""
