"""Bristle's prioritizer: which neighbours are worth a pass over the own held-out samples.

It bounds the work of a round; it is no defence. Neighbours are ranked by (distance of heads, peer id) and cut into
thirds; of each third as many are drawn as its quota says.

Source: Verbraeken, de Vos, Pouwelse, arXiv 2110.11006. Differs: quotas by largest remainder, so that they always sum to
k (the published code rounds each and may draw 9 or 11 of 10); thirds end at ceil(n / 3) and ceil(2 n / 3); a quota that
a third cannot fill spills to the nearest third.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Where the rest of a quota goes: the nearer third first, of two equally near the one with the closer heads.
_NEAREST = ((1, 2), (0, 2), (1, 0))


def quotas(alpha: float, k: int) -> tuple[int, int, int]:
    """Shares (1 - alpha)^2, 2 alpha (1 - alpha), alpha^2 of k by largest remainder; equal remainders: the lower third.

    Args:
        alpha: 0 = only near neighbours, 1 = only far ones.
        k: how many to draw.

    Raises:
        ValueError: alpha outside [0, 1] or k below 0.
    """
    if not 0 <= alpha <= 1 or k < 0:
        raise ValueError(f"alpha must be in [0, 1] and k at least 0, not {alpha} and {k}")
    shares = [round(share * k, 9) for share in ((1 - alpha) ** 2, 2 * alpha * (1 - alpha), alpha**2)]
    whole = [int(share) for share in shares]
    by_remainder = sorted(range(3), key=lambda third: (-round(shares[third] - whole[third], 9), third))
    for third in by_remainder[: k - sum(whole)]:
        whole[third] += 1
    return whole[0], whole[1], whole[2]


def buckets(distances: Sequence[float] | Tensor, ids: Sequence[int] | Tensor) -> tuple[list[int], list[int], list[int]]:
    """Thirds of (distance, id) in ascending order, as ids; cut at ceil(n / 3) and ceil(2 n / 3)."""
    pairs = zip(_numbers(distances), _numbers(ids), strict=True)
    ranked = [int(name) for _, name in sorted(pairs)]
    first, second = -(-len(ranked) // 3), -(-2 * len(ranked) // 3)
    return ranked[:first], ranked[first:second], ranked[second:]


def drawn(distances: Tensor, eligible: Tensor, priority: Tensor | None, alpha: float, k: int) -> Tensor:
    """Neighbours that are drawn.

    Args:
        distances: (..., n), neighbours in order of peer id.
        eligible: (..., n) bool; others are not ranked.
        priority: (..., n) numbers; within a third the lowest are drawn, equal ones in order of peer id. None: all
            equal.
        alpha: as `quotas`.
        k: how many; not more eligible neighbours than that: all of them.

    Returns:
        (..., n) bool.
    """
    width = distances.shape[-1]
    count = eligible.sum(dim=-1, keepdim=True)
    rank = _places(torch.where(eligible, distances, torch.inf), eligible)
    third = (rank >= -(-count // 3)).long() + (rank >= -(-2 * count // 3)).long()
    third = torch.where(eligible, third, 3)
    sizes = torch.stack([(third == number).sum(dim=-1) for number in range(3)], dim=-1)
    take = _spilled(sizes, quotas(alpha, k))
    urgency = torch.zeros(distances.shape, dtype=torch.float64) if priority is None else priority
    # place within the third: how many of the same third come first
    ahead = urgency.unsqueeze(-2) < urgency.unsqueeze(-1)
    position = torch.arange(width, device=distances.device)
    tied = (urgency.unsqueeze(-2) == urgency.unsqueeze(-1)) & (position.unsqueeze(-2) < position.unsqueeze(-1))
    same = third.unsqueeze(-2) == third.unsqueeze(-1)
    place = (same & (ahead | tied)).sum(dim=-1)
    limit = torch.cat([take, take.new_zeros((*take.shape[:-1], 1))], dim=-1).gather(-1, third)
    return eligible & ((place < limit) | (count <= k))


def _places(keys: Tensor, eligible: Tensor) -> Tensor:
    """Rank of each key among the eligible; the others come last."""
    first = torch.argsort(keys, dim=-1, stable=True)
    first = first.gather(-1, torch.argsort((~eligible).gather(-1, first).to(torch.int8), dim=-1, stable=True))
    return torch.argsort(first, dim=-1, stable=True)


def _spilled(sizes: Tensor, quota: tuple[int, int, int]) -> Tensor:
    """How many each third gives: (..., 3) sizes -> (..., 3)."""
    wanted = torch.tensor(quota, device=sizes.device).expand(sizes.shape)
    take = torch.minimum(sizes, wanted)
    for third, order in enumerate(_NEAREST):
        missing = (wanted[..., third] - sizes[..., third]).clamp(min=0)
        for other in order:
            extra = torch.minimum(missing, sizes[..., other] - take[..., other])
            take[..., other] += extra
            missing = missing - extra
    return take


def _numbers(values: Sequence[float] | Sequence[int] | Tensor) -> list[float]:
    return [float(value) for value in values]
