"""Nearest-neighbour mixing: each row becomes the mean of those nearest to it, so that who stands apart counts little.

Source: Y. Allouah et al., "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity", arXiv 2302.01772
(2023).
"""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.parts.neighbourhood import Neighbourhood


def nearest_shares(squares: Tensor, present: Tensor, faults: Tensor) -> Tensor:
    """Mixing matrix: row k takes 1 / (m - f) of each of its m - f nearest rows, itself among them, ties by position.

    Args:
        squares: (..., m, m) squared distances.
        present: (..., m) bool.
        faults: (...,) int64 f < m.

    Returns:
        (..., m, m) float64, rows sum to 1; 0 in rows and columns of absent ones.
    """
    size = present.shape[-1]
    both = present.unsqueeze(-1) & present.unsqueeze(-2)
    itself = torch.eye(size, dtype=torch.bool, device=squares.device)
    order = torch.where(both, squares, torch.inf).masked_fill(itself, -1).argsort(dim=-1, stable=True)
    keep = (present.sum(dim=-1) - faults)[..., None, None]
    near = (torch.arange(size, device=squares.device) < keep).expand(squares.shape)
    chosen = torch.zeros_like(both).scatter(-1, order, near) & both
    return chosen.double() / keep


def held_near(around: Neighbourhood, kept: Tensor, bound: Tensor) -> Tensor:
    """Share of the m rows that count (own and kept) that hold a row among their m - b nearest, themselves included.

    Args:
        around: own model and n neighbours.
        kept: (..., n) bool, neighbours whose rows count.
        bound: (...,) int64 b < m.

    Returns:
        (..., n + 1) float64 in (0, 1], own first, sum m - b; 0 for rows that do not count. All 1 where b = 0.
    """
    here = torch.cat([torch.ones_like(around.present[..., :1]), kept], dim=-1)
    chosen = nearest_shares(around.squares, here, bound) > 0
    return chosen.sum(dim=-2).double() / here.sum(dim=-1, keepdim=True)
