"""Which known peers that are no neighbours a node hears in a round: a few, drawn anew each round. Pure.

Law: whose turn it is, is a function of (seed, node, round, peer). A daemon's seed here is its own secret, so nobody can
make keys that are drawn at the right time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.draws import Purpose, uniforms


def drawn(seed: int, own: ArrayLike, round: int, pool: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Positions in the pool of those who are heard in a round, ascending.

    Args:
        seed: of the draws.
        own: address of the node in draws.
        round: number of the round.
        pool: (n,) addresses of those who may be drawn, each once.
        count: how many; all where there are fewer.

    Returns:
        (min(count, n),).
    """
    return np.sort(np.argsort(uniforms(seed, Purpose.FAR, own, round, pool), kind="stable")[:count])
