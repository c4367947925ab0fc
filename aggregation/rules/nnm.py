"""Nearest-neighbour mixing: each row becomes the mean of those nearest to it, before a trimmed mean."""

from __future__ import annotations

import torch

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Rule, Weights
from aggregation.parts.mixing import nearest_shares
from aggregation.parts.neighbourhood import column_blocks, neighbourhood
from aggregation.parts.winsorised import sorted_sum, trim_shares


def nnm_trimmed_mean(f: int = 1) -> Rule:
    """Trimmed mean (f at each end) of rows mixed with their m - f nearest, over own and neighbours' models.

    f is lowered to what m rows bear, floor((m - 1) / 2). No neighbour: own model; one: the mean of both.

    Args:
        f: dishonest neighbours to withstand.

    Source: Y. Allouah et al., "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
        arXiv 2302.01772 (2023).

    Raises:
        RuleError: f < 0.
    """
    if f < 0:
        raise RuleError(f"nnm-trimmed-mean: f must be >= 0, got {f}")

    def weigh(evidence: Evidence) -> Weights:
        around = neighbourhood(evidence)
        votes = around.present.to(evidence.table.values.dtype)
        return Weights(own=votes[..., 0], neighbours=votes[..., 1:], verdicts=around.verdicts)

    def integrate(evidence: Evidence, weights: Weights) -> Decision:
        around = neighbourhood(evidence)
        values, batch = evidence.table.values, evidence.own.shape
        voting = torch.cat([weights.own.unsqueeze(-1), weights.neighbours], dim=-1) > 0
        voting &= around.present
        count = voting.sum(dim=-1)
        bound = torch.div(count - 1, 2, rounding_mode="floor").clamp(min=0, max=f)
        size = around.index.shape[-1]
        mixing = nearest_shares(around.squares, voting, bound).to(values.dtype).reshape(-1, size, size)
        shares = trim_shares(count, bound, size).to(values.dtype).reshape(-1, size)
        index, own, absent = around.index.reshape(-1, size), evidence.own.reshape(-1), ~voting.reshape(-1, size)
        filler = torch.finfo(values.dtype).max
        params = values[own]
        for columns in column_blocks(values.shape[-1], 2 * index.numel()):
            part = values[:, columns]
            apart = part[index].sub_(part[own].unsqueeze(-2))
            mixed = torch.bmm(mixing, apart).masked_fill_(absent.unsqueeze(-1), filler)
            params[:, columns] += sorted_sum([lane.contiguous() for lane in mixed.unbind(1)], shares)
        return Decision(params=params.reshape(*batch, -1), weights=weights.neighbours, verdicts=weights.verdicts)

    return Rule("nnm-trimmed-mean", weigh, integrate)
