"""Which known peers that are no neighbours a node hears in a round: a few, found anew each round by short walks. Pure.

A walk starts at oneself and follows mutual statements: to a peer that one vouches for, on to one that this peer vouches
for, and, as often as not, one further. It never turns back. Whoever it ends at is heard, if he may be. In a lap each of
one's own statements is followed once, in an order that is drawn; there are as many laps as are needed, `LAPS` at most.
Where walks find too few, the rest is drawn from all that may be heard.

Laws:
- However Sybils vouch for one another, a walk comes to them only over a statement that somebody honest was fooled into;
  and whoever vouches for a node brings it one peer in a lap, not a crowd. Drawn evenly from all that stand high enough,
  small cells of Sybils would be a third of them where a sixth of the statements are fooled (docs/adr/0009).
- Whom a node hears is a function of (seed, node, round, statements, who may be heard). A daemon's seed here is its own
  secret, so nobody can make keys that are found at the right time.

Source: this project; escape probability of short random walks as in SybilGuard (Yu et al., SIGCOMM 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.draws import Purpose, uniforms

LAPS = 4
LONGER = 0.5
"""Share of walks that take a third step. Two find fewer different peers (.736 without an attack, .739), three end more
often at Sybils; docs/adr/0009 has the figures."""

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Draws = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Web:
    """Mutual statements among n peers, numbered in order of peer id.

    Attributes:
        addresses: (n,) of the peers in draws.
        starts: (n + 1,) where each peer's statements begin in `others`.
        others: (2m,) whom they are about, of each peer in ascending order.
    """

    addresses: Words
    starts: Ints
    others: Ints

    @classmethod
    def of(cls, links: Ints, addresses: Words) -> Web:
        """From mutual statements (m, 2), each once, in any order."""
        ends = np.concatenate([links, links[:, ::-1]])
        ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
        counts = np.bincount(ends[:, 0], minlength=len(addresses))
        return cls(addresses, np.concatenate([[0], np.cumsum(counts)]), np.ascontiguousarray(ends[:, 1]))

    def around(self, peers: Ints) -> tuple[Ints, Ints]:
        """Everybody to whom statements lead from peers (k,): positions in `peers` (e,), ascending, and numbers (e,)."""
        first, counts = self.starts[peers], self.starts[peers + 1] - self.starts[peers]
        whose = np.repeat(np.arange(len(peers)), counts)
        within = np.arange(len(whose)) - np.repeat(np.cumsum(counts) - counts, counts)
        return whose, self.others[first[whose] + within]


def drawn(web: Web, seed: int, round: int, nodes: Ints, rows: Ints, pool: Ints, count: int) -> Ints:
    """Positions in the pools of those who are heard in a round, ascending.

    Args:
        web: statements.
        seed: of the draws.
        round: number of the round.
        nodes: (k,) numbers of the nodes that draw.
        rows: (p,) in whose pool each is, as a position in `nodes`, ascending.
        pool: (p,) numbers of those who may be heard, ascending in each pool.
        count: how many a node; all where there are fewer.

    Returns:
        (q,), min(count, size of its pool) for each node.
    """
    if not len(pool) or not count:
        return np.zeros(0, dtype=np.int64)
    own, size = web.addresses[nodes], len(web.addresses)
    lap = np.full(len(pool), LAPS)
    line: Draws = uniforms(seed, Purpose.FAR, own[rows], round, 0, web.addresses[pool])
    walker, ends, laps, order = _walks(web, seed, round, nodes)
    keys = rows * size + pool
    place = np.searchsorted(keys, walker * size + ends).clip(max=len(keys) - 1)
    found = np.flatnonzero(keys[place] == walker * size + ends)
    found = found[np.lexsort((order[found], laps[found]))][::-1]  # whoever finds a peer first writes last
    lap[place[found]], line[place[found]] = laps[found], order[found]
    best = np.lexsort((line, lap, rows))
    chosen = best[np.arange(len(rows)) - np.searchsorted(rows, rows) < count]
    return np.sort(chosen)


def _walks(web: Web, seed: int, round: int, nodes: Ints) -> tuple[Ints, Ints, Ints, Draws]:
    """All walks of all nodes: whose (w,), where they end, in which lap, and their place in the order of it."""
    whose, friends = web.around(nodes)
    walker, friend = np.tile(whose, LAPS), np.tile(friends, LAPS)
    laps = np.repeat(np.arange(LAPS), len(whose))
    home = nodes[walker]
    words = web.addresses[home], round, 1 + laps, web.addresses[friend]
    order = uniforms(seed, Purpose.FAR, *words, 0)
    longer = uniforms(seed, Purpose.FAR, *words, 1) < LONGER
    before, at = home.copy(), friend.copy()
    for step in (2, 3):
        going = np.arange(len(at)) if step == 2 else np.flatnonzero(longer & (at != home))
        whither, there = web.around(at[going])
        walk = going[whither]
        own, first = web.addresses[home[walk]], web.addresses[friend[walk]]
        draws = uniforms(seed, Purpose.FAR, own, round, 1 + laps[walk], first, step, web.addresses[there])
        draws = np.where((there == before[walk]) | (there == home[walk]), np.inf, draws)
        line = np.lexsort((draws, walk))
        taken = line[np.searchsorted(walk, going)]  # every peer on the way has at least the statement that led there
        stuck = np.isinf(draws[taken])
        before[going], at[going] = at[going], np.where(stuck, home[going], there[taken])
    return walker, at, laps, order
