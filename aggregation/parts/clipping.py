"""Clipping: how far a neighbour may pull, clip(v, tau) = v min(1, tau / |v|)."""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.parts.neighbourhood import Neighbourhood


def shrink(lengths: Tensor, bound: Tensor) -> Tensor:
    """Factor min(1, tau / |v|) for vectors of these lengths: (..., n), (..., 1) -> (..., n); length 0 gives 1."""
    return torch.where(lengths > bound, bound / torch.where(lengths > 0, lengths, 1.0), 1.0)


def lower_median(values: Tensor, present: Tensor, votes: Tensor | None = None) -> Tensor:
    """Lower median over present entries: (..., n) -> (..., 1); 0 when there is none.

    Of unequal votes (..., n), the least entry such that it and those below it hold half of them.
    """
    if values.shape[-1] == 0:
        return values.new_zeros((*values.shape[:-1], 1))
    ordered, line = torch.where(present, values, torch.full_like(values, torch.inf)).sort(dim=-1, stable=True)
    count = present.sum(dim=-1, keepdim=True)
    place = (count - 1) // 2
    if votes is not None:
        reached = torch.where(present, votes, 0.0).gather(-1, line).cumsum(dim=-1)
        place = (2 * reached < reached[..., -1:]).sum(dim=-1, keepdim=True)
    middle = ordered.gather(-1, place.clamp(min=0))
    return torch.where(count > 0, middle, torch.zeros_like(middle))


def median_bound(around: Neighbourhood, factor: float, votes: Tensor | None = None) -> Tensor:
    """tau = factor x lower median of |x_j - x_i| over neighbours, by votes (..., n): (..., 1); factor 0: no bound.

    A majority of neighbours that repeat the own model makes tau 0: then nobody moves it.
    """
    if factor == 0:
        return torch.full((*around.heard.shape[:-1], 1), torch.inf, dtype=torch.float64, device=around.squares.device)
    return factor * lower_median(around.lengths, around.heard, votes)


def adaptive_bound(around: Neighbourhood, bad: float) -> Tensor:
    """tau of self-centred clipping: tau^2 = sum over the closest 1 - b of weight, of W_ij |x_j - x_i|^2, / b: (..., 1).

    Uniform W_ij = 1 / m, own row included (distance 0). The row that crosses 1 - b counts with its weight below that.
    """
    ordered, weight = _nearest_first(around)
    before = weight * torch.arange(ordered.shape[-1], device=ordered.device)
    part = (1 - bad - before).clamp(min=0).minimum(weight)
    square = part * torch.where(part > 0, ordered, 0.0) ** 2
    return (square.sum(dim=-1, keepdim=True) / bad).sqrt()


def breakdown_bound(around: Neighbourhood, bad: float) -> Tensor:
    """tau of CS+: the distance at which the weight of rows sorted by distance, own first, reaches 1 - 2b: (..., 1)."""
    ordered, weight = _nearest_first(around)
    rank = torch.ceil((1 - 2 * bad) / weight - 1e-9).long() - 1
    return ordered.gather(-1, rank.clamp(min=0).minimum(around.count.unsqueeze(-1) - 1))


def _nearest_first(around: Neighbourhood) -> tuple[Tensor, Tensor]:
    distance = around.squares[..., 0, :].sqrt()
    ordered = torch.where(around.present, distance, torch.full_like(distance, torch.inf)).sort(dim=-1).values
    return ordered, 1 / around.count.unsqueeze(-1).double()
