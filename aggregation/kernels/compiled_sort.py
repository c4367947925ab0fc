"""Trimmed means per coordinate in vector registers (numba; optional): load k rows, sort, store one.

Laws:
- One kernel a pair (rows, rows dropped): its comparators are instructions, so that nothing is stored on the way.
- Kernels release the interpreter lock; what they write for a node does not depend on who else is in the call.
- numba's cache sees changes of this file and of what a kernel closes over, no others: hence the stamp of sorting.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from aggregation.kernels import sorting, tiles
from aggregation.kernels.cache import cache_works

_COLUMNS = 128  # columns a block: as many of a thousand rows stay in the second-level cache
_CACHED = cache_works()
_WORD = ir.IntType(64)


_LANES = tiles.LANES
_VECTOR = ir.VectorType(ir.FloatType(), _LANES)


def _at(builder: Any, data: Any, offset: Any) -> Any:
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


def _mean_of_middle(_, values, starts, column, out, at, size, drop):  # type: ignore[no-untyped-def]
    """out[at + i] := mean of the `size` values[starts[k] + column + i], i < LANES, less `drop` at both ends."""
    lanes, cut = size.literal_value, drop.literal_value

    def emit(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        data, begins, target = (
            make_array(signature.args[k])(context, builder, arguments[k]).data  # type: ignore[no-untyped-call]
            for k in (0, 1, 3)
        )
        rows = []
        for k in range(lanes):
            start = builder.load(builder.gep(begins, [ir.Constant(_WORD, k)]))
            rows.append(builder.load(_at(builder, data, builder.add(start, arguments[2])), align=4))
        for step in sorting.comparators(lanes, cut):
            low, high = rows[step.low], rows[step.high]
            if step.keeps_low:
                rows[step.low] = builder.select(builder.fcmp_ordered("<", low, high), low, high)
            if step.keeps_high:
                rows[step.high] = builder.select(builder.fcmp_ordered(">", high, low), high, low)
        kept = rows[cut : lanes - cut]
        total = kept[0]
        if len(kept) > 1:  # shares first: the sum of two large numbers would overflow
            share = ir.Constant(_VECTOR, [float(np.float32(1 / len(kept)))] * _LANES)
            total = builder.fmul(total, share)
            for row in kept[1:]:
                total = builder.fadd(total, builder.fmul(row, share))
        builder.store(total, _at(builder, target, arguments[4]), align=4)
        return context.get_dummy_value()

    return types.void(values, starts, types.int64, out, types.int64, size, drop), emit


_middle: Any = intrinsic(prefer_literal=True)(_mean_of_middle)


@lru_cache(maxsize=256)
def kernel(size: int, drop: int) -> Callable[..., None]:
    """The kernel for so many rows, `drop` of them left out at each end."""
    return _built(size, drop, crc32(Path(sorting.__file__).read_bytes()))


def _built(size: int, drop: int, stamp: int) -> Callable[..., None]:
    @numba.njit(nogil=True, error_model="numpy", cache=_CACHED)
    def middle(values, step, width, index, out, out_step, who):  # type: ignore[no-untyped-def]
        """Write out[who[g]] for every g.

        Args:
            values: float32, rows one after the other, `step` floats apart.
            step: from one row to the next.
            width: columns.
            index: (G, size) int64 row numbers.
            out: float32, likewise, `out_step` floats apart.
            out_step: from one row of `out` to the next.
            who: (G,) int64 rows of `out`.
        """
        if stamp < 0:
            return
        starts = np.empty(size, dtype=np.int64)
        spare = np.zeros((size + 1) * _LANES, dtype=np.float32)
        whole = width // _LANES * _LANES
        for begin in range(0, width, _COLUMNS):
            end = min(begin + _COLUMNS, whole)
            for g in range(index.shape[0]):
                for k in range(size):
                    starts[k] = index[g, k] * step
                at = who[g] * out_step
                for i in range(begin, end, _LANES):
                    _middle(values, starts, i, out, at + i, size, drop)
        rest = width - whole
        if rest > 0:  # by way of memory that has whole vectors
            for g in range(index.shape[0]):
                for k in range(size):
                    starts[k] = k * _LANES
                    for i in range(rest):
                        spare[k * _LANES + i] = values[index[g, k] * step + whole + i]
                _middle(spare, starts, 0, spare, size * _LANES, size, drop)
                for i in range(rest):
                    out[who[g] * out_step + whole + i] = spare[size * _LANES + i]

    return middle
