"""Which known peers that are no neighbours a node hears in a round: a few, drawn anew each round. Pure.

Law: whose turn it is, is a function of (seed, node, round, peer). A daemon's seed here is its own secret, so nobody can
make keys that are drawn at the right time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.draws import Purpose, uniforms


def drawn(
    seed: int,
    own: ArrayLike,
    round: int,
    pool: NDArray[np.uint64],
    count: int,
    nodes: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Positions in the pool of those who are heard in a round, ascending.

    Args:
        seed: of the draws.
        own: address of the node in draws, or (n,) of the node in whose pool each peer is.
        round: number of the round.
        pool: (n,) addresses of those who may be drawn, each once a node.
        count: how many a node; all where there are fewer.
        nodes: (n,) in whose pool each is, from 0, ascending; None: all are in one.

    Returns:
        (min(count, n),) for one node; for more, all of theirs.
    """
    draws = uniforms(seed, Purpose.FAR, own, round, pool)
    if nodes is None:
        return np.sort(np.argsort(draws, kind="stable")[:count])
    order = np.lexsort((draws, nodes))  # stable too
    firsts = np.searchsorted(nodes, nodes)
    return np.sort(order[np.arange(len(nodes)) - firsts < count])
