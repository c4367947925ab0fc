"""Inner products, distances and cosine gaps between the rows of a table.

Laws:
- Everything comes from one Gram matrix in float64. Products of float32 numbers are exact there, so what a pair of rows
  gives is the same to 1e-14 whichever other rows share the table: a node's own small table and the table of a thousand
  nodes agree.
- A row that equals an earlier one, bit by bit, has that one's products: copies tie exactly, whatever a BLAS rounds.
- Symmetric to the bit: a tie between two rows is a tie from both sides.
- A row has no direction when it is absent, not finite, or zero. Its cosine gaps are 1 to every row, also to itself; the
  gap of any other row to itself is 0. So the diagonal tells which rows count.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

_COLUMNS = 1024  # a block of columns in float64: small beside the rows themselves
_STILL = 1e-13  # of the squared norms: what the difference of two equal rows may leave in float64
_PANELS = 4  # of rows; products above the diagonal are mirrored, not computed


class Geometry(Protocol):
    """Pairwise geometry by row number; float64."""

    finite: Tensor

    def products(self, index: Tensor) -> Tensor:
        """Inner products: (..., k) row numbers -> (..., k, k); 0 where a row is absent or not finite."""

    def squared_distances(self, index: Tensor) -> Tensor:
        """Squared Euclidean distances: (..., k) row numbers -> (..., k, k); 0 where a row is absent or not finite."""

    def cosine_gaps(self, index: Tensor, origin: Tensor | None = None) -> Tensor:
        """1 - cosine: (..., k) row numbers -> (..., k, k) in [0, 2].

        Args:
            index: row numbers, -1 absent.
            origin: () or (...,) number of a row that is subtracted from each first, or None.
        """


class DenseGeometry:
    """Geometry from the full Gram matrix of a table: half of R x R products of d terms, once."""

    def __init__(self, values: Tensor, finite: Tensor) -> None:
        self.finite = finite
        self._gram = _as_first(gram_matrix(values, finite), values)

    def products(self, index: Tensor) -> Tensor:
        """Inner products: (..., k) -> (..., k, k)."""
        gram, usable = self._slice(index)
        return torch.where(_pairs(usable), gram, 0.0)

    def squared_distances(self, index: Tensor) -> Tensor:
        """Squared distances: (..., k) -> (..., k, k)."""
        gram, usable = self._slice(index)
        return torch.where(_pairs(usable), distances_from_products(gram), 0.0)

    def cosine_gaps(self, index: Tensor, origin: Tensor | None = None) -> Tensor:
        """1 - cosine, of rows less the origin: (..., k) -> (..., k, k)."""
        if origin is None:
            gram, usable = self._slice(index)
            return gaps_from_products(gram, usable)
        base = origin.expand(index.shape[:-1]).unsqueeze(-1)
        gram, usable = self._slice(torch.cat([index, base], dim=-1))
        beside = gram[..., :-1, -1]
        moved = gram[..., :-1, :-1] - (beside.unsqueeze(-1) + beside.unsqueeze(-2)) + gram[..., -1:, -1:]
        scale = torch.diagonal(gram, dim1=-2, dim2=-1)
        still = torch.diagonal(moved, dim1=-2, dim2=-1) <= _STILL * (scale[..., :-1] + scale[..., -1:])
        return gaps_from_products(moved, usable[..., :-1] & usable[..., -1:] & ~still)

    def _slice(self, index: Tensor) -> tuple[Tensor, Tensor]:
        safe = index.clamp(min=0)
        usable = (index >= 0) & self.finite[safe]
        return self._gram[safe.unsqueeze(-1), safe.unsqueeze(-2)], usable


def gram_matrix(values: Tensor, finite: Tensor) -> Tensor:
    """Inner products of all rows, symmetric to the bit: (R, d) -> (R, R) float64; 0 where a row is not finite."""
    count, size = values.shape
    gram = torch.zeros(count, count, dtype=torch.float64, device=values.device)
    panel = max(1, -(-count // _PANELS))
    clean = bool(finite.all())
    for first in range(0, size, _COLUMNS):
        block = values[:, first : first + _COLUMNS].double()
        if not clean:
            block[~finite] = 0.0
        for top in range(0, count, panel):
            rows = slice(top, min(top + panel, count))
            gram[rows, : rows.stop].addmm_(block[rows], block[: rows.stop].T)
    return gram.tril() + gram.tril(-1).T


def _as_first(gram: Tensor, values: Tensor) -> Tensor:
    # equal rows have equal squared norms but for rounding: only rows whose norms are that near are compared
    squares = torch.diagonal(gram)
    order = squares.argsort()
    sorted_ = squares[order]
    near = sorted_[1:] - sorted_[:-1] <= _STILL * sorted_[1:]
    first = torch.arange(len(gram), device=gram.device)
    equal: list[list[int]] = []  # rows of one run of near norms, by content
    last = -1
    for place in near.nonzero().squeeze(1).tolist():
        if place != last:
            equal = [[int(order[place])]]
        last = place + 1
        mine = int(order[last])
        same = next((rows for rows in equal if torch.equal(values[mine], values[rows[0]])), None)
        if same is None:
            equal.append([mine])
        else:
            same.append(mine)
            first[same] = min(same)
    if len(torch.unique(first)) == len(first):
        return gram
    return gram[first][:, first]


def distances_from_products(products: Tensor) -> Tensor:
    """|a - b|^2 = <a, a> + <b, b> - 2 <a, b>, at least 0: (..., k, k) -> (..., k, k)."""
    squares = torch.diagonal(products, dim1=-2, dim2=-1)
    return (squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * products).clamp(min=0)


def gaps_from_products(products: Tensor, usable: Tensor) -> Tensor:
    """1 - <a, b> / (|a| |b|) in [0, 2]: (..., k, k), usable (..., k) -> (..., k, k).

    A row without a direction (not usable, or of norm 0) gives 1 everywhere, also on the diagonal; any other row 0 on
    the diagonal.
    """
    norms = torch.diagonal(products, dim1=-2, dim2=-1).clamp(min=0).sqrt()
    directed = usable & (norms > 0)
    safe = torch.where(directed, norms, 1.0)
    gaps = (1 - products / (safe.unsqueeze(-1) * safe.unsqueeze(-2))).clamp(0, 2)
    gaps = torch.where(_pairs(directed), gaps, 1.0)
    same = torch.eye(products.shape[-1], dtype=torch.bool, device=products.device)
    return torch.where(same & directed.unsqueeze(-1), 0.0, gaps)


def _pairs(usable: Tensor) -> Tensor:
    return usable.unsqueeze(-1) & usable.unsqueeze(-2)
