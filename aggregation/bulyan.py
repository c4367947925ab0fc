"""Bulyan: Krum again and again until enough rows are chosen; then, per coordinate, the mean around their median."""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.compose import RuleError, RuleSpec
from aggregation.evidence import Decision, Evidence, Rule, Verdict, Weights
from aggregation.neighbourhood import column_blocks, neighbourhood


def bulyan_faults(count: Tensor, faults: int) -> Tensor:
    """f that m rows can bear: min(f, floor((m - 3) / 4)), at least 0: (...,) -> (...,)."""
    return torch.div(count - 3, 4, rounding_mode="floor").clamp(min=0, max=faults)


def bulyan_selection(squares: Tensor, present: Tensor, faults: Tensor) -> Tensor:
    """Rows chosen by Krum applied m - 2f times to those that remain.

    Krum's score of a row among r remaining: sum of its r - f - 2 (at least 1) smallest squared distances to the
    others; the lowest score is chosen. Two rows that are each other's nearest tie whenever one distance counts
    (always near the end), so ties go to the row with the smaller sum of squared distances to all m rows, then to the
    first.

    Args:
        squares: (..., m, m) squared distances.
        present: (..., m) bool.
        faults: (...,) int64 f.

    Returns:
        bool (..., m).
    """
    size = present.shape[-1]
    itself = torch.eye(size, dtype=torch.bool, device=squares.device)
    waiting, chosen = present.clone(), torch.zeros_like(present)
    wanted = present.sum(dim=-1) - 2 * faults
    overall = torch.where(present.unsqueeze(-2), squares, 0.0).sum(dim=-1)
    ranks = torch.arange(size, device=squares.device)
    for step in range(size):
        open_pairs = waiting.unsqueeze(-1) & waiting.unsqueeze(-2) & ~itself
        ordered = torch.where(open_pairs, squares, torch.inf).sort(dim=-1).values
        remaining = waiting.sum(dim=-1)
        near = (remaining - faults - 2).clamp(min=1)[..., None, None]
        score = torch.where((ranks < near) & torch.isfinite(ordered), ordered, 0.0).sum(dim=-1)
        score = torch.where(waiting, score, torch.inf)
        tied = waiting & (score == score.amin(dim=-1, keepdim=True))
        best = torch.where(tied, overall, torch.inf).argmin(dim=-1, keepdim=True)
        pick = torch.zeros_like(waiting).scatter(-1, best, True) & waiting & (step < wanted).unsqueeze(-1)
        chosen |= pick
        waiting &= ~pick
    return chosen


def around_median(rows: Tensor, present: Tensor, keep: Tensor) -> Tensor:
    """Mean, per coordinate, of the `keep` present values nearest to their median (ties: the lower value).

    Args:
        rows: (..., m, d), finite where present.
        present: (..., m) bool, at least one.
        keep: (...,) int64, 1 to the number present.

    Returns:
        (..., d).
    """
    ordered = torch.where(present.unsqueeze(-1), rows, torch.inf).sort(dim=-2).values
    count = present.sum(dim=-1)[..., None, None].expand(*rows.shape[:-2], 1, rows.shape[-1])
    low, high = ordered.gather(-2, (count - 1) // 2), ordered.gather(-2, count // 2)
    order = (ordered - (low + high) / 2).abs().argsort(dim=-2, stable=True)
    near = torch.arange(rows.shape[-2], device=rows.device).unsqueeze(-1) < keep[..., None, None]
    return torch.where(near, ordered.gather(-2, order), 0.0).sum(dim=-2) / keep.unsqueeze(-1)


def bulyan(f: int = 1) -> Rule:
    """Of m rows, own included, theta = m - 2f by Krum; then per coordinate the mean of theta - 2f around the median.

    f is lowered to what the rows bear, floor((m - 3) / 4): with fewer than 7 rows nothing is defended and the result is
    the mean.

    Args:
        f: dishonest neighbours to withstand.

    Source: E. M. El Mhamdi, R. Guerraoui, S. Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium",
        arXiv 1802.07927 (2018).

    Raises:
        RuleError: f < 0.
    """
    if f < 0:
        raise RuleError(f"bulyan: f must be >= 0, got {f}")

    def weigh(evidence: Evidence) -> Weights:
        around = neighbourhood(evidence)
        chosen = bulyan_selection(around.squares, around.present, bulyan_faults(around.count, f))
        around.verdicts[around.heard & ~chosen[..., 1:]] = int(Verdict.FAR)
        votes = chosen.to(evidence.table.values.dtype)
        return Weights(own=votes[..., 0], neighbours=votes[..., 1:], verdicts=around.verdicts)

    def integrate(evidence: Evidence, weights: Weights) -> Decision:
        around = neighbourhood(evidence)
        values = evidence.table.values
        voting = torch.cat([weights.own.unsqueeze(-1), weights.neighbours], dim=-1) > 0
        voting &= around.present
        keep = (voting.sum(dim=-1) - 2 * bulyan_faults(around.count, f)).clamp(min=1)
        params = values[evidence.own]
        for columns in column_blocks(values.shape[-1], around.index.numel()):
            params[..., columns] = around_median(values[:, columns][around.index], voting, keep)
        return Decision(params=params, weights=weights.neighbours, verdicts=weights.verdicts)

    return Rule("bulyan", weigh, integrate)


SPECS = (
    RuleSpec(
        "bulyan",
        "El Mhamdi, Guerraoui, Rouault, arXiv 1802.07927 (2018)",
        "Repeated Krum, then the mean of the values around the median of each coordinate.",
        bulyan,
        {"f": 1},
    ),
)
