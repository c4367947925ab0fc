"""The geometric median by smoothed Weiszfeld steps, from distances alone."""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Rule, Weights
from aggregation.parts.integration import weighted_mean
from aggregation.parts.neighbourhood import neighbourhood


def weiszfeld(squares: Tensor, present: Tensor, steps: int, smoothing: float) -> Tensor:
    """Convex weights of the smoothed geometric median: z = sum a_k x_k with a_k proportional to 1 / max(nu, |z - x_k|).

    Every iterate is a convex combination, so |z - x_k|^2 = sum_j a_j D_jk - 1/2 sum_jl a_j a_l D_jl: no row is touched.

    Args:
        squares: (..., m, m) squared distances D.
        present: (..., m) bool, at least one.
        steps: T >= 0 reweightings.
        smoothing: nu > 0, in the units of the distances.

    Returns:
        (..., m) weights that sum to 1, 0 for absent rows.

    Source: K. Pillutla, S. Kakade, Z. Harchaoui, "Robust Aggregation for Federated Learning", arXiv 1912.13445 (2019).
    Differs: starts from weights 1 / max(nu, lower median distance to the rows) instead of equal ones, so that T = 8
        steps suffice however far an outlier is.
    """
    usable = present.unsqueeze(-1) & present.unsqueeze(-2)
    far = torch.where(usable, squares, torch.full_like(squares, torch.inf)).sort(dim=-1).values
    middle = ((present.sum(dim=-1) - 1) // 2).unsqueeze(-1).unsqueeze(-1).expand(*squares.shape[:-1], 1)
    typical = far.gather(-1, middle).squeeze(-1).sqrt()
    weights = _inverse(typical, present, smoothing)
    for _ in range(steps):
        along = (squares @ weights.unsqueeze(-1)).squeeze(-1)
        spread = (along * weights).sum(dim=-1, keepdim=True) / 2
        weights = _inverse((along - spread).clamp(min=0).sqrt(), present, smoothing)
    return weights


def geometric_median(steps: int = 8, smoothing: float = 0.1) -> Rule:
    """Point with the least sum of distances to own and neighbours' models (RFA).

    No neighbour: own model; one: the point halfway.

    Raises:
        RuleError: steps < 0 or smoothing <= 0.
    """
    if steps < 0 or not smoothing > 0:
        raise RuleError(f"geometric-median: steps must be >= 0 and smoothing > 0, got {steps} and {smoothing}")

    def weigh(evidence: Evidence) -> Weights:
        around = neighbourhood(evidence)
        shares = weiszfeld(around.squares, around.present, steps, smoothing).to(evidence.table.values.dtype)
        return Weights(own=shares[..., 0], neighbours=shares[..., 1:], verdicts=around.verdicts)

    return Rule("geometric-median", weigh, weighted_mean)


def _inverse(distance: Tensor, present: Tensor, smoothing: float) -> Tensor:
    weights = torch.where(present, 1 / distance.clamp(min=smoothing), torch.zeros_like(distance))
    return weights / weights.sum(dim=-1, keepdim=True)
