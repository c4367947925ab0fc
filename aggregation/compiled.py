"""numba kernels behind aggregation.kernels (optional): weighted sums, sorted means, squared distances over rows.

Laws:
- One call tree in this file: numba's cache does not see changes in other files. It lies beside this file or in the
  user's own cache folder, never in a shared temporary one (it holds machine code); where neither can be written
  there is none.
- Kernels release the interpreter lock; what they write for a node does not depend on who else is in the call.
- Every pair of rows goes through the same register tile, so equal rows are at equal distances, bit by bit.
- `contract` and `reassoc`, never `nnan` or `ninf`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_COLUMNS = 1024  # columns a block: sums in float32 stay short, and forty rows of a block stay in L2
_LANE = 256  # columns that are sorted at once: nine rows of them stay in L1
_FAST = {"contract", "reassoc", "nsz", "arcp"}

Rows = NDArray[np.float32]
Names = NDArray[np.int64]


def _cache_works() -> bool:
    # numba raises when neither the package's folder nor the user's cache folder can be written
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:
        return False
    return True


def _nothing() -> int:
    return 0


_jit = numba.njit(nogil=True, fastmath=_FAST, cache=_cache_works(), error_model="numpy")


def weighted_sum(values: Rows, index: Names, weights: Rows, out: Rows) -> None:
    """out[n] = sum_k weights[n, k] values[index[n, k]]; -1 is left out.

    Raises:
        IndexError: a row number out of range.
    """
    _check(values, index)
    _weighted_sum(values, index, weights, out)


def sorted_mean(values: Rows, index: Names, steps: Sequence[tuple[int, int]], drop: int, out: Rows, who: Names) -> None:
    """out[who[g]] = mean by column of rows index[g] without the `drop` lowest and highest.

    Raises:
        IndexError: a row number out of range.
    """
    _check(values, index)
    _check(out, who)
    _sorted_mean(values, index, np.array(steps, dtype=np.int64).reshape(-1, 2), drop, out, who)


def squared_distances(values: Rows, index: Names, fresh: Names, out: NDArray[Any]) -> None:
    """out[n, i, j] = |values[index[n, i]] - values[index[n, j]]|^2 where i or j is among the first fresh[n] columns.

    Args:
        values: (R, d).
        index: (N, k) row numbers, fresh ones first; -1 (only at the end) is absent.
        fresh: (N,) how many are fresh.
        out: (N, k, k) float32; other entries stay.

    Raises:
        IndexError: a row number out of range.
    """
    _check(values, index)
    _squared_distances(values, index, fresh, out)


def _check(values: Rows, index: Names) -> None:
    if index.size and not (index.min() >= -1 and index.max() < len(values)):
        raise IndexError("a row number is out of range")


@_jit
def _weighted_sum(values, index, weights, out):  # type: ignore[no-untyped-def]
    zero = np.float32(0.0)
    width = values.shape[1]
    most = index.shape[1]
    names = np.empty(most, dtype=np.int64)
    shares = np.empty(most, dtype=np.float32)
    for n in range(index.shape[0]):
        count = 0
        for k in range(most):
            if index[n, k] >= 0:
                names[count] = index[n, k]
                shares[count] = weights[n, k]
                count += 1
        row = out[n]
        if count == 0:
            for i in range(width):
                row[i] = zero
            continue
        # the block's sum stays in L1 while its rows come past, at most eight at a time
        for begin in range(0, width, _COLUMNS):
            end = min(begin + _COLUMNS, width)
            length = end - begin
            part = row[begin:end]
            x0 = values[names[0], begin:end]
            w0 = shares[0]
            for i in range(length):
                part[i] = w0 * x0[i]
            k = 1
            while k + 4 <= count:
                x0, x1 = values[names[k], begin:end], values[names[k + 1], begin:end]
                x2, x3 = values[names[k + 2], begin:end], values[names[k + 3], begin:end]
                w0, w1, w2, w3 = shares[k], shares[k + 1], shares[k + 2], shares[k + 3]
                for i in range(length):
                    part[i] = part[i] + w0 * x0[i] + w1 * x1[i] + w2 * x2[i] + w3 * x3[i]
                k += 4
            while k < count:
                x0 = values[names[k], begin:end]
                w0 = shares[k]
                for i in range(length):
                    part[i] += w0 * x0[i]
                k += 1


@_jit
def _sorted_mean(values, index, steps, drop, out, who):  # type: ignore[no-untyped-def]
    width = values.shape[1]
    size = index.shape[1]
    kept = size - 2 * drop
    share = np.float32(1.0) / np.float32(kept)
    lanes = np.empty((size, _LANE), dtype=np.float32)
    # blocks of columns outside, nodes inside: a block of all rows stays in cache while every node reads it
    for begin in range(0, width, _LANE):
        length = min(_LANE, width - begin)
        for g in range(index.shape[0]):
            for k in range(size):
                source = values[index[g, k], begin : begin + length]
                lane = lanes[k]
                for i in range(length):
                    lane[i] = source[i]
            for s in range(steps.shape[0]):
                low, high = lanes[steps[s, 0]], lanes[steps[s, 1]]
                for i in range(_LANE):
                    a, b = low[i], high[i]
                    low[i] = a if a < b else b
                    high[i] = b if a < b else a
            row = out[who[g], begin : begin + length]
            lane = lanes[drop]
            if kept == 1:
                for i in range(length):
                    row[i] = lane[i]
            else:
                for i in range(_LANE):
                    lane[i] *= share
                for k in range(drop + 1, size - drop):
                    other = lanes[k]
                    for i in range(_LANE):
                        lane[i] += share * other[i]
                for i in range(length):
                    row[i] = lane[i]


@_jit
def _squared_distances(values, index, fresh, out):  # type: ignore[no-untyped-def]
    zero = np.float32(0.0)
    width = values.shape[1]
    most = index.shape[1]
    total = np.empty((most + 4, most + 8), dtype=np.float64)
    for n in range(index.shape[0]):
        count = 0
        while count < most and index[n, count] >= 0:
            count += 1
        first = min(fresh[n], count)
        if first == 0:
            continue
        total[:] = 0.0
        last = count - 1
        for begin in range(0, width, _COLUMNS):
            end = min(begin + _COLUMNS, width)
            for r in range(0, first, 4):
                a0 = values[index[n, r], begin:end]
                a1 = values[index[n, min(r + 1, last)], begin:end]
                a2 = values[index[n, min(r + 2, last)], begin:end]
                a3 = values[index[n, min(r + 3, last)], begin:end]
                for c in range(r, count, 5):
                    b0 = values[index[n, c], begin:end]
                    b1 = values[index[n, min(c + 1, last)], begin:end]
                    b2 = values[index[n, min(c + 2, last)], begin:end]
                    b3 = values[index[n, min(c + 3, last)], begin:end]
                    b4 = values[index[n, min(c + 4, last)], begin:end]
                    s00 = s01 = s02 = s03 = s04 = zero
                    s10 = s11 = s12 = s13 = s14 = zero
                    s20 = s21 = s22 = s23 = s24 = zero
                    s30 = s31 = s32 = s33 = s34 = zero
                    for i in range(end - begin):
                        x0, x1, x2, x3 = a0[i], a1[i], a2[i], a3[i]
                        y = b0[i]
                        t0, t1, t2, t3 = x0 - y, x1 - y, x2 - y, x3 - y
                        s00 += t0 * t0
                        s10 += t1 * t1
                        s20 += t2 * t2
                        s30 += t3 * t3
                        y = b1[i]
                        t0, t1, t2, t3 = x0 - y, x1 - y, x2 - y, x3 - y
                        s01 += t0 * t0
                        s11 += t1 * t1
                        s21 += t2 * t2
                        s31 += t3 * t3
                        y = b2[i]
                        t0, t1, t2, t3 = x0 - y, x1 - y, x2 - y, x3 - y
                        s02 += t0 * t0
                        s12 += t1 * t1
                        s22 += t2 * t2
                        s32 += t3 * t3
                        y = b3[i]
                        t0, t1, t2, t3 = x0 - y, x1 - y, x2 - y, x3 - y
                        s03 += t0 * t0
                        s13 += t1 * t1
                        s23 += t2 * t2
                        s33 += t3 * t3
                        y = b4[i]
                        t0, t1, t2, t3 = x0 - y, x1 - y, x2 - y, x3 - y
                        s04 += t0 * t0
                        s14 += t1 * t1
                        s24 += t2 * t2
                        s34 += t3 * t3
                    total[r, c] += s00
                    total[r, c + 1] += s01
                    total[r, c + 2] += s02
                    total[r, c + 3] += s03
                    total[r, c + 4] += s04
                    total[r + 1, c] += s10
                    total[r + 1, c + 1] += s11
                    total[r + 1, c + 2] += s12
                    total[r + 1, c + 3] += s13
                    total[r + 1, c + 4] += s14
                    total[r + 2, c] += s20
                    total[r + 2, c + 1] += s21
                    total[r + 2, c + 2] += s22
                    total[r + 2, c + 3] += s23
                    total[r + 2, c + 4] += s24
                    total[r + 3, c] += s30
                    total[r + 3, c + 1] += s31
                    total[r + 3, c + 2] += s32
                    total[r + 3, c + 3] += s33
                    total[r + 3, c + 4] += s34
        for r in range(first):
            for c in range(r, count):
                # columns before the tile's own start lie in the tile of the other row: r <= c holds both orders
                value = np.float32(total[r, c])
                out[n, r, c] = value
                out[n, c, r] = value
