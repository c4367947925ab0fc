"""Bulyan: Krum again and again until enough rows are chosen; then, per coordinate, the mean around their median."""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Rule, Verdict, Weights
from aggregation.kernels.sorting import comparators, run
from aggregation.parts.neighbourhood import column_blocks, neighbourhood


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


def around_median(lanes: list[Tensor], keep: int) -> Tensor:
    """Mean, per coordinate, of the `keep` values nearest to the median (of two equally near windows the lower).

    The nearest values are neighbours in sorted order: of k - keep + 1 windows the one whose farther end is nearest.

    Args:
        lanes: k tensors of one shape, finite; they are used up.
        keep: 1 to k.

    Returns:
        A tensor of that shape.
    """
    size = len(lanes)
    run(comparators(size), lanes)
    middle = (lanes[(size - 1) // 2] * 0.5).add_(lanes[size // 2], alpha=0.5)
    best, nearest = _window(lanes, 0, keep, middle)
    for low in range(1, size - keep + 1):
        total, reach = _window(lanes, low, keep, middle)
        best = torch.where(reach < nearest, total, best)
        nearest = torch.minimum(reach, nearest)
    return best


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
        size = voting.shape[-1]
        index, voting = around.index.reshape(-1, size), voting.reshape(-1, size)
        count = voting.sum(dim=-1)
        keep = (count - 2 * bulyan_faults(around.count.reshape(-1), f)).clamp(min=1)
        packed = index.gather(-1, voting.to(torch.int8).argsort(dim=-1, descending=True, stable=True))
        params = values[evidence.own.reshape(-1)]
        for rows, near in sorted(set(zip(count.tolist(), keep.tolist(), strict=True))):
            who = ((count == rows) & (keep == near)).nonzero().squeeze(1)
            for columns in column_blocks(values.shape[-1], who.numel() * rows) if rows > 1 else ():
                part = values[:, columns]
                params[who, columns] = around_median(
                    [part.index_select(0, lane) for lane in packed[who, :rows].T], near
                )
        return Decision(
            params=params.reshape(*evidence.own.shape, -1), weights=weights.neighbours, verdicts=weights.verdicts
        )

    return Rule("bulyan", weigh, integrate)


def _window(lanes: list[Tensor], low: int, keep: int, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of `keep` sorted lanes from `low`, and how far its farther end is from the middle."""
    share = 1 / keep
    total = lanes[low] * share
    for lane in lanes[low + 1 : low + keep]:
        total.add_(lane, alpha=share)
    return total, torch.maximum(middle - lanes[low], lanes[low + keep - 1] - middle)
