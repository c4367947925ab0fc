"""Where to draw the vertices of a graph: distances on paper as close as can be to distances in hops.

Source: stress majorization, Gansner, Koren, North, "Graph drawing by stress majorization" (GD 2004), from classical
scaling (Torgerson, 1952).
Law: a function of the graph alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STEPS = 100
_ANGLE = 2.4  # radians from one Sybil to the next, so that those beside the same nodes do not hide each other
_ASIDE = 0.12  # how far a Sybil stands from the middle of its neighbours, as a share of the picture

Places = NDArray[np.float64]


def places_of(neighbours: Sequence[Sequence[int]], honest: int) -> Places:
    """(V, 2) places: honest vertices by their graph, each Sybil beside the middle of its neighbours.

    Args:
        neighbours: for every vertex its neighbours' vertices.
        honest: number of honest vertices, which come first.
    """
    core = spread(hops(neighbours, honest))
    centre = core.mean(axis=0)
    scale = float(np.abs(core - centre).max()) or 1.0
    places = np.concatenate([core, np.zeros((len(neighbours) - honest, 2))])
    for vertex in range(honest, len(neighbours)):
        near = [other for other in neighbours[vertex] if other < honest]
        turn = _ANGLE * (vertex - honest)
        middle = core[near].mean(axis=0) if near else centre
        places[vertex] = middle + _ASIDE * scale * np.array([np.cos(turn), np.sin(turn)])
    return places


def hops(neighbours: Sequence[Sequence[int]], count: int) -> Places:
    """(count, count) edges on the shortest way between the first `count` vertices; out of reach = one more than any."""
    beside = np.zeros((count, count), dtype=np.float32)
    for vertex in range(count):
        beside[vertex, [other for other in neighbours[vertex] if other < count]] = 1
    found = np.eye(count, dtype=bool)
    away = np.zeros((count, count))
    step = 0
    while True:
        wider = found | ((found.astype(np.float32) @ beside) > 0)
        if (wider == found).all():
            away[~found] = step + 1
            return away
        step += 1
        away[wider & ~found] = step
        found = wider


def spread(away: Places) -> Places:
    """(n, 2) places whose distances come close to `away` (n, n), near pairs counting more (weight 1 / away squared)."""
    count = len(away)
    if count < 3:
        return np.stack([np.arange(count), np.zeros(count)], axis=1).astype(np.float64)
    turns = 2 * np.pi * np.arange(count) / count
    places = _scaled(away) + 0.01 * np.stack([np.cos(turns), np.sin(turns)], axis=1)  # no two on one spot
    apart = ~np.eye(count, dtype=bool)
    weights = np.divide(1.0, away**2, out=np.zeros_like(away), where=apart)
    inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights, hermitian=True)
    for _ in range(_STEPS):
        gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
        pull = -np.divide(weights * away, gaps, out=np.zeros_like(away), where=gaps > 1e-12)
        np.fill_diagonal(pull, -pull.sum(axis=1))
        places = inverse @ (pull @ places)
    return places


def _scaled(away: Places) -> Places:
    """Classical scaling: the two widest directions of the distances."""
    squares = away**2
    centred = -0.5 * (squares - squares.mean(axis=0) - squares.mean(axis=1)[:, None] + squares.mean())
    values, vectors = np.linalg.eigh(centred)
    widest = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    signs = np.sign(widest[np.abs(widest).argmax(axis=0), [0, 1]])  # a direction has no sign of its own
    return np.asarray(widest * np.where(signs == 0, 1, signs))
