"""Naive loops in float64 for the further rules and the `hedgerow` defence: slow, plain, one node at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

Vector = np.ndarray


def usable(own: Vector, neighbours: Sequence[Vector | None]) -> list[Vector]:
    return [x for x in neighbours if x is not None and np.isfinite(x).all() and norm(x - own) <= 1e18]


def norm(v: Vector) -> float:
    return math.sqrt(sum(float(c) ** 2 for c in v))


def clip(v: Vector, tau: float) -> Vector:
    length = norm(v)
    return v if length <= tau else v * (tau / length)


def lower_median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def geometric_median(own: Vector, heard: list[Vector], steps: int, nu: float) -> Vector:
    rows = [own, *heard]
    typical = [lower_median([norm(x - y) for y in rows]) for x in rows]
    weights = [1 / max(nu, t) for t in typical]
    for _ in range(steps):
        z = sum(w * x for w, x in zip(weights, rows, strict=True)) / sum(weights)
        weights = [1 / max(nu, norm(z - x)) for x in rows]
    return sum(w * x for w, x in zip(weights, rows, strict=True)) / sum(weights)


def scc(own: Vector, heard: list[Vector], bad: float) -> Vector:
    weight = 1 / (len(heard) + 1)
    budget, square = 1 - bad - weight, 0.0
    for length in sorted(norm(x - own) for x in heard):
        part = min(weight, max(0.0, budget))
        square += part * length**2
        budget -= part
    tau = math.sqrt(square / bad)
    return own + sum((weight * clip(x - own, tau) for x in heard), np.zeros_like(own))


def cs_plus(own: Vector, heard: list[Vector], bad: float) -> Vector:
    weight = 1 / (len(heard) + 1)
    tau, reached = 0.0, 0.0
    for length in sorted([0.0, *(norm(x - own) for x in heard)]):
        reached += weight
        tau = length
        if reached >= 1 - 2 * bad - 1e-9:
            break
    return own + sum((weight * clip(x - own, tau) for x in heard), np.zeros_like(own))


def half(own: Vector, accepted: list[Vector], alpha: float) -> Vector:
    return alpha * own + (1 - alpha) * sum(accepted) / len(accepted) if accepted else own


def balance(own: Vector, heard: list[Vector], gamma: float, kappa: float, alpha: float, progress: float) -> Vector:
    ball = gamma * math.exp(-kappa * progress) * norm(own)
    return half(own, [x for x in heard if norm(x - own) <= ball], alpha)


def ubar(own: Vector, heard: list[Vector], rho: float, alpha: float, loss: Callable[[Vector], float]) -> Vector:
    near = sorted(heard, key=lambda x: norm(x - own))[: math.ceil(rho * len(heard) - 1e-9)]
    return half(own, [x for x in near if loss(x) <= loss(own)], alpha)


def fltrust(own: Vector, heard: list[Vector], start: Vector) -> Vector:
    mine = own - start
    total, trust = mine.copy(), 1.0
    for x in heard:
        update = x - start
        if norm(update) > 0 and norm(mine) > 0:
            cosine = max(0.0, float(update @ mine) / norm(update) / norm(mine))
            total += cosine * norm(mine) / norm(update) * update
            trust += cosine
    return start + total / trust


def flag(own: Vector, heard: list[Vector], start: Vector, steps: int) -> Vector:
    updates = [x - start for x in [own, *heard] if norm(x - start) > 0]
    scale = lower_median([norm(u) for u in updates])
    g = np.stack([u / norm(u) for u in updates], axis=1)
    p = g.shape[1]
    m = math.ceil((p + 1) / 2)
    weights = np.ones(p)
    basis = np.zeros((g.shape[0], m))
    for _ in range(steps + 1):
        left, singular, _ = np.linalg.svd(g * np.sqrt(weights), full_matrices=False)
        basis = left[:, :m][:, singular[:m] > 1e-6 * singular[0]]
        residual = np.sqrt(np.clip(1 - ((basis.T @ g) ** 2).sum(axis=0), 0, None))
        weights = 1 / np.maximum(1e-6, residual)
    return start + scale * basis @ (basis.T @ g.mean(axis=1))


def bulyan(own: Vector, heard: list[Vector], f: int) -> Vector:
    waiting = [own, *heard]
    total = len(waiting)
    f = min(f, max(0, (total - 3) // 4))
    chosen: list[Vector] = []
    everybody = list(waiting)
    while len(chosen) < total - 2 * f:
        near = max(1, len(waiting) - f - 2)
        scores = []
        for k, x in enumerate(waiting):
            others = sorted(norm(x - y) ** 2 for j, y in enumerate(waiting) if j != k)
            scores.append((sum(others[:near]), sum(norm(x - y) ** 2 for y in everybody)))
        chosen.append(waiting.pop(scores.index(min(scores))))
    keep = max(1, len(chosen) - 2 * f)
    out = np.zeros_like(own)
    for c in range(len(own)):
        column = sorted(float(x[c]) for x in chosen)
        middle = (column[(len(column) - 1) // 2] + column[len(column) // 2]) / 2
        out[c] = sum(sorted(column, key=lambda v: abs(v - middle))[:keep]) / keep
    return out


def nnm_trimmed_mean(own: Vector, heard: list[Vector], f: int) -> Vector:
    rows = [own, *heard]
    f = min(f, (len(rows) - 1) // 2)
    mixed = []
    for x in rows:
        near = sorted(rows, key=lambda y: norm(x - y))[: len(rows) - f]
        mixed.append(sum(near) / len(near))
    out = np.zeros_like(own)
    for c in range(len(own)):
        column = sorted(float(x[c]) for x in mixed)[f : len(rows) - f]
        out[c] = sum(column) / len(column)
    return out


def inner_range(column: list[float], b: int) -> tuple[float, float]:
    ordered = sorted(column)
    return ordered[b], ordered[len(ordered) - 1 - b]


def bounded(column: list[float], b: int, slack: float = 0.0) -> list[float]:
    low, high = inner_range(column, b)
    reach = slack * (high - low)
    return [min(max(value, low - reach), high + reach) for value in column]


def winsorised(column: list[float], b: int) -> float:
    return sum(bounded(column, b)) / len(column)


def mixed_mean(rows: list[Vector], models: list[Vector], b: int, mixing: bool, slack: float) -> Vector:
    """Bound columns, replace each row by the mean of those whose models are nearest, average, stay in inner ranges."""
    m = len(rows)
    columns = [[float(row[c]) for row in rows] for c in range(len(rows[0]))]
    safe = np.array([bounded(column, b, slack) for column in columns]).T
    mean = average_of_mixed(safe, models, m - b) if mixing else safe.mean(axis=0)
    ranges = [inner_range(column, b) for column in columns]
    return np.array([min(max(float(mean[c]), low), high) for c, (low, high) in enumerate(ranges)])


def average_of_mixed(safe: Vector, models: list[Vector], near_count: int) -> Vector:
    m = len(models)
    mixed = []
    for k, model in enumerate(models):
        near = sorted(range(m), key=lambda j: (j != k, norm(models[j] - model), j))[:near_count]
        mixed.append(sum(safe[j] for j in near) / len(near))
    return sum(mixed) / m


def winsor_bound(m: int, trim: float) -> int:
    return min(max(1, math.floor(trim * m + 1e-9)), (m - 1) // 2)


def cosines(rows: list[Vector], about: list[Vector] | None = None) -> list[list[float]]:
    """Centred over rows and a zero row, or over other rows; rows that are the same give 1."""
    centre = sum(rows) / (len(rows) + 1) if about is None else sum(about) / len(about)
    out = [[0.0] * len(rows) for _ in rows]
    for j, x in enumerate(rows):
        for k, y in enumerate(rows):
            a, b = x - centre, y - centre
            long = (norm(x) ** 2 + norm(y) ** 2) if about is None else (norm(a) ** 2 + norm(b) ** 2)
            if norm(x - y) ** 2 <= 1e-4 * long + 1e-12 * (norm(x) ** 2 + norm(y) ** 2):
                out[j][k] = 1.0
            elif norm(a) * norm(b) > 0:
                out[j][k] = float(a @ b) / norm(a) / norm(b)
    return out


def hedgerow(
    own: Vector,
    heard: list[Vector],
    views: Sequence[Callable[[Vector], Vector]],
    clip_factor: float = 2.0,
    threshold: float = 0.9,
    trim: float = 0.2,
    mixing: bool = True,
    slack: float = 1.0,
) -> tuple[Vector, list[int]]:
    """Result, and who kept a vote (positions in `heard`). A view maps a clipped difference to what is compared."""
    if not heard:
        return own, []
    apart = [x - own for x in heard]
    tau = clip_factor * lower_median([norm(v) for v in apart])
    pulls = [clip(v, tau) for v in apart]
    tables = [cosines([view(v) for v in pulls]) for view in views]
    kept: list[int] = []
    for j in sorted(range(len(heard)), key=lambda k: norm(apart[k])):
        if not any(table[j][k] > threshold for k in kept for table in tables):
            kept.append(j)
    rows = [np.zeros_like(own), *(pulls[j] for j in kept)]
    models = [own, *(heard[j] for j in kept)]
    return own + mixed_mean(rows, models, winsor_bound(len(rows), trim), mixing, slack), sorted(kept)


def hedgerow_known(
    own: Vector,
    heard: list[Vector],
    known: Sequence[bool],
    views: Sequence[Callable[[Vector], Vector]],
    clip_factor: float = 1.0,
    threshold: float = 0.9,
    gain: float = 0.3,
    trim: float = 0.2,
    mixing: bool = False,
    votes: Sequence[float] | None = None,
) -> tuple[Vector, list[int]]:
    """Result, and who has a say (positions in `heard`). Votes: own first, then those of `heard`."""
    if not any(known):
        return hedgerow(own, heard, views, threshold=threshold)
    models, sure = [own, *heard], [True, *known]
    mine = [1.0] * len(models) if votes is None else list(votes)
    everybody = range(len(models))
    apart = [x - own for x in models]
    said = votes_over(mine, sure, everybody)
    tau = clip_factor * weighted_lower_median([norm(v) for v in apart[1:]], said[1:]) if clip_factor else math.inf
    pulls = [clip(v, tau) for v in apart]
    seen = [[view(v) for v in pulls[1:]] for view in views]
    tables = [cosines(rows, [row for row, yes in zip(rows, known, strict=True) if yes]) for rows in seen]
    fixed = [votes is not None and yes for yes in sure]
    kept: list[int] = []
    for j in sorted(everybody[1:], key=lambda k: (not sure[k], norm(apart[k]))):
        if fixed[j] or not any(table[j - 1][k - 1] > threshold for k in kept for table in tables):
            kept.append(j)
    rows = least_spread([0, *sorted(kept)], models, gain, votes_over(mine, sure, [0, *kept]))
    m, v = len(rows), votes_over(mine, sure, rows)
    b = winsor_bound(m, trim) if trim else 0
    limit = b * sum(v[k] for k in rows) / m * (1 + 1e-9)
    near = [sorted(rows, key=lambda j: (j != k, norm(models[j] - models[k]), j))[: m - b] for k in rows]
    held = {j: sum(j in some for some in near) / m for j in rows}
    total, weight = np.zeros_like(own), 0.0
    low, high = (np.array([from_one_side(rows, pulls, v, limit, c, s) for c in range(len(own))]) for s in (False, True))
    for k in rows:
        share = v[k] * (held[k] if mixing or not sure[k] else 1)
        total = total + share * (pulls[k] if sure[k] else pulls[k].clip(low, high))
        weight += share
    return own + total / weight, sorted(k - 1 for k in rows if k)


def votes_over(votes: Sequence[float], sure: Sequence[bool], rows: Sequence[int]) -> list[float]:
    known = [votes[k] for k in rows if sure[k]]
    return [vote if yes else sum(known) / len(known) for vote, yes in zip(votes, sure, strict=True)]


def weighted_lower_median(values: Sequence[float], votes: Sequence[float]) -> float:
    ordered, so_far = sorted(zip(values, votes, strict=True)), 0.0
    for value, vote in ordered:
        so_far += vote
        if 2 * so_far >= sum(vote for _, vote in ordered) * (1 - 1e-12):
            return value
    raise AssertionError("no votes")


def least_spread(rows: list[int], models: list[Vector], gain: float, votes: Sequence[float]) -> list[int]:
    """The rows without the up to two, never the first, without which those left lie so much closer."""

    def spread(some: list[int]) -> tuple[float, float]:
        apart = [norm(models[j] - models[k]) for j, k in itertools.combinations(some, 2)]
        return max(apart, default=0.0), sum(length**2 for length in apart)

    mean = sum(votes[k] for k in rows) / len(rows) * (1 + 1e-9)
    light = [k for k in rows[1:] if votes[k] <= mean]
    best, width, gone = rows, spread(rows)[0], 0
    for f in range(1, min(2, (len(rows) - 1) // 2) + 1) if gain else ():
        choices = [[k for k in rows if k not in some] for some in itertools.combinations(light, f)]
        if not choices:
            continue
        choice = min(choices, key=spread)
        if spread(choice)[0] < (1 - gain) ** (f - gone) * width:
            best, width, gone = choice, spread(choice)[0], f
    return best


def from_one_side(
    rows: list[int], pulls: list[Vector], votes: Sequence[float], limit: float, c: int, above: bool
) -> float:
    """The first value of a coordinate, in order, at which the votes so far are more than the limit."""
    so_far = 0.0
    for k in sorted(rows, key=lambda j: float(pulls[j][c]), reverse=above):
        so_far += votes[k]
        if so_far > limit:
            return float(pulls[k][c])
    raise AssertionError("the limit holds everybody")
