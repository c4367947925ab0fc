"""Combining models by weight: the integration that most rules share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from aggregation.evidence import Decision, Evidence, Weights


def weighted_mean(evidence: Evidence, weights: Weights) -> Decision:
    """(w_own x_own + sum_j w_j x_j) / (w_own + sum_j w_j).

    Rows of weight 0, absent rows and rows that are not finite are left out, not multiplied by 0; the own model too when it is
    not finite. Nothing left: the own model, as it is. One row left: that row, bit by bit.
    """
    index = torch.cat([evidence.own.unsqueeze(-1), evidence.neighbours], dim=-1)
    votes = torch.cat([weights.own.unsqueeze(-1), weights.neighbours], dim=-1)
    params = mean_of_rows(evidence.table.values, index, votes, evidence.table.usable(index), evidence.own)
    return Decision(params=params, weights=weights.neighbours, verdicts=weights.verdicts)


def mean_of_rows(values: Tensor, index: Tensor, votes: Tensor, usable: Tensor, fallback: Tensor) -> Tensor:
    """Weighted means of rows by number, without gathering them first.

    Args:
        values: (R, d) rows.
        index: (..., k) row numbers.
        votes: (..., k) weights, at least 0; they need not sum to 1.
        usable: (..., k) bool; others are left out.
        fallback: (...,) row number to return where nothing is left.

    Returns:
        (..., d), of the dtype of `values`.
    """
    batch, width, size = index.shape[:-1], index.shape[-1], values.shape[1]
    taken = (usable & (votes > 0)).reshape(-1, width)
    flat = index.reshape(-1, width)
    amounts = torch.where(taken, votes.reshape(-1, width).double(), 0.0)
    shares = (amounts / amounts.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)).to(values.dtype)
    counts = taken.sum(dim=-1)
    offsets = counts.cumsum(dim=0) - counts
    out = functional.embedding_bag(
        flat[taken], values, offsets, mode="sum", per_sample_weights=shares[taken]
    )
    # A bag of one row is that row: copied, so that not even the sign of a zero changes.
    single = counts <= 1
    if bool(single.any()):
        first = flat.gather(1, taken.to(torch.int8).argmax(dim=1, keepdim=True)).squeeze(1)
        rows = torch.where(counts == 0, fallback.reshape(-1), first)
        out[single] = values[rows[single]]
    return out.reshape(*batch, size)
