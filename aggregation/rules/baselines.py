"""Rules that everything else is compared with: mean, median, trimmed mean, Krum, Multi-Krum.

Sources: D. Yin et al., "Byzantine-Robust Distributed Learning", arXiv 1803.01498 (median, trimmed mean); C. Fang, Z.
Yang, W. Bajwa, "BRIDGE: Byzantine-resilient decentralized gradient descent", arXiv 1908.08098 (trimmed mean in a node);
P. Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017 (Krum,
Multi-Krum).

In every one of them the own model is a row like any other, absent neighbours and those that are not finite are no rows,
and without neighbours the own model comes back bit by bit. n counts the rows, own included.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Integration, Rule, Verdict, Weighting, Weights
from aggregation.kernels.rows import median
from aggregation.kernels.rows import trimmed_mean as sorted_rows_mean
from aggregation.parts.compose import compose
from aggregation.parts.integration import InPlace, weighted_mean


def everyone(evidence: Evidence) -> Weights:
    """Weight 1 for the own model and for every neighbour that is there and finite."""
    dtype = evidence.table.values.dtype
    present = evidence.present().to(dtype)
    return Weights(own=present.new_ones(evidence.own.shape), neighbours=present, verdicts=evidence.absence())


def trimmed_mean(f: int = 1) -> Integration:
    """Mean of each coordinate without its `f` lowest and `f` highest values.

    With fewer than 2 f + 1 rows as many are cut as leave one or two: then it is the median.

    Raises:
        RuleError: f below 0.
    """
    _check_f(f)

    return InPlace(lambda evidence, weights: _by_coordinate(evidence, weights, f))


def _median(evidence: Evidence, weights: Weights) -> Decision:
    return _by_coordinate(evidence, weights, None)


coordinate_median = InPlace(_median)
"""Median of each coordinate, own included; of an even number of rows the mean of the middle two."""


def krum_weighting(f: int = 1, selected: int = 1) -> Weighting:
    """Weight 1 for the rows nearest to their neighbours, 0 for the others, own included.

    The score of a row is the sum of its n - f - 2 smallest squared distances to other rows (of one at least: with n <=
    f + 2 rows the published number is below 1). The lowest scores are selected; among equal ones the own model, then
    the lowest peer id.

    Args:
        f: how many rows may be bad.
        selected: how many rows to select; 0 means n - f, at least 1.

    Raises:
        RuleError: f or selected below 0.
    """
    _check_f(f)
    if selected < 0:
        raise RuleError(f"m must be at least 0, not {selected}")

    def weigh(evidence: Evidence) -> Weights:
        index = torch.cat([evidence.own.unsqueeze(-1), evidence.neighbours], dim=-1)
        usable = evidence.table.usable(index)
        scores = krum_scores(evidence.table.geometry.squared_distances(index), usable, f)
        count = usable.sum(dim=-1, keepdim=True)
        quota = torch.full_like(count, selected) if selected else (count - f).clamp(min=1)
        place = torch.argsort(torch.argsort(scores, dim=-1, stable=True), dim=-1, stable=True)
        chosen = usable & (place < quota)
        votes = chosen.to(evidence.table.values.dtype)
        verdicts = evidence.absence()
        verdicts[usable[..., 1:] & ~chosen[..., 1:]] = int(Verdict.FAR)
        return Weights(own=votes[..., 0], neighbours=votes[..., 1:], verdicts=verdicts)

    return weigh


def krum_scores(squared_distances: Tensor, usable: Tensor, f: int) -> Tensor:
    """Sum of the n - f - 2 (at least 1) smallest squared distances of each row to other rows.

    Args:
        squared_distances: (..., k, k).
        usable: (..., k) bool; n is their number.
        f: how many rows may be bad.

    Returns:
        (..., k); infinite for rows that are not usable, 0 for a row without any other.
    """
    width = squared_distances.shape[-1]
    same = torch.eye(width, dtype=torch.bool, device=squared_distances.device)
    others = usable.unsqueeze(-1) & usable.unsqueeze(-2) & ~same
    nearest = torch.where(others, squared_distances, torch.inf).sort(dim=-1).values
    count = usable.sum(dim=-1)
    wanted = torch.minimum((count - f - 2).clamp(min=1), (count - 1).clamp(min=0))
    reach = torch.arange(width, device=count.device) < wanted.unsqueeze(-1)
    scores = torch.where(reach.unsqueeze(-2), nearest, 0.0).sum(dim=-1)
    return torch.where(usable, scores, torch.inf)


def _by_coordinate(evidence: Evidence, weights: Weights, f: int | None) -> Decision:
    table = evidence.table
    index = torch.cat([evidence.own.unsqueeze(-1), evidence.neighbours], dim=-1)
    votes = torch.cat([weights.own.unsqueeze(-1), weights.neighbours], dim=-1)
    usable = table.usable(index) & (votes > 0)
    rows = torch.where(usable, index, -1)
    room = evidence.room
    params = median(table.values, rows, room) if f is None else sorted_rows_mean(table.values, rows, f, room)
    empty = ~usable.any(dim=-1)
    if bool(empty.any()):
        params[empty] = table.values[evidence.own[empty]]
    verdicts = weights.verdicts.clone()
    verdicts[usable[..., 1:]] = int(Verdict.TRIMMED)
    return Decision(params=params, weights=weights.neighbours, verdicts=verdicts)


def _check_f(f: int) -> None:
    if f < 0:
        raise RuleError(f"f must be at least 0, not {f}")


def build_mean() -> Rule:
    """Plain mean of own and neighbours."""
    return compose(everyone, weighted_mean, "mean")


def build_median() -> Rule:
    """Coordinate-wise median."""
    return compose(everyone, coordinate_median, "median")


def build_trimmed_mean(f: int = 1) -> Rule:
    """Coordinate-wise trimmed mean."""
    return compose(everyone, trimmed_mean(f), "trimmed-mean")


def build_krum(f: int = 1) -> Rule:
    """The one row nearest to its neighbours replaces the model."""
    return compose(krum_weighting(f), weighted_mean, "krum")


def build_multi_krum(f: int = 1, m: int = 0) -> Rule:
    """Mean of the `m` rows of lowest Krum score; 0 means n - f."""
    return compose(krum_weighting(f, m), weighted_mean, "multi-krum")
