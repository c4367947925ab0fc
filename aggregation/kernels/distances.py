"""Squared distances between rows by batched products, to float32 however near the rows are to each other.

|a - b|^2 = |a - c|^2 + |b - c|^2 - 2 <a - c, b - c> with c one of the node's own rows; where that is a small
difference of large numbers (near rows far from c, copies above all) the pair is computed again from a - b.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ELEMENTS = 1 << 20  # floats gathered at a time: 4 MB; with less, threads wait for the interpreter between calls
_COLUMNS = 8192  # products in float32 over so many columns, sums of them in float64
_LINE = 16  # floats of a cache line: rows start on one, or what a BLAS rounds would depend on their place
_NEW = 16  # new rows of a node, in wholes: 9 take a BLAS as long as 16, and there are few kinds of nodes
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
    # rounded up, so that there are few kinds; a node's bits depend on its own kind alone
    new = (fresh + _NEW - 1) // _NEW * _NEW
    here = torch.maximum(((index >= 0).sum(dim=1) + 3) // 4 * 4, new)
    most = int(here.max())
    names = torch.where(index >= 0, index, index[:, :1])
    names = torch.cat([names, index[:, :1].expand(-1, max(0, most - width))], dim=1)
    for tall, wide in torch.unique(torch.stack([new, here], dim=1), dim=0).tolist():
        if tall:
            who = ((new == tall) & (here == wide)).nonzero().squeeze(1)
            found = _distances(values, names[who, :wide], tall, index[who], fresh[who])
            out[who] = found
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


def _distances(values: Tensor, names: Tensor, new: int, index: Tensor, fresh: Tensor) -> Tensor:
    # (n, wide) rows that are there, index (n, width) and fresh (n,) as pair_distances -> (n, width, width)
    width = index.shape[1]
    products, squares = _products(values, names, new)
    sums = squares.unsqueeze(-1) + squares[:, :new].unsqueeze(-2)
    distances = (sums - 2 * products)[:, :width, :width]
    place = torch.arange(width, device=index.device)[: distances.shape[1]]
    first = place[: distances.shape[2]]
    absent = index[:, : len(place)] < 0
    wanted = (first < fresh[:, None, None]) & (first < place[:, None]) & ~absent.unsqueeze(2)
    near = wanted & ~(distances >= _NEAR * sums[:, :width, :width])  # or not a number: something overflowed
    if bool(near.any()):
        node, two, one = near.nonzero(as_tuple=True)
        pairs = torch.stack([names[node, one], names[node, two]], dim=1).sort(dim=1).values
        unique, back = torch.unique(pairs, dim=0, return_inverse=True)
        distances[node, two, one] = _direct(values, unique)[back]
    full = values.new_zeros(len(index), width, width)
    full[:, : len(place), : len(first)] = torch.where(wanted, distances, 0.0)
    return full + full.transpose(1, 2)


def _products(values: Tensor, names: Tensor, new: int) -> tuple[Tensor, Tensor]:
    # of rows less the node's first one: all with the new ones (n, wide, new), and squared norms (n, wide); float64
    nodes, wide = names.shape
    columns = min(_COLUMNS, values.shape[1])
    padded = -(-columns // _LINE) * _LINE
    step = max(1, _ELEMENTS // (wide * padded))
    room = values.new_empty(min(step, nodes) * wide, padded)
    products = torch.zeros(nodes, wide, new, dtype=torch.float64, device=values.device)
    squares = torch.zeros(nodes, wide, dtype=torch.float64, device=values.device)
    for start in range(0, nodes, step):
        some = names[start : start + step]
        flat = some.reshape(-1)
        part, lengths = products[start : start + step], squares[start : start + step]
        for begin in range(0, values.shape[1], columns):
            taken = values[:, begin : begin + columns]
            length = taken.shape[1]
            rows = room[: len(flat), : -(-length // _LINE) * _LINE]
            rows[:, length:] = 0.0
            torch.index_select(taken, 0, flat, out=rows[:, :length])
            moved = rows.view(len(some), wide, -1)
            moved[:, 1:].sub_(moved[:, :1])
            moved[:, 0] = 0.0
            found = torch.bmm(moved, moved[:, :new].transpose(1, 2))
            part += found
            lengths[:, :new] += torch.diagonal(found, dim1=1, dim2=2)
            lengths[:, new:] += torch.linalg.vector_norm(moved[:, new:], dim=2).double().square_()
    return products, squares


def _direct(values: Tensor, pairs: Tensor) -> Tensor:
    found = torch.empty(len(pairs), dtype=torch.float64, device=values.device)
    step = max(1, _ELEMENTS // values.shape[1])
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        apart = (values[part[:, 0]] - values[part[:, 1]]).double()
        found[start : start + step] = torch.linalg.vecdot(apart, apart)
    return found
