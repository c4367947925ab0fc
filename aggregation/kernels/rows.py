"""Sums, sorted means and squared distances over rows of a table, for many nodes in one call.

Laws:
- Rows are named by number; -1 is absent. A row whose weight is 0 is never read (0 times NaN is NaN).
- Nothing here depends on who else is in the call: one node alone gets the same bits as among a thousand.
- torch does the work unless the caller stands inside `compiled()`, which the array engine does when numba is there:
  then aggregation.kernels.compiled does, to the same result within rounding. A daemon never pays for a compiler.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from aggregation.kernels.distances import as_first, pair_distances
from aggregation.kernels.sorting import network as network
from aggregation.kernels.sorting import sorted_mean

_COLUMNS = 8192  # columns of a norm at a time, and
_ELEMENTS = 1 << 18  # numbers: 1 MB

_COMPILED: ContextVar[bool] = ContextVar("compiled", default=False)


@contextmanager
def compiled(use: bool = True) -> Iterator[None]:
    """Within this block (and this thread) the functions below use numba, if it is installed."""
    token = _COMPILED.set(use)
    try:
        yield
    finally:
        _COMPILED.reset(token)


@cache
def available() -> bool:
    """Whether numba can be imported."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def numba_serves(values: Tensor) -> bool:
    """Whether numba is asked for here and can take this tensor."""
    return (
        _COMPILED.get()
        and values.device.type == "cpu"
        and values.dtype in (torch.float32, torch.float64)
        and values.is_contiguous()
        and available()
    )


def weighted_sum(values: Tensor, index: Tensor, weights: Tensor, out: Tensor | None = None) -> Tensor:
    """Sum over k of weights[..., k] * values[index[..., k]].

    Args:
        values: (R, d) float32 rows.
        index: (..., k) int64 row numbers; -1 absent.
        weights: (..., k) float32; rows of weight 0 are not read.
        out: (..., d) contiguous, written and returned, no part of `values`; None: new.

    Returns:
        (..., d) float32; zeros where nothing has weight.
    """
    taken = (index >= 0) & (weights != 0)
    flat = taken.flatten(0, -2) if taken.dim() > 1 else taken.unsqueeze(0)
    shape = (*index.shape[:-1], values.shape[1])
    if numba_serves(values):
        from aggregation.kernels import compiled as kernels

        rows = torch.where(taken, index, -1).reshape(flat.shape)
        out = values.new_empty(shape) if out is None else out
        target = out.view(len(flat), values.shape[1])
        kernels.weighted_sum(
            values.numpy(), rows.numpy(), weights.reshape(flat.shape).contiguous().numpy(), target.numpy()
        )
        return out
    counts = flat.sum(dim=1)
    offsets = torch.cumsum(counts, dim=0) - counts
    found = embedding_bag(index[taken], values, offsets, mode="sum", per_sample_weights=weights[taken].to(values.dtype))
    return found.reshape(shape) if out is None else out.copy_(found.view(shape))


def squared_norms(values: Tensor, index: Tensor) -> Tensor:
    """Squared norms of rows (k,), summed in float64: (k,); not finite where a row is not."""
    out = torch.zeros(len(index), dtype=torch.float64, device=values.device)
    if numba_serves(values):
        from aggregation.kernels import compiled as kernels

        kernels.squared_norms(values.numpy(), index.numpy(), out.numpy())
        return out
    columns = min(values.shape[1], _COLUMNS)
    step = max(1, _ELEMENTS // max(1, columns))
    for first in range(0, len(index), step):
        some = index[first : first + step]
        for start in range(0, values.shape[1], columns):
            part = values[:, start : start + columns].index_select(0, some)
            out[first : first + step] += torch.linalg.vector_norm(part, dim=1, dtype=torch.float64).square_()
    return out


def median(values: Tensor, index: Tensor, out: Tensor | None = None) -> Tensor:
    """Median of the present rows, column by column; the mean of the middle two when their number is even.

    Args and returns as `trimmed_mean`.
    """
    count = (index >= 0).sum(dim=-1)
    return trimmed_mean(values, index, (count - 1).clamp(min=0) // 2, out)


def trimmed_mean(values: Tensor, index: Tensor, trim: Tensor | int, out: Tensor | None = None) -> Tensor:
    """Mean of what remains when the `trim` lowest and `trim` highest of the present rows go, column by column.

    Args:
        values: (R, d) float32 rows; the named ones are finite.
        index: (..., k) int64 row numbers; -1 absent.
        trim: rows dropped at each end, one number or (...,); where nothing would remain, the middle one or two do.
        out: (..., d) contiguous, written and returned, no part of `values`; None: new.

    Returns:
        (..., d) float32; zeros where no row is present.
    """
    rows = index.reshape(-1, index.shape[-1])
    count = (rows >= 0).sum(dim=1)
    cut = torch.as_tensor(trim, device=rows.device).expand(index.shape[:-1]).reshape(-1)
    cut = torch.minimum(cut, (count - 1).clamp(min=0) // 2)
    packed = rows.gather(1, (rows < 0).to(torch.int8).argsort(dim=1, stable=True))
    out = values.new_empty(*index.shape[:-1], values.shape[1]) if out is None else out
    target = out.view(len(rows), values.shape[1])
    kinds = torch.unique(torch.stack([count, cut], dim=1), dim=0)
    for size, drop in kinds.tolist():
        who = ((count == size) & (cut == drop)).nonzero().squeeze(1)
        if size == 0:
            target[who] = 0.0
        else:
            _sorted_mean(values, packed[who, :size], int(drop), target, who)
    return out


def fresh_distances(values: Tensor, index: Tensor, fresh: Tensor) -> Tensor:
    """Squared distances between the rows that each node names, of pairs of which at least one row is fresh.

    Args:
        values: (R, d) float32; the named rows are finite.
        index: (N, k) int64 row numbers; -1 absent.
        fresh: (N, k) bool.

    Returns:
        (N, k, k) float32, symmetric; 0 for pairs without a fresh row, with an absent one, and between equal rows.
    """
    width = index.shape[1]
    fresh = fresh & (index >= 0)
    # fresh ones first, absent ones last
    kind = torch.where(index < 0, 2, torch.where(fresh, 0, 1))
    order = kind.argsort(dim=1, stable=True)
    names = index.gather(1, order)
    found = pair_distances(values, names, fresh.sum(dim=1))
    back = order.argsort(dim=1)
    rows = found.gather(1, back.unsqueeze(-1).expand(-1, -1, width))
    return rows.gather(2, back.unsqueeze(1).expand(-1, width, -1))


def known_distances(values: Tensor, index: Tensor, serial: Tensor, before: Tensor, known: Tensor) -> Tensor:
    """Squared distances between the rows that each node names; those of pairs that it knew before are copied.

    Args:
        values: (R, d) float32; the named rows are finite.
        index: (N, k) int64 row numbers; -1 absent.
        serial: (R,) int64, more than 0: identity of what is in each row.
        before: (N, w) int64 identities of the rows whose distances are known; 0 none.
        known: (N, w, w) float32, these distances.

    Returns:
        (N, k, k) float32, symmetric to the bit; 0 for pairs with an absent row and between equal rows, which are at one
        distance from any third.
    """
    if numba_serves(values):
        from aggregation.kernels import compiled_pairs

        out = values.new_empty(*index.shape, index.shape[1])
        compiled_pairs.known_distances(
            values.numpy(), index.contiguous().numpy(), serial.numpy(), before.numpy(), known.numpy(), out.numpy()
        )
        return out
    serials = torch.where(index >= 0, serial[index.clamp(min=0)], -1)
    match = serials.unsqueeze(-1) == before.unsqueeze(-2)
    old = match.any(dim=-1) if before.shape[-1] else torch.zeros_like(index, dtype=torch.bool)
    found = fresh_distances(values, index, ~old)
    if bool(old.any()):
        place = match.to(torch.int8).argmax(dim=-1)
        taken = known.gather(1, place.unsqueeze(-1).expand(-1, -1, known.shape[-1]))
        taken = taken.gather(2, place.unsqueeze(1).expand_as(found))
        found = torch.where(old.unsqueeze(-1) & old.unsqueeze(-2), taken, found)
    return as_first(found, index)


def _sorted_mean(values: Tensor, index: Tensor, drop: int, out: Tensor, who: Tensor) -> None:
    size = index.shape[1]
    if numba_serves(values):
        from aggregation.kernels import compiled as kernels

        steps = network(size, drop)
        kernels.sorted_mean(values.numpy(), index.contiguous().numpy(), steps, drop, out.numpy(), who.numpy())
        return
    sorted_mean(values, index, drop, out, who)
