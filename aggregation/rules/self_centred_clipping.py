"""Rules that only clip: self-centred clipping with an adaptive bound, and CS+.

Each neighbour pulls the own model by clip(x_j - x_i, tau); the rules differ in tau (`aggregation.parts.clipping`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Rule, Verdict, Weights
from aggregation.parts.clipping import adaptive_bound, breakdown_bound, shrink
from aggregation.parts.integration import weighted_mean
from aggregation.parts.neighbourhood import Neighbourhood, neighbourhood


def scc(bad: float = 0.2) -> Rule:
    """Self-centred clipping: x_i + sum_j W_ij clip(x_j - x_i, tau_i), W_ij = 1 / (n + 1), tau by `adaptive_bound`.

    Args:
        bad: b in (0, .5), the share of weight assumed to be bad.

    No neighbour: own model. One: the mean of both (its weight exceeds b, so nothing is clipped).

    Source: L. He, S. P. Karimireddy, M. Jaggi, "Byzantine-Robust Decentralized Learning via ClippedGossip",
        arXiv 2202.01545 (2022).

    Raises:
        RuleError: bad outside (0, .5).
    """
    _check("scc", bad)
    return Rule("scc", lambda evidence: _clipped(evidence, adaptive_bound, bad), weighted_mean)


def cs_plus(bad: float = 0.2) -> Rule:
    """CS+: as `scc`, with tau by `breakdown_bound`: at least 2b of the weight is clipped to the same length.

    Source: R. Gaucher, A. Dieuleveut, H. Hendrikx, "Unified Breakdown Analysis for Byzantine Robust Gossip",
        arXiv 2410.10418 (2024).

    Raises:
        RuleError: bad outside (0, .5).
    """
    _check("cs-plus", bad)
    return Rule("cs-plus", lambda evidence: _clipped(evidence, breakdown_bound, bad), weighted_mean)


def _clipped(evidence: Evidence, bound: Callable[[Neighbourhood, float], Tensor], bad: float) -> Weights:
    around = neighbourhood(evidence)
    tau = bound(around, bad)
    factors = torch.where(around.heard, shrink(around.lengths, tau), torch.zeros_like(around.lengths))
    pulled = factors / around.count.unsqueeze(-1)
    dtype = evidence.table.values.dtype
    verdicts = around.verdicts
    verdicts[around.heard & (factors < 1)] = int(Verdict.CLIPPED)
    return Weights(own=(1 - pulled.sum(dim=-1)).to(dtype), neighbours=pulled.to(dtype), verdicts=verdicts)


def _check(name: str, bad: float) -> None:
    if not 0 < bad < 0.5:
        raise RuleError(f"{name}: bad must lie between 0 and .5, got {bad}")
