"""FLTrust: neighbours count as far as their update points where the own update points."""

from __future__ import annotations

import torch

from aggregation.evidence import Decision, Evidence, Need, Rule, Verdict, Weights
from aggregation.kernels.rows import weighted_sum
from aggregation.parts.neighbourhood import Neighbourhood, neighbourhood, updates


def fltrust() -> Rule:
    """s + (u_i + sum_j T_j |u_i| / |u_j| u_j) / (1 + sum_j T_j), T_j = max(0, cos(u_j, u_i)), u_j = x_j - s.

    s is the own model before local training. An own update of 0 trusts nobody; an update of 0 has no direction and is
    left out.
    No neighbour: own model.

    Source: X. Cao, M. Fang, J. Liu, N. Gong, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping",
        arXiv 2012.13995 (2020).
    Differs: the trusted update is the receiver's own, and it takes part with trust 1.
    """
    return Rule("fltrust", _trust, _rescale, frozenset({Need.START}))


def _trust(evidence: Evidence) -> Weights:
    around, lengths, cosines = _updates(evidence)
    trust = torch.where(around.heard & (lengths[..., 1:] > 0), cosines.clamp(0, 1), 0.0).to(evidence.table.values.dtype)
    around.verdicts[around.heard & (trust <= 0)] = int(Verdict.HARMFUL)
    return Weights(own=torch.ones_like(trust.sum(dim=-1)), neighbours=trust, verdicts=around.verdicts)


def _rescale(evidence: Evidence, weights: Weights) -> Decision:
    around, lengths, _ = _updates(evidence)
    assert evidence.start is not None
    heard = around.heard & (weights.neighbours > 0) & (lengths[..., 1:] > 0)
    votes = torch.where(heard, weights.neighbours.double(), torch.zeros_like(lengths[..., 1:]))
    total = weights.own.double() + votes.sum(dim=-1)
    safe = torch.where(heard, lengths[..., 1:], torch.ones_like(votes))
    pulls = votes * lengths[..., :1] / safe / total.unsqueeze(-1)
    mine = weights.own.double() / total
    rest = 1 - mine - pulls.sum(dim=-1)
    rows = torch.cat([evidence.start.unsqueeze(-1), around.index], dim=-1)
    shares = torch.cat([rest.unsqueeze(-1), mine.unsqueeze(-1), pulls], dim=-1)
    values = evidence.table.values
    params = weighted_sum(values, rows, shares.to(values.dtype))
    alone = (pulls == 0).all(dim=-1, keepdim=True)
    return Decision(
        params=torch.where(alone, values[evidence.own], params),
        weights=votes.to(values.dtype),
        verdicts=weights.verdicts,
    )


def _updates(evidence: Evidence) -> tuple[Neighbourhood, torch.Tensor, torch.Tensor]:
    around = neighbourhood(evidence)
    products = updates(evidence, around)
    lengths = torch.diagonal(products, dim1=-2, dim2=-1).clamp(min=0).sqrt()
    scale = lengths[..., 1:] * lengths[..., :1]
    cosines = torch.where(scale > 0, products[..., 0, 1:] / torch.where(scale > 0, scale, 1.0), torch.zeros_like(scale))
    return around, lengths, cosines
