"""Inner products, distances and cosine gaps between the rows of a table.

Everything comes from one Gram matrix of rows centred on their mean: models of one network lie close together, and centring keeps
their small differences exact in float32.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Geometry(Protocol):
    """Pairwise geometry by row number; absent rows (-1) and rows that are not finite give 0 (cosine gap 1)."""

    finite: Tensor

    def products(self, index: Tensor) -> Tensor:
        """Inner products: (..., k) row numbers -> (..., k, k)."""

    def squared_distances(self, index: Tensor) -> Tensor:
        """Squared Euclidean distances: (..., k) row numbers -> (..., k, k)."""

    def cosine_gaps(self, index: Tensor) -> Tensor:
        """1 - cosine, without cancellation for near-parallel rows: (..., k) row numbers -> (..., k, k)."""


class DenseGeometry:
    """Geometry from the full Gram matrix of a table: R x R products of d terms, once."""

    def __init__(self, values: Tensor, finite: Tensor) -> None:
        self.finite = finite
        clean = torch.where(finite.unsqueeze(1), values, torch.zeros((), dtype=values.dtype, device=values.device))
        count = finite.sum().clamp(min=1)
        self._mean = clean.sum(dim=0) / count
        centred = torch.where(finite.unsqueeze(1), clean - self._mean, torch.zeros_like(clean))
        self._gram = centred @ centred.T
        self._along = centred @ self._mean
        self._mean_square = self._mean @ self._mean

    def products(self, index: Tensor) -> Tensor:
        """Inner products: (..., k) -> (..., k, k)."""
        gram, along, ok = self._slice(index)
        full = gram + along.unsqueeze(-1) + along.unsqueeze(-2) + self._mean_square
        return torch.where(ok, full, torch.zeros_like(full))

    def squared_distances(self, index: Tensor) -> Tensor:
        """Squared distances: (..., k) -> (..., k, k)."""
        gram, _, ok = self._slice(index)
        squares = torch.diagonal(gram, dim1=-2, dim2=-1)
        distances = (squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * gram).clamp(min=0)
        return torch.where(ok, distances, torch.zeros_like(distances))

    def cosine_gaps(self, index: Tensor) -> Tensor:
        """1 - cos = (|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|): (..., k) -> (..., k, k)."""
        gram, along, ok = self._slice(index)
        squares = torch.diagonal(gram, dim1=-2, dim2=-1)
        distances = (squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * gram).clamp(min=0)
        lengths = (squares + 2 * along + self._mean_square).clamp(min=0)
        roots = lengths.sqrt()
        # |a|^2 - |b|^2 from centred terms, then (|a| - |b|)^2 = (that / (|a| + |b|))^2
        gap = (squares.unsqueeze(-1) - squares.unsqueeze(-2)) + 2 * (along.unsqueeze(-1) - along.unsqueeze(-2))
        total = roots.unsqueeze(-1) + roots.unsqueeze(-2)
        tiny = torch.finfo(gram.dtype).tiny
        radial = (gap / total.clamp(min=tiny)) ** 2
        area = 2 * roots.unsqueeze(-1) * roots.unsqueeze(-2)
        gaps = ((distances - radial).clamp(min=0) / area.clamp(min=tiny)).clamp(0, 2)
        return torch.where(ok & (area > 0), gaps, torch.ones_like(gaps))

    def _slice(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        safe = index.clamp(min=0)
        usable = (index >= 0) & self.finite[safe]
        gram = self._gram[safe.unsqueeze(-1), safe.unsqueeze(-2)]
        return gram, self._along[safe], usable.unsqueeze(-1) & usable.unsqueeze(-2)
