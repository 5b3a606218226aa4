"""Kernels of infinitely wide networks, and regression with them."""
