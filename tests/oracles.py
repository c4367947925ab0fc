"""Rules as naive loops over one node in float64: slow, and close to the papers' own words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median, pstdev

import numpy as np

Vector = np.ndarray


def cosine(a: Vector, b: Vector) -> float:
    norms = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / norms


def counts(row: Vector) -> bool:
    return bool(np.isfinite(row).all()) and bool((row != 0).any())


def similarity_weights(rows: Sequence[Vector], direct: int) -> list[float]:
    """FoolsGold's Algorithm 1; rows without a direction are left out first."""
    live = [a for a, row in enumerate(rows) if counts(row)]
    near = {a: {b: cosine(rows[a], rows[b]) for b in live if b != a} for a in live}
    peak = {a: max([0.0, *near[a].values()]) + 1e-5 for a in live}
    raw = {}
    for a in live:
        pardoned = [c * (peak[a] / peak[b] if peak[a] < peak[b] else 1) for b, c in near[a].items()]
        raw[a] = min(1.0, max(0.0, 1 - max([0.0, *pardoned])))
    chosen = [raw.get(a, 0.0) for a in range(direct)]
    chosen = [w if w >= 1e-9 else 0.0 for w in chosen]
    top = max(chosen, default=0.0)
    return [logit(w / top) if top > 0 else 0.0 for w in chosen]


def logit(w: float) -> float:
    if w <= 0:
        return 0.0
    return 1.0 if w >= 1 else min(1.0, max(0.0, math.log(w / (1 - w)) + 0.5))


def usable(rows: Sequence[Vector | None]) -> list[Vector]:
    return [row for row in rows if row is not None and np.isfinite(row).all()]


def mean(rows: Sequence[Vector], weights: Sequence[float]) -> Vector:
    return sum(w * row for w, row in zip(weights, rows, strict=True)) / sum(weights)


def coordinate_median(rows: Sequence[Vector]) -> Vector:
    return np.array([median(column) for column in zip(*rows, strict=True)])


def trimmed_mean(rows: Sequence[Vector], f: int) -> Vector:
    cut = min(f, (len(rows) - 1) // 2)
    return np.array([fmean(sorted(column)[cut : len(rows) - cut]) for column in zip(*rows, strict=True)])


def krum_scores(rows: Sequence[Vector], f: int) -> list[float]:
    scores = []
    for a, row in enumerate(rows):
        apart = sorted(float((row - other) @ (row - other)) for b, other in enumerate(rows) if b != a)
        scores.append(sum(apart[: max(1, len(rows) - f - 2)]))
    return scores


def multi_krum(rows: Sequence[Vector], f: int, m: int) -> Vector:
    scores = krum_scores(rows, f)
    best = sorted(range(len(rows)), key=lambda a: (scores[a], a))[: m or max(1, len(rows) - f)]
    return mean([rows[a] for a in best], [1.0] * len(best))


def f1(labels: Sequence[int], predicted: Sequence[int], of: int) -> float:
    pairs = list(zip(labels, predicted, strict=True))
    hit = sum(y == of and g == of for y, g in pairs)
    return 0.0 if hit == 0 else 2 * hit / (sum(y == of for y, _ in pairs) + sum(g == of for _, g in pairs))


def bristle_votes(
    own_f1: Sequence[float], peer_f1: Sequence[float], familiar: Sequence[int], classes: int, overlap: int
) -> list[float]:
    """One peer's weight per class column and, last, for all else."""
    best = sorted(familiar, key=lambda c: (-peer_f1[c], c))[:overlap]
    sure = max(0.0, fmean(peer_f1[c] for c in best) - pstdev([peer_f1[c] for c in best])) if best else 0.0
    scores = {}
    for c in best:
        mine, theirs = own_f1[c], peer_f1[c]
        d = 10 * abs(mine - theirs)
        scores[c] = d ** (3 + mine) if theirs > mine else -(d ** (4 + mine))
    foreign = squash(sum(scores.values())) * sure
    columns = [foreign] * classes
    for c in familiar:
        columns[c] = squash(max(-100.0, scores[c])) * sure if c in scores else 0.0
    return [*columns, foreign]


def squash(score: float) -> float:
    return max(0.0, 10 / (1 + math.exp(-score / 100)) - 4) if score > -1e4 else 0.0


def drawn(distances: Sequence[float], priority: Sequence[float], alpha: float, k: int) -> set[int]:
    """The prioritizer's choice, by position."""
    if len(distances) <= k:
        return set(range(len(distances)))
    ranked = sorted(range(len(distances)), key=lambda a: (distances[a], a))
    n = len(ranked)
    thirds = [
        ranked[: math.ceil(n / 3)],
        ranked[math.ceil(n / 3) : math.ceil(2 * n / 3)],
        ranked[math.ceil(2 * n / 3) :],
    ]
    exact = [share * k for share in ((1 - alpha) ** 2, 2 * alpha * (1 - alpha), alpha**2)]
    quota = [int(share + 1e-9) for share in exact]
    for third in sorted(range(3), key=lambda t: (-round(exact[t] - quota[t], 9), t))[: k - sum(quota)]:
        quota[third] += 1
    chosen: set[int] = set()
    left = []
    for number, third in enumerate(thirds):
        line = sorted(third, key=lambda a: (priority[a], a))
        chosen |= set(line[: quota[number]])
        left.append(line[quota[number] :])
    for number, order in enumerate(((1, 2), (0, 2), (1, 0))):
        missing = max(0, quota[number] - len(thirds[number]))
        for other in order:
            chosen |= set(left[other][:missing])
            taken = min(missing, len(left[other]))
            left[other] = left[other][taken:]
            missing -= taken
    return chosen
