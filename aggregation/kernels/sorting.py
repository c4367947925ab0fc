"""Trimmed means per coordinate by networks of minimum and maximum.

A network of comparators orders k lanes without a branch, so one call of `minimum` and one of `maximum` order the same
pair of rows for thousands of coordinates and many nodes at once. Comparators whose results nobody reads are cut away,
and so is the half of a comparator that nobody reads.

Source: K. E. Batcher, "Sorting networks and their applications" (1968), as Algorithm 5.2.2M in D. Knuth, "The Art of
Computer Programming", vol. 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

_LANE = 262_144  # numbers of one lane in a block: below it the cost of a call shows, above it nothing is gained
_COLUMNS = 1_024  # longest run of one row in a block


@dataclass(frozen=True, slots=True)
class Comparator:
    """Orders lanes `low` < `high`; a result that nobody reads is not computed."""

    low: int
    high: int
    keeps_low: bool
    keeps_high: bool


def network(size: int, drop: int = 0) -> tuple[tuple[int, int], ...]:
    """Compare-exchange steps (low, high) that sort `size` lanes, or enough of it.

    Args:
        size: lanes.
        drop: at 0 the lanes end up sorted. Above, lanes drop .. size - drop - 1 hold all but the `drop` lowest and
            highest values, in no order, and what the other lanes hold does not matter; at least one lane is left.
    """
    return tuple((step.low, step.high) for step in comparators(size, drop))


@lru_cache(maxsize=1024)
def comparators(size: int, drop: int = 0) -> tuple[Comparator, ...]:
    """The steps of `network` and what is read of each: Batcher's sort or `drop` passes each way, the cheaper one."""
    drop = min(drop, max(size - 1, 0) // 2)
    sorted_ = prune(_batcher(size), range(drop, size - drop))
    if drop == 0:
        return sorted_
    passed = prune(_passes(size, drop), range(drop, size - drop))
    return min(sorted_, passed, key=_operations)


def prune(steps: Sequence[tuple[int, int]], wanted: Sequence[int] | range) -> tuple[Comparator, ...]:
    """Leaves out what does not reach the wanted lanes."""
    read = set(wanted)
    kept: list[Comparator] = []
    for low, high in reversed(steps):
        if low in read or high in read:
            kept.append(Comparator(low, high, low in read, high in read))
            read |= {low, high}
    return tuple(reversed(kept))


def sorted_mean(values: Tensor, index: Tensor, drop: int, out: Tensor, who: Tensor) -> None:
    """Means per coordinate without the `drop` lowest and highest rows.

    Args:
        values: (R, d) rows.
        index: (g, k) numbers of finite rows.
        drop: rows left out at each end, below k / 2.
        out: (N, d) to write into.
        who: (g,) rows of `out`.
    """
    size = index.shape[1]
    steps = comparators(size, drop)
    for nodes, columns, lanes in _blocks(values, index):
        run(steps, lanes)
        kept = lanes[drop : size - drop]
        if len(kept) > 1:
            # shares first: the sum of two large numbers would overflow
            share = 1 / len(kept)
            kept[0].mul_(share)
            for lane in kept[1:]:
                kept[0].add_(lane, alpha=share)
        out[who[nodes], columns] = kept[0]


def run(steps: Sequence[Comparator], lanes: list[Tensor]) -> None:
    """Applies comparators to lanes of one shape; list and lanes change in place."""
    spare = torch.empty_like(lanes[0])
    for step in steps:
        low, high = lanes[step.low], lanes[step.high]
        if step.keeps_low and step.keeps_high:
            torch.minimum(low, high, out=spare)
            torch.maximum(low, high, out=high)
            lanes[step.low], spare = spare, low
        elif step.keeps_low:
            torch.minimum(low, high, out=low)
        else:
            torch.maximum(low, high, out=high)


def _batcher(size: int) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    top = (1 << max(size - 1, 0).bit_length()) >> 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            steps += [(lane, lane + d) for lane in range(size - d) if lane & p == r]
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return steps


def _passes(size: int, drop: int) -> list[tuple[int, int]]:
    """Bubble sort from both ends, `drop` passes each way."""
    steps: list[tuple[int, int]] = []
    for done in range(drop):
        steps += [(lane, lane + 1) for lane in range(done, size - 1 - done)]
        steps += [(lane - 1, lane) for lane in range(size - 2 - done, done, -1)]
    return steps


def _operations(steps: Sequence[Comparator]) -> int:
    return sum(step.keeps_low + step.keeps_high for step in steps)


def _blocks(values: Tensor, index: Tensor) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    """Blocks of nodes and columns: rows (g, k) -> (nodes, columns, k lanes (g', w))."""
    width = max(1, min(values.shape[1], _COLUMNS))
    height = max(1, _LANE // width)
    for left in range(0, values.shape[1], width):
        columns = slice(left, left + width)
        window = values[:, columns]
        for top in range(0, index.shape[0], height):
            nodes = slice(top, top + height)
            yield nodes, columns, [window.index_select(0, lane) for lane in index[nodes].T.contiguous()]
