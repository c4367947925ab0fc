"""BALANCE: accept what lies within a ball around the own model that shrinks as training goes on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Rule, Verdict, Weights
from aggregation.parts.integration import weighted_mean
from aggregation.parts.neighbourhood import neighbourhood


def balance(gamma: float = 0.3, kappa: float = 1.0, alpha: float = 0.5) -> Rule:
    """alpha x_i + (1 - alpha) mean of accepted x_j; j is accepted when |x_j - x_i| <= gamma exp(-kappa t / T) |x_i|.

    Nobody accepted: own model. In an open-ended run (T unknown) the ball does not shrink: t / T counts as 0.

    Args:
        gamma: size of the ball in units of |x_i|, > 0.
        kappa: how fast it shrinks, >= 0.
        alpha: share of the own model, in [0, 1].

    Source: M. Fang et al., "Byzantine-Robust Decentralized Federated Learning" (BALANCE), arXiv 2406.10416 (2024).

    Raises:
        RuleError: a parameter out of its range.
    """
    if not (gamma > 0 and kappa >= 0 and 0 <= alpha <= 1):
        raise RuleError(f"balance: gamma > 0, kappa >= 0, 0 <= alpha <= 1, got {gamma}, {kappa}, {alpha}")

    def weigh(evidence: Evidence) -> Weights:
        around = neighbourhood(evidence)
        progress = evidence.round / evidence.rounds if evidence.rounds else 0.0
        norms = evidence.table.geometry.products(evidence.own.unsqueeze(-1))[..., 0].double().clamp(min=0).sqrt()
        accepted = around.heard & (around.lengths <= gamma * math.exp(-kappa * progress) * norms)
        around.verdicts[around.heard & ~accepted] = int(Verdict.FAR)
        return own_and_accepted(evidence, accepted, alpha, around.verdicts)

    return Rule("balance", weigh, weighted_mean)


def own_and_accepted(evidence: Evidence, accepted: Tensor, alpha: float, verdicts: Tensor) -> Weights:
    """alpha for the own model, 1 - alpha shared among the accepted (..., n); nobody accepted: the own model alone."""
    count = accepted.sum(dim=-1)
    share = (1 - alpha) / count.clamp(min=1).to(evidence.table.values.dtype)
    mine = torch.where(count > 0, torch.full_like(share, alpha), torch.ones_like(share))
    votes = torch.where(accepted, share.unsqueeze(-1), torch.zeros_like(share.unsqueeze(-1)))
    return Weights(own=mine, neighbours=votes, verdicts=verdicts)
