"""Whom honest nodes hear in a round: neighbours, and far peers drawn anew; link by link, for all nodes at once.

Laws:
- Links of a node stand together: its neighbours in order of peer id, then its far peers in order of peer id. How many
  there are never changes, who the far ones are does.
- The draw is the daemon's own (`node.trust.far`), called for all nodes at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from node.trust.far import Web, drawn
from simulator.study.setup import Setup

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Links:
    """Links of all honest nodes; E of them.

    Attributes:
        receivers: (E,) int32 honest vertices that hear, ascending.
        senders: (E,) int32 whom; -1 for a far peer that is not drawn yet.
        far: (E,) bool: no neighbour.
        known: (E,) bool: a peer that the receiver knows, near or far.
        widths: (H,) links of each honest vertex.
    """

    receivers: NDArray[np.int32]
    senders: NDArray[np.int32]
    far: Bools
    known: Bools
    widths: Ints

    @property
    def starts(self) -> Ints:
        """(H,) where each honest vertex's links begin."""
        return np.cumsum(self.widths) - self.widths


class Hearing:
    """Who hears whom, round by round.

    Attributes:
        links: of every round, far peers not drawn.
    """

    def __init__(self, setup: Setup) -> None:
        honest, count = setup.honest, setup.scenario.far
        self._setup, self._count = setup, count
        beside = [np.array(each, dtype=np.int32) for each in setup.neighbours[:honest]]
        far = [min(count, len(pool)) for pool in setup.pool]
        widths = np.array([len(near) + more for near, more in zip(beside, far, strict=True)], dtype=np.int64)
        senders = [np.concatenate([near, np.full(more, -1, np.int32)]) for near, more in zip(beside, far, strict=True)]
        known = [np.isin(each, list(near)) for each, near in zip(senders, setup.near, strict=True)]
        everybody = np.concatenate([np.zeros(0, np.int32), *senders])
        away = everybody < 0
        self.links = Links(
            receivers=np.repeat(np.arange(honest, dtype=np.int32), widths),
            senders=everybody,
            far=away,
            known=np.concatenate([np.zeros(0, dtype=bool), *known]) | away,
            widths=widths,
        )
        pools = [np.array(pool, dtype=np.int64) for pool in setup.pool] if count else []
        self._pool = np.concatenate([np.zeros(0, dtype=np.int64), *pools])
        rank = np.empty(len(setup.order), dtype=np.int64)
        rank[setup.order] = np.arange(len(setup.order))
        self._web = Web.of(rank[setup.mutual], setup.addresses[setup.order])
        self._honest, self._numbers = rank[:honest], rank[self._pool]
        self._nodes = np.repeat(np.arange(len(pools), dtype=np.int64), [len(pool) for pool in pools])

    def drawn(self, round: int) -> Links:
        """The links of a round."""
        if not len(self._pool):
            return self.links
        heard = drawn(self._web, self._setup.seed, round, self._honest, self._nodes, self._numbers, self._count)
        senders = self.links.senders.copy()
        senders[self.links.far] = self._pool[heard]
        return replace(self.links, senders=senders)
