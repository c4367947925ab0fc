"""Squared distances between rows by batched products, to float32 however near the rows are to each other.

|a - b|^2 = |a - c|^2 + |b - c|^2 - 2 <a - c, b - c> with c one of the node's own rows; where that is a small
difference of large numbers (near rows far from c, copies above all) the pair is computed again from a - b.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ELEMENTS = 1 << 19  # floats gathered at a time: 2 MB
_COLUMNS = 4096  # products in float32 over so many columns, sums of them in float64
_LINE = 16  # floats of a cache line: rows start on one, or what a BLAS rounds would depend on their place
_NEAR = 0.02  # of the sum of squares: below it, more than one of seven digits is gone


def pair_distances(values: Tensor, index: Tensor, fresh: Tensor) -> Tensor:
    """Squared distances of pairs of which at least one is fresh.

    Args:
        values: (R, d) float32; the named rows are finite.
        index: (N, k) int64 row numbers, fresh ones first, absent ones (-1) last.
        fresh: (N,) how many are fresh.

    Returns:
        (N, k, k) float32, symmetric to the bit; 0 where neither is fresh, where one is absent, and between equal rows.
    """
    nodes, width = index.shape
    out = values.new_zeros(nodes, width, width)
    if nodes == 0 or width == 0:
        return out
    kinds = torch.stack([fresh, (index >= 0).sum(dim=1)], dim=1)
    # rounded up, so that there are few kinds; a node's bits depend on its own kind alone
    top = torch.minimum((kinds + 3) // 4 * 4, torch.tensor(width, device=index.device))
    size = values.shape[1]
    padded = -(-size // _LINE) * _LINE
    most = max(1, _ELEMENTS // (width * padded)) * width
    room = values.new_zeros(most, padded)
    for new, here in torch.unique(top, dim=0).tolist():
        if new == 0:
            continue
        who = ((top[:, 0] == new) & (top[:, 1] == here)).nonzero().squeeze(1)
        step = most // here
        for start in range(0, len(who), step):
            some = who[start : start + step]
            _block(values, index[some, :here], new, fresh[some], out, some, room)
    return out


def as_first(distances: Tensor, index: Tensor) -> Tensor:
    """Give a row that equals an earlier one of its node the distances of that one, whatever rounding says.

    Args:
        distances: (N, k, k).
        index: (N, k) row numbers, -1 absent.
    """
    here = index >= 0
    twins = (distances == 0) & here.unsqueeze(-1) & here.unsqueeze(-2)
    if int(twins.sum()) == int(here.sum()):
        return distances
    first = twins.to(torch.int8).argmax(dim=-1)
    place = torch.where(here, first, torch.arange(index.shape[-1], device=index.device))
    rows = distances.gather(1, place.unsqueeze(-1).expand_as(distances))
    return rows.gather(2, place.unsqueeze(1).expand_as(distances))


def _block(values: Tensor, index: Tensor, new: int, fresh: Tensor, out: Tensor, who: Tensor, room: Tensor) -> None:
    nodes, width = index.shape
    absent = index < 0
    names = torch.where(absent, index[:, :1], index)
    rows = room[: nodes * width]
    torch.index_select(values, 0, names.reshape(-1), out=rows[:, : values.shape[1]])
    moved = rows.view(nodes, width, -1)
    moved[:, 1:].sub_(moved[:, :1])
    moved[:, 0] = 0.0
    products = torch.zeros(nodes, new, width, dtype=torch.float64, device=values.device)
    for start in range(0, moved.shape[2], _COLUMNS):
        part = moved[:, :, start : start + _COLUMNS]
        products += torch.bmm(part[:, :new], part.transpose(1, 2))
    squares = torch.linalg.vector_norm(moved, dim=2).double().square_()
    sums = squares[:, :new].unsqueeze(-1) + squares.unsqueeze(-2)
    distances = sums - 2 * products
    place = torch.arange(width, device=index.device)
    wanted = (place[:new, None] < fresh[:, None, None]) & (place[:new, None] < place) & ~absent.unsqueeze(1)
    near = wanted & (distances < _NEAR * sums)
    if bool(near.any()):
        node, one, two = near.nonzero(as_tuple=True)
        pairs = torch.stack([names[node, one], names[node, two]], dim=1).sort(dim=1).values
        unique, back = torch.unique(pairs, dim=0, return_inverse=True)
        distances[node, one, two] = _direct(values, unique)[back]
    exact = torch.where(wanted, distances, 0.0).to(values.dtype)
    full = values.new_zeros(nodes, width, width)
    full[:, :new] = exact
    full = full + full.transpose(1, 2)
    out[who, :width, :width] = full


def _direct(values: Tensor, pairs: Tensor) -> Tensor:
    found = torch.empty(len(pairs), dtype=torch.float64, device=values.device)
    step = max(1, _ELEMENTS // values.shape[1])
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        apart = (values[part[:, 0]] - values[part[:, 1]]).double()
        found[start : start + step] = torch.linalg.vecdot(apart, apart)
    return found
