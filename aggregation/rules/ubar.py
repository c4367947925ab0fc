"""UBAR (also MOZI): the nearest neighbours, then those that do no worse on own data."""

from __future__ import annotations

import math

import torch

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Need, Rule, Verdict, Weights
from aggregation.parts.integration import weighted_mean
from aggregation.parts.neighbourhood import neighbourhood
from aggregation.rules.balance import own_and_accepted


def ubar(rho: float = 0.4, alpha: float = 0.5) -> Rule:
    """alpha x_i + (1 - alpha) mean of the accepted: of the ceil(rho n) nearest neighbours those with loss <= own loss.

    n counts neighbours that are here. Losses are means over own samples; one that is not a number is not accepted.
    Nobody accepted: own model.

    Args:
        rho: share of neighbours that may be honest, in (0, 1].
        alpha: share of the own model, in [0, 1].

    Source: S. Guo et al., "Byzantine-Resilient Decentralized Stochastic Gradient Descent", arXiv 2002.08569 (2020).
    Differs: when nobody passes the second stage the published rule takes the best of the first; here the own model
        stays.

    Raises:
        RuleError: a parameter out of its range; evidence without a probe.
    """
    if not (0 < rho <= 1 and 0 <= alpha <= 1):
        raise RuleError(f"ubar: 0 < rho <= 1, 0 <= alpha <= 1, got {rho}, {alpha}")

    def weigh(evidence: Evidence) -> Weights:
        if evidence.probe is None:
            raise RuleError("ubar needs own samples to measure losses on")
        around = neighbourhood(evidence)
        width = evidence.neighbours.shape[-1]
        quota = torch.ceil(rho * around.heard.sum(dim=-1, keepdim=True) - 1e-9).long()
        order = torch.where(around.heard, around.lengths, torch.inf).argsort(dim=-1, stable=True)
        first = order[..., : math.ceil(rho * width - 1e-9)]
        near = torch.arange(first.shape[-1], device=first.device) < quota
        values = evidence.table.values
        accepted = torch.zeros_like(around.heard)
        if first.shape[-1]:
            index = around.index[..., 1:].gather(-1, first)
            mine = evidence.probe.loss(values[evidence.own].unsqueeze(-2))
            better = near & (evidence.probe.loss(values[index]) <= mine)
            accepted = accepted.scatter(-1, first, better)
        judged = torch.zeros_like(around.heard).scatter(-1, first, near)
        around.verdicts[around.heard & ~judged] = int(Verdict.FAR)
        around.verdicts[judged & ~accepted] = int(Verdict.HARMFUL)
        return own_and_accepted(evidence, accepted, alpha, around.verdicts)

    return Rule("ubar", weigh, weighted_mean, frozenset({Need.SCORES}))
