"""numba kernels for pairs of rows (optional): squared distances, cosine gaps and similarity weights, many nodes a call.

Laws:
- As aggregation.compiled: one call tree in this file, no interpreter lock, nothing written for a node depends on who
  else is in the call, `contract` and `reassoc` but never `nnan` or `ninf`.
- Distances are sums of squared differences: nothing cancels. Every pair goes through the same register tile, and a row
  that equals an earlier one of its node takes that one's distances: equal rows are at distance 0 and at one distance
  from any third, bit by bit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from aggregation.compiled import FAST, cache_works

_COLUMNS = 1024  # columns a block: forty rows of a block stay in L2
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
    """out[n, a]: weights of aggregation.foolsgold from gaps (N, m, m), of the first `direct` rows."""
    _similarity_weights(gaps, direct, pardon, floor, shift, out)


@_jit
def _known_distances(values, index, serial, before, known, out):  # type: ignore[no-untyped-def]
    zero = np.float32(0.0)
    nodes, width = index.shape
    old = before.shape[1]
    columns = values.shape[1]
    place = np.full((nodes, width), -1, dtype=np.int64)  # among the known ones
    spot = np.empty((nodes, width), dtype=np.int64)  # where in index: fresh ones first, then known ones
    first = np.zeros(nodes, dtype=np.int64)
    count = np.zeros(nodes, dtype=np.int64)
    most = 0
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
        most = max(most, first[n])
    total = np.empty((most + 4, width + 5), dtype=np.float64)
    same = np.empty(width, dtype=np.int64)
    name = np.empty(width + 5, dtype=np.int64)
    for n in range(nodes):
        if count[n] > 0:
            for k in range(width + 5):
                name[k] = index[n, spot[n, min(k, count[n] - 1)]]
            total[:] = zero
        for begin in range(0, columns if first[n] else 0, _COLUMNS):
            end = min(begin + _COLUMNS, columns)
            length = end - begin
            for r in range(0, first[n], 4):
                a0, a1 = values[name[r], begin:end], values[name[r + 1], begin:end]
                a2, a3 = values[name[r + 2], begin:end], values[name[r + 3], begin:end]
                for c in range(r, count[n], 5):
                    b0, b1 = values[name[c], begin:end], values[name[c + 1], begin:end]
                    b2, b3 = values[name[c + 2], begin:end], values[name[c + 3], begin:end]
                    b4 = values[name[c + 4], begin:end]
                    s00 = s01 = s02 = s03 = s04 = zero
                    s10 = s11 = s12 = s13 = s14 = zero
                    s20 = s21 = s22 = s23 = s24 = zero
                    s30 = s31 = s32 = s33 = s34 = zero
                    for i in range(length):
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
                    u0, u1, u2, u3 = total[r], total[r + 1], total[r + 2], total[r + 3]
                    u0[c] += s00
                    u0[c + 1] += s01
                    u0[c + 2] += s02
                    u0[c + 3] += s03
                    u0[c + 4] += s04
                    u1[c] += s10
                    u1[c + 1] += s11
                    u1[c + 2] += s12
                    u1[c + 3] += s13
                    u1[c + 4] += s14
                    u2[c] += s20
                    u2[c + 1] += s21
                    u2[c + 2] += s22
                    u2[c + 3] += s23
                    u2[c + 4] += s24
                    u3[c] += s30
                    u3[c + 1] += s31
                    u3[c + 2] += s32
                    u3[c + 3] += s33
                    u3[c + 4] += s34
        here = out[n]
        here[:] = zero
        for r in range(first[n]):
            for c in range(r + 1, count[n]):
                found = np.float32(total[r, c])
                here[spot[n, r], spot[n, c]] = found
                here[spot[n, c], spot[n, r]] = found
        for r in range(first[n], count[n]):
            i = spot[n, r]
            for c in range(r + 1, count[n]):
                j = spot[n, c]
                found = known[n, place[n, i], place[n, j]]
                here[i, j] = found
                here[j, i] = found
        # a row that equals an earlier one is as far from all others as that one, whatever rounding says
        twins = False
        for j in range(width):
            same[j] = j
            if index[n, j] < 0:
                continue
            for i in range(j):
                if index[n, i] >= 0 and here[i, j] == zero:
                    same[j] = i
                    twins = True
                    break
        if twins:
            for j in range(width):
                if same[j] != j:
                    for i in range(width):
                        here[j, i] = here[same[j], same[i]]
                        here[i, j] = here[j, i]


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
                    if rest < _REMAINDER * apart:
                        rest = 2 * (area - _inner(values, index[n, i], index[n, j]))
                    gap = min(max(rest / (2 * area), 0.0), 2.0)
                out[n, i, j] = gap
                out[n, j, i] = gap


@_jit
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
