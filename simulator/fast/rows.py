"""The table behind a run: one immutable row a live (author, round), however many nodes know it.

Laws:
- A row changes only while nobody names it. `serial` tells a row from its predecessors in the same place.
- 4 d bytes a row, and nothing of size d a node beside its own model.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.kernels import rows as kernels
from simulator.fast.workers import Workers


class Rows:
    """Rows by number.

    Attributes:
        values: (R, d) float32; grows, so take it afresh each round.
        author: (R,) int32 vertex that a row belongs to.
        round: (R,) int32 round it was published in.
        serial: (R,) int64, different for every row that ever was.
        squares: (R,) float64 squared norms; not finite where the row is not.
    """

    def __init__(self, dimension: int, capacity: int, device: str = "cpu") -> None:
        self.values = _roomy(capacity, dimension, device)
        self.author = np.full(capacity, -1, dtype=np.int32)
        self.round = np.full(capacity, -1, dtype=np.int32)
        self.serial = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.squares = torch.zeros(capacity, dtype=torch.float64, device=device)
        self._free = np.arange(capacity, dtype=np.int64)
        self._next = 1

    @property
    def live(self) -> int:
        """Rows in use."""
        return len(self.values) - len(self._free)

    @property
    def finite(self) -> Tensor:
        """Which rows hold only finite numbers: bool (R,)."""
        return torch.isfinite(self.squares)

    def take(self, authors: NDArray[np.int32], round: int) -> NDArray[np.int64]:
        """Numbers of fresh rows for these authors' models of this round; fill them, then call `settle`."""
        count = len(authors)
        if count > len(self._free):
            self._grow(count - len(self._free))
        rows, self._free = self._free[:count], self._free[count:]
        self.author[rows] = authors
        self.round[rows] = round
        serials = torch.arange(self._next, self._next + count, device=self.serial.device)
        self.serial[torch.from_numpy(rows).to(self.serial.device)] = serials
        self._next += count
        return rows

    def settle(self, rows: NDArray[np.int64], workers: Workers, compiled: bool = False) -> None:
        """Measure rows that were just filled, with numba's kernels or with torch."""
        names = torch.from_numpy(rows).to(self.values.device)

        def work(lo: int, hi: int) -> None:
            with kernels.compiled(compiled):
                self.squares[names[lo:hi]] = kernels.squared_norms(self.values, names[lo:hi])

        workers.over(len(names), work)

    def keep(self, live: NDArray[np.int64]) -> None:
        """Free every row but these."""
        free = np.ones(len(self.values), dtype=bool)
        free[live] = False
        self._free = np.flatnonzero(free)

    def _grow(self, missing: int) -> None:
        before = len(self.values)
        more = max(missing, before // 4)
        grown = _roomy(before + more, self.values.shape[1], str(self.values.device))
        grown[:before] = self.values
        self.values = grown
        self.author = np.concatenate([self.author, np.full(more, -1, dtype=np.int32)])
        self.round = np.concatenate([self.round, np.full(more, -1, dtype=np.int32)])
        self.serial = torch.cat([self.serial, self.serial.new_zeros(more)])
        self.squares = torch.cat([self.squares, self.squares.new_zeros(more)])
        self._free = np.concatenate([self._free, np.arange(before, before + more, dtype=np.int64)])


def _roomy(rows: int, columns: int, device: str) -> Tensor:
    # numpy asks the kernel for large pages, torch does not: rows are read in no order, by pieces of a page
    if device == "cpu":
        return torch.from_numpy(np.empty((rows, columns), dtype=np.float32))
    return torch.empty(rows, columns, device=device)
