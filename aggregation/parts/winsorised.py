"""The winsorised mean: per coordinate the b lowest rows count as the next one, the b highest likewise; then the mean.

Unlike in a trimmed mean nobody loses a whole vote; unlike in a mean no b rows carry a coordinate beyond the others'
range. Bounded rows may count unequally: any shares that sum to 1 stay within the range. Rows may also be bounded less
tightly than their mean: what is promised is where the mean lies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Integration, Weights
from aggregation.kernels.sorting import comparators, run
from aggregation.parts.clipping import median_bound, shrink
from aggregation.parts.mixing import held_near
from aggregation.parts.neighbourhood import column_blocks, neighbourhood


def check_bounds(clip: float, trim: float, slack: float = 0.0) -> None:
    """Refuse what no winsorised mean of clipped rows can be made with.

    Raises:
        RuleError: clip < 0, trim outside [0, .5), or slack below 0 or not finite.
    """
    if not clip >= 0:
        raise RuleError(f"clip must be >= 0 (0: no clipping), got {clip}")
    if not 0 <= trim < 0.5:
        raise RuleError(f"trim must lie in [0, .5), got {trim}")
    if not 0 <= slack < math.inf:
        raise RuleError(f"slack must be >= 0 (0: no row counts beyond the inner range) and finite, got {slack}")


def winsor_bound(count: Tensor, trim: float) -> Tensor:
    """b = min(max(1, floor(trim m)), floor((m - 1) / 2)).

    Args:
        count: (...,) int64, rows m, own included.
        trim: share of rows bounded at each end; 0 leaves the bound out (b = 0).

    Returns:
        (...,) int64, >= 0.
    """
    if trim == 0:
        return torch.zeros_like(count)
    bound = torch.floor(trim * count.double() + 1e-9).long().clamp(min=1)
    return bound.minimum(torch.div(count - 1, 2, rounding_mode="floor")).clamp(min=0)


def winsorised_mean(rows: Tensor, present: Tensor, bound: Tensor) -> Tensor:
    """Winsorised mean over present rows, per coordinate.

    Args:
        rows: (..., m, d); absent rows may hold anything.
        present: (..., m) bool.
        bound: (...,) int64 b with 2b < number of present rows.

    Returns:
        (..., d); zeros where no row is present.
    """
    count, size = present.sum(dim=-1), rows.shape[-2]
    lanes = [torch.where(present[..., k, None], rows[..., k, :], torch.finfo(rows.dtype).max) for k in range(size)]
    return sorted_sum(lanes, winsor_shares(count, bound, size).to(rows.dtype))


def winsor_shares(count: Tensor, bound: Tensor, size: int) -> Tensor:
    """Shares of sorted positions in the winsorised mean: (...,), (...,) -> (..., size) float64, sum 1 if count > 0."""
    place = torch.arange(size, device=count.device)
    low, high = bound.unsqueeze(-1), (count - 1 - bound).unsqueeze(-1)
    inside = ((place >= low) & (place <= high)).double()
    ends = (place == low).double() + (place == high).double()
    return (inside + ends * low) / count.clamp(min=1).unsqueeze(-1)


def trim_shares(count: Tensor, bound: Tensor, size: int) -> Tensor:
    """Shares of sorted positions in the trimmed mean: (...,), (...,) -> (..., size) float64, sum 1 if count > 0."""
    place = torch.arange(size, device=count.device)
    low, high = bound.unsqueeze(-1), (count - 1 - bound).unsqueeze(-1)
    inside = ((place >= low) & (place <= high)).double()
    return inside / (high - low + 1).clamp(min=1)


def sorted_sum(lanes: list[Tensor], shares: Tensor) -> Tensor:
    """Sort lanes per coordinate, then sum share_k times the k-th lowest. The lanes are used up.

    Args:
        lanes: m tensors (..., d), finite; a filler that is to sort last has share 0.
        shares: (..., m).

    Returns:
        (..., d).
    """
    run(comparators(len(lanes)), lanes)
    total = lanes[0].mul_(shares[..., 0, None])
    for k in range(1, len(lanes)):
        total.addcmul_(lanes[k], shares[..., k, None])
    return total


def clipped_winsorised_mean(
    clip: float = 2.0, trim: float = 0.2, mixing: bool = True, slack: float = 1.0
) -> Integration:
    """Integration: x_i + bounded mean of 0 (own) and D_j = w_j clip(x_j - x_i, tau) over neighbours with w_j > 0.

    tau = clip x lower median of |x_j - x_i| over all neighbours that are here, b by `winsor_bound` with the m rows that
    vote. Per coordinate the inner range [l, h] goes from the (b + 1)-th lowest row to the (b + 1)-th highest. Every row
    is bounded to [l - s (h - l), h + s (h - l)], s = `slack`; the mean of the bounded rows is bounded to [l, h]. With
    s = 0 that is the winsorised mean. With `mixing` each bounded row is first replaced by the mean of its m - b nearest
    (itself among them; by the models' distances, before any clipping), which gives row k the share c_k / (m - b) of the
    result, c_k the share of rows that hold it among their nearest; without, all shares are 1 / m. Nobody votes: own
    model, bit for bit. One votes: the mean of both. A weight below 1 shortens a row; it still counts as one.

    With m >= 3 and at most b dishonest rows every coordinate of the result lies within [min, max] of own and honest
    rows. The weights of the decision are w_j c_j.

    Args:
        clip: bound in units of the lower median distance, >= 0; 0: no clipping.
        trim: share bounded at each end, in [0, .5); 0: plain mean of the rows.
        mixing: whether rows count by how many hold them near.
        slack: how far a row counts beyond the inner range, in widths of it, >= 0.

    Source: this project; mixing after Y. Allouah et al., "Fixing by Mixing", arXiv 2302.01772 (2023), here on bounded
        rows.

    Raises:
        RuleError: a parameter out of its range.
    """
    check_bounds(clip, trim, slack)

    def integrate(evidence: Evidence, weights: Weights) -> Decision:
        around = neighbourhood(evidence)
        votes = torch.where(around.heard, weights.neighbours.double(), 0.0)
        kept = votes > 0
        factors = votes * shrink(around.lengths, median_bound(around, clip))
        bound = winsor_bound(kept.sum(dim=-1) + 1, trim)
        held = held_near(around, kept, bound if mixing else torch.zeros_like(bound))
        params = _pull(evidence, around.index[..., 1:], kept, factors, bound, held, slack)
        said = (votes * held[..., 1:]).to(params.dtype)
        return Decision(params=params, weights=said, verdicts=weights.verdicts)

    return integrate


def _pull(
    evidence: Evidence, index: Tensor, kept: Tensor, factors: Tensor, bound: Tensor, held: Tensor, slack: float
) -> Tensor:
    """x_i + mean by `held` of bounded 0 and factor_j (x_j - x_i), in blocks of columns: never holds (..., n, d)."""
    values, width = evidence.table.values, index.shape[-1]
    own = evidence.own.reshape(-1)
    flat = (own.numel(), width)
    kept, factors, index = kept.reshape(flat), factors.reshape(flat), index.reshape(flat)
    votes, low = kept.sum(dim=-1), bound.reshape(-1, 1)
    most = int(votes.max()) if own.numel() else 0
    order = kept.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    index, kept = index.gather(-1, order), kept.gather(-1, order)
    factors = factors.gather(-1, order).to(values.dtype)
    held = held.reshape(own.numel(), width + 1)
    shares = torch.cat([held[:, :1], held[:, 1:].gather(-1, order)], dim=-1)
    shares = (shares / shares.sum(dim=-1, keepdim=True)).to(values.dtype)
    filler = torch.finfo(values.dtype).max
    full = kept.all(dim=0).tolist()
    out = values[own]
    for columns in column_blocks(values.shape[-1], 2 * (index.numel() + own.numel())) if most else ():
        part = values[:, columns]
        mine = out[:, columns].contiguous()
        lanes = [torch.zeros_like(mine)]
        for k in range(most):
            lane = part[index[:, k]].sub_(mine).mul_(factors[:, k, None])
            lanes.append(lane if full[k] else lane.masked_fill_(~kept[:, k, None], filler))
        ordered = [lane.clone() for lane in lanes]
        run(comparators(len(ordered)), ordered)
        lowest, highest = picked(ordered, low), picked(ordered, votes.unsqueeze(-1) - low)
        reach = (highest - lowest).clamp_(max=filler).mul_(slack)
        below, above = lowest - reach, highest + reach
        total = torch.zeros_like(mine)
        for k, lane in enumerate(lanes):
            total.addcmul_(lane.clamp(below, above), shares[:, k, None])
        out[:, columns] += total.clamp(lowest, highest)
    return out.reshape(*evidence.own.shape, values.shape[-1])


def picked(lanes: list[Tensor], place: Tensor) -> Tensor:
    """Row n of lane place[n]: m tensors (N, d), (N, 1) int64 -> (N, d)."""
    first = int(place[0])
    if bool((place == first).all()):
        return lanes[first]
    found = lanes[0].clone()
    for k in range(1, len(lanes)):
        found = torch.where(place == k, lanes[k], found)
    return found
