"""Combining models by weight: the integration that most rules share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from aggregation.evidence import Decision, Evidence, Integration, Weights
from aggregation.kernels.rows import weighted_sum


@dataclass(frozen=True, slots=True)
class InPlace:
    """An integration that reads rows where they lie and writes into the evidence's room: many nodes take no memory."""

    combine: Integration

    def __call__(self, evidence: Evidence, weights: Weights) -> Decision:
        """Combine; see `Integration`."""
        return self.combine(evidence, weights)


def _weighted_mean(evidence: Evidence, weights: Weights) -> Decision:
    table = evidence.table
    index = torch.cat([evidence.own.unsqueeze(-1), evidence.neighbours], dim=-1)
    votes = torch.cat([weights.own.unsqueeze(-1), weights.neighbours], dim=-1)
    taken = table.usable(index) & (votes > 0)
    amounts = torch.where(taken, votes.double(), 0.0)
    shares = (amounts / amounts.sum(dim=-1, keepdim=True).clamp(min=1e-300)).to(table.values.dtype)
    params = weighted_sum(table.values, torch.where(taken, index, -1), shares, evidence.room)
    # A bag of one row is that row: copied, so that not even the sign of a zero changes.
    few = taken.sum(dim=-1) <= 1
    if bool(few.any()):
        first = index.gather(-1, taken.to(torch.int8).argmax(dim=-1, keepdim=True)).squeeze(-1)
        rows = torch.where(taken.any(dim=-1), first, evidence.own)
        params[few] = table.values[rows[few]]
    return Decision(params=params, weights=weights.neighbours, verdicts=weights.verdicts)


weighted_mean = InPlace(_weighted_mean)
"""(w_own x_own + sum_j w_j x_j) / (w_own + sum_j w_j).

Rows of weight 0, absent rows and rows that are not finite are left out, not multiplied by 0; the own model too when it
is not finite. Nothing left: the own model, as it is. One row left: that row, bit by bit.
"""
