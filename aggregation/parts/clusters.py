"""One cluster, one vote: of rows that are alike, only the nearest is heard."""

from __future__ import annotations

import torch
from torch import Tensor


def one_vote(similarity: Tensor, order: Tensor, present: Tensor, threshold: float) -> Tensor:
    """Who keeps its vote: in `order`, j does unless similarity_jk > threshold for a k that kept its own.

    Args:
        similarity: (..., n, n) symmetric.
        order: (..., n) positions of rows, first in line first (a permutation).
        present: (..., n) bool; absent rows have no vote and take none away.
        threshold: rows more alike than this share one vote.

    Returns:
        bool (..., n).
    """
    columns = order.unsqueeze(-2).expand(similarity.shape)
    alike = similarity.gather(-2, order.unsqueeze(-1).expand(similarity.shape)).gather(-1, columns) > threshold
    waiting = present.gather(-1, order)
    kept = torch.zeros_like(waiting)
    for rank in range(order.shape[-1]):
        rival = (alike[..., rank, :] & kept).any(dim=-1)
        kept[..., rank] = waiting[..., rank] & ~rival
    return torch.zeros_like(kept).scatter(-1, order, kept)


def nearest_first(lengths: Tensor, present: Tensor, before: Tensor | None = None) -> Tensor:
    """Line in which votes are kept: by distance, ties by position; some rows (..., n) before all others: (..., n)."""
    order = torch.where(present, lengths, torch.full_like(lengths, torch.inf)).argsort(dim=-1, stable=True)
    if before is None:
        return order
    late = (~before).gather(-1, order).to(torch.int8).argsort(dim=-1, stable=True)
    return order.gather(-1, late)
