"""The Flag Aggregator: the mean of normalised updates within a subspace that most of them share."""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Need, Rule, Weights
from aggregation.kernels.rows import weighted_sum
from aggregation.parts.clipping import lower_median
from aggregation.parts.neighbourhood import neighbourhood, updates


def flag_coefficients(cosines: Tensor, present: Tensor, steps: int, floor: float = 1e-6) -> Tensor:
    """Coefficients c of the projected mean: Y Y^T (1/p) sum_j g_j = sum_j c_j g_j, for unit vectors g_j.

    Y spans the flag median of dimension m = ceil((p + 1) / 2): it lowers sum_j sqrt(1 - |Y^T g_j|^2) by reweighted
    least squares, w_j = 1 / max(floor, sqrt(1 - |Y^T g_j|^2)), Y = the m leading left singular vectors of
    G diag(sqrt(w)). All of it from the p x p matrix of cosines.

    Args:
        cosines: (..., k, k) float64, 0 where a row is absent.
        present: (..., k) bool; p of them, possibly 0.
        steps: reweightings.
        floor: smallest residual.

    Returns:
        (..., k) float64; 0 for absent rows.
    """
    count = present.sum(dim=-1, keepdim=True)
    rank = torch.div(count + 2, 2, rounding_mode="floor").minimum(count)  # ceil((p + 1) / 2), at most p
    size = cosines.shape[-1]
    leading = torch.arange(size, device=cosines.device) >= size - rank
    weight = present.double()
    span = torch.zeros_like(cosines)
    for _ in range(steps + 1):
        root = weight.sqrt()
        scaled = root.unsqueeze(-1) * cosines * root.unsqueeze(-2)
        values, vectors = torch.linalg.eigh(scaled)
        useful = leading & (values > 1e-12 * values[..., -1:].clamp(min=1e-300))
        inverse = torch.where(useful, 1 / torch.where(useful, values, 1.0), 0.0)
        span = root.unsqueeze(-1) * (vectors * inverse.unsqueeze(-2)) @ vectors.transpose(-1, -2) * root.unsqueeze(-2)
        inside = (cosines * (span @ cosines)).sum(dim=-2)
        residual = (1 - inside).clamp(min=0).sqrt()
        weight = torch.where(present, 1 / residual.clamp(min=floor), torch.zeros_like(residual))
    return (span @ cosines @ (present.double() / count.clamp(min=1)).unsqueeze(-1)).squeeze(-1)


def flag(steps: int = 10) -> Rule:
    """s + r Y Y^T mean_j u_j / |u_j|, u_j = x_j - s over own and neighbours, r the lower median of |u_j|.

    s is the own model before local training. Updates of length 0 have no direction and are left out; no neighbour left:
    own model.

    Args:
        steps: reweightings of the flag median, >= 0.

    Source: H. Almasi et al., "Flag Aggregator: Scalable Distributed Training under Failures and Augmented Losses
        using Convex Optimization", arXiv 2302.05865 (2023).

    Raises:
        RuleError: steps < 0; evidence without a start.
    """
    if steps < 0:
        raise RuleError(f"flag: steps must be >= 0, got {steps}")

    def weigh(evidence: Evidence) -> Weights:
        around = neighbourhood(evidence)
        ones = around.heard.to(evidence.table.values.dtype)
        return Weights(own=torch.ones_like(ones.sum(dim=-1)), neighbours=ones, verdicts=around.verdicts)

    def project(evidence: Evidence, weights: Weights) -> Decision:
        around = neighbourhood(evidence)
        products = updates(evidence, around)
        assert evidence.start is not None
        lengths = torch.diagonal(products, dim1=-2, dim2=-1).clamp(min=0).sqrt()
        own = torch.ones_like(around.present[..., :1])
        voting = torch.cat([own, weights.neighbours > 0], dim=-1) & around.present & (lengths > 0)
        unit = torch.where(voting, 1 / torch.where(voting, lengths, 1.0), 0.0)
        shares = flag_coefficients(unit.unsqueeze(-1) * products * unit.unsqueeze(-2), voting, steps)
        pulls = shares * unit * lower_median(lengths, voting)
        rows = torch.cat([evidence.start.unsqueeze(-1), around.index], dim=-1)
        values = evidence.table.values
        mixed = torch.cat([1 - pulls.sum(dim=-1, keepdim=True), pulls], dim=-1)
        params = weighted_sum(values, rows, mixed.to(values.dtype))
        still = ~voting[..., 1:].any(dim=-1, keepdim=True)
        return Decision(
            params=torch.where(still, values[evidence.own], params),
            weights=weights.neighbours,
            verdicts=weights.verdicts,
        )

    return Rule("flag", weigh, project, frozenset({Need.START}))
