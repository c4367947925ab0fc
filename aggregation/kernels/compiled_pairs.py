"""numba kernels for pairs of rows (optional): squared distances, cosine gaps and similarity weights, many nodes a call.

Laws:
- As aggregation.kernels.compiled: one call tree in this file, no interpreter lock, nothing written for a node depends
  on who else is in the call, `contract` and `reassoc` but never `nnan` or `ninf`.
- Distances are sums of squared differences: nothing cancels. A pair's sum has one order wherever it stands, in a tile
  of whatever shape (no `reassoc` there): equal rows are at distance 0 and at one distance from any third, bit by bit.
- numba's cache sees changes of this file and of what a kernel closes over, no others: hence the stamp of tiles.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numba
import numpy as np
from numpy.typing import NDArray

from aggregation.kernels import tiles
from aggregation.kernels.cache import FAST, cache_works

_COLUMNS = 2048  # columns a block: forty rows of a block stay in L2, and what is asked for beside them
_ROWS = 60  # rows whose block stays in L2 while all new rows pass
_LANES, _SHORT, _TALL = tiles.LANES, tiles.SHORT, tiles.TALL
_REMAINDER = 1e-2  # of a squared distance: what is left for the angle below it has lost two of seven digits

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Names = NDArray[np.int64]

_jit = numba.njit(nogil=True, fastmath=FAST, cache=cache_works(), error_model="numpy")


def known_distances(
    values: Floats, index: Names, serial: Names, before: Names, known: Floats, out: NDArray[Any]
) -> None:
    """out[n, i, j] = |values[index[n, i]] - values[index[n, j]]|^2, of pairs that are not known computed, else copied.

    Args:
        values: (R, d); the named rows are finite.
        index: (N, k) row numbers; -1 absent.
        serial: (R,) identity of each row.
        before: (N, w) identities of the rows whose distances are known; 0 none.
        known: (N, w, w) these distances.
        out: (N, k, k) float32; 0 for absent rows.

    Raises:
        IndexError: a row number out of range.
    """
    if index.size and not (index.min() >= -1 and index.max() < len(values)):
        raise IndexError("a row number is out of range")
    if index.size:
        _known_distances(values, index, serial, before, known, out)


def cosine_gaps(values: Floats, index: Names, squares: Doubles, distances: Floats, out: Doubles) -> None:
    """out[n, i, j] = 1 - cosine, from squared distances (N, k, k) and squared norms (R,); 1 where there is no angle."""
    _cosine_gaps(values, index, squares, distances, out)


def similarity_weights(gaps: Doubles, direct: int, pardon: float, floor: float, shift: float, out: Doubles) -> None:
    """out[n, a]: weights of aggregation.rules.foolsgold from gaps (N, m, m), of the first `direct` rows."""
    _similarity_weights(gaps, direct, pardon, floor, shift, out)


def _built(stamp: int) -> Callable[..., None]:
    # no reassoc: a pair's sum has one order, in a tile of any shape
    @numba.njit(nogil=True, fastmath={"contract"}, cache=cache_works(), error_model="numpy")
    def fill(values, index, serial, before, known, out):  # type: ignore[no-untyped-def]
        zero = np.float32(0.0)
        if stamp < 0:
            return
        nodes, width = index.shape
        old = before.shape[1]
        columns = values.shape[1]
        whole = columns - columns % _LANES
        place = np.full((nodes, width), -1, dtype=np.int64)  # among the known ones
        spot = np.empty((nodes, width), dtype=np.int64)  # where in index: fresh ones first, then known ones
        start = np.empty((nodes, width), dtype=np.int64)  # of their rows
        first = np.zeros(nodes, dtype=np.int64)
        count = np.zeros(nodes, dtype=np.int64)
        for n in range(nodes):
            here = 0
            for i in range(width):
                if index[n, i] >= 0:
                    mine = serial[index[n, i]]
                    for j in range(old):
                        if before[n, j] == mine:
                            place[n, i] = j
                            break
                    if place[n, i] < 0:
                        spot[n, here] = i
                        here += 1
            first[n] = here
            for i in range(width):
                if index[n, i] >= 0 and place[n, i] >= 0:
                    spot[n, here] = i
                    here += 1
            count[n] = here
            for k in range(here):
                start[n, k] = index[n, spot[n, k]] * columns
        total = np.empty((first.max() if nodes else 0, width), dtype=np.float64)
        ends = np.zeros((width, _LANES), dtype=np.float32)  # what is left of each row after whole vectors
        ends_at = np.arange(width) * _LANES
        for n in range(nodes):
            total[:] = 0.0
            names, new, held = start[n], first[n], count[n]
            for begin in range(0, whole if new else 0, _COLUMNS):
                length = min(_COLUMNS, whole - begin)
                # what comes next: these rows' next columns, or the next node's rows
                later, shift = n, begin + length
                if shift >= whole:
                    later, shift = min(n + 1, nodes - 1), 0
                asked, most = 0, count[later] if first[later] else 0
                for left in range(0, held, _ROWS):
                    right = min(left + _ROWS, held)
                    for r in range(0, min(new, right), _SHORT):
                        for c in range(max(r + 1, left), right, _TALL):
                            ahead = start[later, asked] + shift if asked < most else names[0] + begin
                            also = start[later, asked + 1] + shift if asked + 1 < most else names[0] + begin
                            asked += 2
                            tiles.distance_tile(
                                total, r * width + c, width, values, names, r, c, min(_SHORT, new - r),
                                min(_TALL, right - c), length, begin, ahead, also
                            )  # fmt: skip
            if whole < columns and new:
                for k in range(held):
                    for i in range(columns - whole):
                        ends[k, i] = values[index[n, spot[n, k]], whole + i]
                for r in range(0, new, _SHORT):
                    for c in range(r + 1, held, _TALL):
                        tiles.distance_tile(
                            total, r * width + c, width, ends, ends_at, r, c, min(_SHORT, new - r),
                            min(_TALL, held - c), _LANES, 0, 0, 0
                        )  # fmt: skip
            here = out[n]
            here[:] = zero
            for r in range(held):
                i = spot[n, r]
                for c in range(r + 1, held):
                    j = spot[n, c]
                    found = np.float32(total[r, c]) if r < new else known[n, place[n, i], place[n, j]]
                    here[i, j] = found
                    here[j, i] = found

    return fill


_known_distances = _built(crc32(Path(tiles.__file__).read_bytes()))


@_jit
def _cosine_gaps(values, index, squares, distances, out):  # type: ignore[no-untyped-def]
    nodes, width = index.shape
    lengths = np.zeros(width, dtype=np.float64)
    for n in range(nodes):
        for i in range(width):
            lengths[i] = np.sqrt(squares[index[n, i]]) if index[n, i] >= 0 else 0.0
        for i in range(width):
            out[n, i, i] = 0.0 if lengths[i] > 0 else 1.0
            for j in range(i + 1, width):
                gap = 1.0
                area = lengths[i] * lengths[j]
                if area > 0:
                    apart = np.float64(distances[n, i, j])
                    radial = (lengths[i] - lengths[j]) ** 2
                    rest = apart - radial
                    if rest < _REMAINDER * apart or apart == np.inf:  # beyond float32: nothing is left of the angle
                        rest = 2 * (area - _inner(values, index[n, i], index[n, j]))
                    gap = min(max(rest / (2 * area), 0.0), 2.0)
                out[n, i, j] = gap
                out[n, j, i] = gap


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _inner(values, one, two):  # type: ignore[no-untyped-def]
    # in order of row numbers: the same bits from both sides
    a, b = values[min(one, two)], values[max(one, two)]
    total = 0.0
    for i in range(a.shape[0]):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@_jit
def _similarity_weights(gaps, direct, pardon, floor, shift, out):  # type: ignore[no-untyped-def]
    nodes, width = gaps.shape[0], gaps.shape[1]
    nearest = np.empty(width, dtype=np.float64)
    share = np.empty(width, dtype=np.float64)
    for n in range(nodes):
        gap = gaps[n]
        for i in range(width):
            least = 1.0
            for j in range(width):
                other = gap[i, j]
                if j != i and other < least:
                    least = other
            nearest[i] = least
            share[i] = 1.0 / (1.0 - least + pardon)
        largest = 0.0
        for i in range(direct):
            raw = 1.0
            mine = nearest[i]
            for j in range(width):
                if j != i:
                    excess = max(mine - nearest[j], 0.0) * share[j]
                    there = gap[i, j] + (1.0 - gap[i, j]) * excess
                    if there < raw:
                        raw = there
            raw = max(raw, 0.0)
            if raw < floor or gap[i, i] >= 1.0:
                raw = 0.0
            out[n, i] = raw
            largest = max(largest, raw)
        for i in range(direct):
            scaled = out[n, i] / max(largest, floor)
            if scaled <= 0.0:
                out[n, i] = 0.0
            elif scaled >= 1.0:
                out[n, i] = 1.0
            else:
                out[n, i] = min(max(np.log(scaled / (1.0 - scaled)) + shift, 0.0), 1.0)
