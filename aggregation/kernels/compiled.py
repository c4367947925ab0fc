"""numba kernels behind aggregation.kernels.rows (optional): weighted sums and sorted means over rows.

Laws:
- One call tree in this file: numba's cache does not see changes in other files.
- Kernels release the interpreter lock; what they write for a node does not depend on who else is in the call.
- `contract` and `reassoc`, never `nnan` or `ninf`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from aggregation.kernels.cache import FAST, cache_works
from aggregation.kernels.compiled_sort import kernel

_COLUMNS = 1024  # columns a block: sums in float32 stay short, and forty rows of a block stay in L2
_LANE = 256  # columns that are sorted at once: nine rows of them stay in L1

MUCH = 1 << 24  # numbers of a table times rows of a node from which a kernel of its own for so many rows pays
REGISTERS = 24  # rows that can be sorted in registers, nearly

Rows = NDArray[np.float32]
Names = NDArray[np.int64]

_jit = numba.njit(nogil=True, fastmath=FAST, cache=cache_works(), error_model="numpy")


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
    size = index.shape[1]
    if size <= REGISTERS and len(values) * values.shape[1] * size >= MUCH:
        kernel(size, drop)(*_flat(values), values.shape[1], np.ascontiguousarray(index), *_flat(out), who)
        return
    _sorted_mean(values, index, np.array(steps, dtype=np.int64).reshape(-1, 2), drop, out, who)


def squared_norms(values: Rows, index: Names, out: NDArray[np.float64]) -> None:
    """out[n] = squared norm of values[index[n]], summed in float64.

    Raises:
        IndexError: a row number out of range, or absent.
    """
    _check(values, index)
    if index.size and index.min() < 0:
        raise IndexError("a row is absent")
    _squared_norms(values, index, out)


def _flat(rows: Rows) -> tuple[Rows, int]:
    # all floats from the first row on, and how many there are from one row to the next
    step = rows.strides[0] // 4
    length = (len(rows) - 1) * step + rows.shape[1] if len(rows) else 0
    return np.lib.stride_tricks.as_strided(rows, (length,), (4,)), step


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
def _squared_norms(values, index, out):  # type: ignore[no-untyped-def]
    for n in range(len(index)):
        row = values[index[n]]
        total = 0.0
        for i in range(len(row)):
            value = np.float64(row[i])
            total += value * value
        out[n] = total


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
