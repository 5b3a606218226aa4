"""Least squares over more rows than memory holds: batch after batch, as exactly as all at once."""

from __future__ import annotations

import torch
from torch import Tensor


def no_rows(columns: int, answers: int, device: torch.device) -> Tensor:
    """Return the triangle of no rows, (columns + answers, columns + answers) float64, to which `with_rows` adds."""
    return torch.zeros(columns + answers, columns + answers, dtype=torch.float64, device=device)


def with_rows(triangle: Tensor, design: Tensor, targets: Tensor) -> Tensor:
    """Return the triangle of a QR decomposition of all rows so far and of these.

    Args:
        triangle: of the rows so far
        design: A, (N, columns)
        targets: y, (N, answers)
    """
    rows = torch.cat([triangle, torch.cat([design, targets], 1)])
    found: Tensor = torch.linalg.qr(rows, mode="r").R
    return found


def solution(triangle: Tensor, columns: int) -> Tensor:
    """Return A+ y, (columns, answers), for the pseudo-inverse A+ of all rows: the shortest of the best solutions."""
    found: Tensor = torch.linalg.pinv(triangle[:columns, :columns]) @ triangle[:columns, columns:]
    return found


def residual(triangle: Tensor, columns: int) -> Tensor:
    """Return the sum of squares, (), that the solution leaves where the columns of A are independent."""
    return triangle[columns:, columns:].square().sum()
