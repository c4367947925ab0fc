"""The neighbourhood: own model and neighbours' models as one list of rows, own first, with their distances.

Laws:
- Absent and unusable neighbours are named by the own row, so that gathering them reads finite numbers and their
  difference is exactly 0.
- A row farther than REACH from the own one counts as not finite: sums of squares over its difference overflow float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Verdict

REACH = 1e18  # squared: 1e36, two decimal orders below the largest float32
STILL = 1e-13  # of the squared norms: what the difference of two equal rows may leave in float64
BLOCK_ELEMENTS = 1 << 21  # floats gathered at a time (8 MB): a few such buffers stay within a usual L3 cache


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Rows of one decision, m = n + 1, own first.

    Attributes:
        index: (..., m) row numbers; absent or unusable neighbours repeat the own row.
        present: (..., m) bool; the own row is always present.
        squares: (..., m, m) float64 squared distances; 0 where a row is absent.
        verdicts: (..., n) int8: TAKEN, ABSENT or NOT_FINITE, before any rule.
    """

    index: Tensor
    present: Tensor
    squares: Tensor
    verdicts: Tensor

    @property
    def lengths(self) -> Tensor:
        """How far each neighbour is from the own model, |x_j - x_i|: (..., n) float64; 0 where absent."""
        return self.squares[..., 0, 1:].sqrt()

    @property
    def heard(self) -> Tensor:
        """Neighbours that count: bool (..., n)."""
        return self.present[..., 1:]

    @property
    def count(self) -> Tensor:
        """Rows that count, own included: int64 (...,), at least 1."""
        return self.present.sum(dim=-1)

    def products(self) -> Tensor:
        """Inner products of differences <x_j - x_i, x_k - x_i>: (..., n, n) float64, from distances alone."""
        radii = self.squares[..., 0, 1:]
        inner = (radii.unsqueeze(-1) + radii.unsqueeze(-2) - self.squares[..., 1:, 1:]) / 2
        both = self.heard.unsqueeze(-1) & self.heard.unsqueeze(-2)
        return torch.where(both, inner, torch.zeros_like(inner))


def neighbourhood(evidence: Evidence) -> Neighbourhood:
    """Own model and neighbours of the evidence as rows, with distances.

    Args:
        evidence: n >= 0 neighbours, any leading dimensions.
    """
    rows = torch.cat([evidence.own.unsqueeze(-1), evidence.neighbours], dim=-1)
    squares = evidence.table.geometry.squared_distances(rows).double()
    reachable = squares[..., 0, :] <= REACH**2
    heard = evidence.present() & reachable[..., 1:]
    present = torch.cat([torch.ones_like(heard[..., :1]), heard], dim=-1) if heard.shape[-1] else _own_only(heard)
    both = present.unsqueeze(-1) & present.unsqueeze(-2)
    squares = torch.where(both, squares, torch.zeros_like(squares)).clamp(min=0).nan_to_num(nan=0.0)
    verdicts = evidence.absence()
    verdicts[(evidence.neighbours >= 0) & ~heard] = int(Verdict.NOT_FINITE)
    index = torch.where(present, rows, evidence.own.unsqueeze(-1))
    return Neighbourhood(index=index, present=present, squares=squares, verdicts=verdicts)


def updates(evidence: Evidence, around: Neighbourhood) -> Tensor:
    """Inner products of own and neighbours' differences from the own start, <x_j - s, x_k - s>: (..., m, m) float64.

    From the table's geometry alone; 0 where a row is absent.

    Raises:
        RuleError: evidence without a start.
    """
    if evidence.start is None:
        raise RuleError("this rule needs the model from before local training")
    rows = torch.cat([around.index, evidence.start.unsqueeze(-1)], dim=-1)
    products = evidence.table.geometry.products(rows).double()
    beside = products[..., :-1, -1]
    moved = products[..., :-1, :-1] - (beside.unsqueeze(-1) + beside.unsqueeze(-2)) + products[..., -1:, -1:]
    squares = torch.diagonal(products, dim1=-2, dim2=-1)
    lengths = torch.diagonal(moved, dim1=-2, dim2=-1)
    usable = around.present & (lengths > STILL * (squares[..., :-1] + squares[..., -1:]))
    return torch.where(usable.unsqueeze(-1) & usable.unsqueeze(-2), moved, 0.0)


def difference_products(values: Tensor, index: Tensor, anchor: Tensor, scale: Tensor | None = None) -> Tensor:
    """Inner products of differences from an anchor, exact for near rows: sum of scale^2 (x_j - a) (x_k - a).

    Args:
        values: (R, d) rows.
        index: (..., k) row numbers of finite rows.
        anchor: (...,) row numbers.
        scale: (..., d) per coordinate, or None for 1.

    Returns:
        (..., k, k) float64. Works in blocks of columns: never holds (..., k, d).
    """
    flat = index.reshape(-1)
    total = torch.zeros((*index.shape, index.shape[-1]), dtype=torch.float64, device=values.device)
    for columns in column_blocks(values.shape[-1], index.numel()):
        part = values[:, columns]
        apart = part.index_select(0, flat).reshape(*index.shape, part.shape[-1])
        apart -= part[anchor].unsqueeze(-2)
        if scale is not None:
            apart *= scale[..., columns].unsqueeze(-2)
        total += (apart @ apart.transpose(-1, -2)).double()
    return total


def column_blocks(dimension: int, rows: int) -> Iterator[slice]:
    """Slices that cover `dimension` columns, each with about BLOCK_ELEMENTS numbers over that many rows."""
    width = max(64, BLOCK_ELEMENTS // max(1, rows))
    for low in range(0, dimension, width):
        yield slice(low, min(low + width, dimension))


def _own_only(heard: Tensor) -> Tensor:
    return torch.ones((*heard.shape[:-1], 1), dtype=torch.bool, device=heard.device)
