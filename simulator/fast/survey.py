"""All pairs of the rows that some node knows, computed once: where nodes need a large share of them.

Laws:
- Whether to is decided by counts alone, so the same run has the same bits on any machine and with any threads.
- The distances are those of `aggregation.kernels.rows.known_distances`: a panel of rows counts as a node to which the
  panel is new and all later rows are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from aggregation.kernels import rows as kernels
from aggregation.kernels.distances import as_first
from simulator.fast.rows import Rows
from simulator.fast.workers import Workers

_PANEL = 256  # rows
_MOST = 4096  # rows: 64 MB of distances
_SHARE = 0.5  # of all pairs: a pair costs a node at most twice what it costs here


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Squared distances between some rows.

    Attributes:
        names: (L,) row numbers, ascending.
        place: (R,) where a row is among them, L where it is not.
        distances: (L + 1, L + 1) float32; 0 past the end.
    """

    names: Tensor
    place: Tensor
    distances: Tensor

    def among(self, index: Tensor) -> Tensor | None:
        """Where rows (...,) are, L for absent ones (-1); None when one is missing."""
        at = torch.where(index >= 0, self.place[index.clamp(min=0)], len(self.names))
        return None if bool(((at == len(self.names)) & (index >= 0)).any()) else at


def survey(rows: Rows, index: Tensor, known: Callable[[], Tensor], workers: Workers, compiled: bool) -> Survey | None:
    """Distances between all rows that are named, or None where it is cheaper to let every node compute its own.

    Args:
        rows: the table.
        index: (N, k) row numbers that each node compares, -1 absent; the named rows are finite.
        known: how many of them each node has compared before, (N,).
        workers: share the panels.
        compiled: numba kernels.
    """
    here = torch.zeros(1 + len(rows.values), dtype=torch.bool, device=index.device)  # the first one: absent
    here[index + 1] = True
    names = here[1:].nonzero().squeeze(1)
    count = len(names)
    held = (index >= 0).sum(dim=1)
    enough = _SHARE * count * (count - 1)
    if not 1 < count <= _MOST or int((held * (held - 1)).sum()) < enough:
        return None
    old = known()
    if int((held * (held - 1) - old * (old - 1)).sum()) < enough:
        return None
    distances = rows.values.new_zeros(count + 1, count + 1)

    def panel(lo: int, hi: int) -> None:
        for start in range(lo * _PANEL, hi * _PANEL, _PANEL):
            some, end = names[None, start:], min(start + _PANEL, count)
            later = rows.serial[names[None, end:]]
            apart = torch.ones(1, count - end, count - end, device=index.device)  # not asked for; 0 would say copies
            apart[0].fill_diagonal_(0.0)
            with kernels.compiled(compiled):
                found = kernels.known_distances(rows.values, some, rows.serial, later, apart)[0, : end - start]
            distances[start:end, start:count] = found
            distances[start:count, start:end] = found.T

    workers.over(-(-count // _PANEL), panel, most=1)
    distances[:count, :count] = as_first(distances[None, :count, :count], names[None])[0]
    place = torch.full((len(rows.values),), count, dtype=torch.int64, device=index.device)
    place[names] = torch.arange(count, device=index.device)
    return Survey(names, place, distances)
