"""Standing by vouches: how much trust flows from one peer to all others over statements "I know X". Pure.

    P = a e sum over t of (1 - a)^t (W / d)^t,  t = 0 .. 63

personalised PageRank from oneself: W are the mutual statements (both ends have made one), d their number at each peer,
e oneself. P is the share of time that a walker spends at a peer who starts at oneself, follows a random statement at
each step, and goes home with probability a = .15.

Laws:
- Only mutual statements count: nobody gains by praising, and nobody is drawn into a crowd that he does not know.
- What a crowd of Sybils has together is what flows to it over statements that honest peers were fooled into. So of
  them at most (that mass) / (threshold) are known, however they vouch for one another.
- Steps and sums have a fixed order: the same statements give the same bits, for one peer or for many at once.

Source: Page, Brin, Motwani, Winograd, "The PageRank citation ranking" (Stanford 1999), personalised; Andersen, Chung,
Lang, "Local graph partitioning using PageRank vectors" (FOCS 2006). Against Sybils that keep few links the mass itself
is the measure, not mass / degree (SybilRank, NSDI 2012), which they choose themselves: docs/adr/0009-known-peers.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from identity.keys import PeerId

RESTART = 0.15
STEPS = 64  # what is left out is (1 - a)^64 = .00003 of the mass
NEAR = 0.02
"""Standing from which on a neighbour is known: at most fifty peers have it, Sybils or not."""
FAR = 0.01
"""Standing from which on a peer may be heard from afar: at most a hundred peers have it, Sybils or not."""
EACH = 0.003
"""Standing over the number of a peer's own mutual statements from which on it may be heard from afar: a crowd whose
members all vouch for each other has little of it."""

Ints = NDArray[np.int64]
Masses = NDArray[np.float64]


def standing_of(statements: Iterable[tuple[PeerId, PeerId]], me: PeerId) -> dict[PeerId, float]:
    """Standing of every peer that mutual statements lead to, oneself left out.

    Args:
        statements: (issuer, subject) of those that hold now; one of a peer on itself counts for nothing.
        me: from whom trust flows.

    Returns:
        P > 0 by peer, in order of peer id.
    """
    said = set(statements)
    return flow([(one, other) for one, other in said if one < other and (other, one) in said], me)


def flow(mutual: Iterable[tuple[PeerId, PeerId]], me: PeerId) -> dict[PeerId, float]:
    """As `standing_of`, of mutual statements: each once, the lower peer id first."""
    mutual = list(mutual)
    peers = sorted({me}.union(*mutual))
    number = {peer: place for place, peer in enumerate(peers)}
    links = np.array([(number[one], number[other]) for one, other in mutual], dtype=np.int64).reshape(-1, 2)
    mass = walk(links, len(peers), np.array([number[me]]))[:, 0]
    return {peer: float(share) for peer, share in zip(peers, mass, strict=True) if share > 0 and peer != me}


def far_enough(mass: Masses, statements: Ints) -> NDArray[np.bool_]:
    """Who stands high enough to be heard from afar.

    Args:
        mass: (n, ...) P of each peer.
        statements: (n,) its own mutual statements.
    """
    least = np.maximum(FAR, EACH * statements)
    enough: NDArray[np.bool_] = mass >= least.reshape(-1, *(1,) * (mass.ndim - 1))
    return enough


def near_and_far(
    standing: Mapping[PeerId, float], mutual: Collection[tuple[PeerId, PeerId]], named: Collection[PeerId]
) -> tuple[frozenset[PeerId], frozenset[PeerId]]:
    """Who is known wherever it is a neighbour, and who may be heard from afar.

    Args:
        standing: P > 0 by peer.
        mutual: statements that it comes from, each once.
        named: whom the operator names: with any standing at all they may be heard from afar. Without, nothing says that
            they are in this network.
    """
    made = Counter(peer for pair in mutual for peer in pair)
    enough = far_enough(np.array([*standing.values()]), np.array([made[peer] for peer in standing], dtype=np.int64))
    near = frozenset(peer for peer, share in standing.items() if share >= NEAR)
    far = frozenset(peer for peer, yes in zip(standing, enough, strict=True) if yes)
    return near, far.union(standing.keys() & set(named))


def walk(links: Ints, count: int, sources: Ints) -> Masses:
    """Personalised PageRank from each of some vertices.

    Args:
        links: (m, 2) mutual statements, each once, in any order.
        count: n, number of vertices.
        sources: (k,) from whom.

    Returns:
        (n, k), columns sum to 1 less what 64 steps leave out.
    """
    at, every = np.zeros((count, len(sources))), np.arange(len(sources))
    at[sources, every] = RESTART
    total = at.copy()
    if not len(links):
        return total
    ends = np.concatenate([links, links[:, ::-1]])
    ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
    degrees = np.bincount(ends[:, 0], minlength=count)
    firsts = np.cumsum(degrees) - degrees
    order = np.argsort(-degrees, kind="stable")  # who has a j-th statement stands before who has none
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    laps = [place[ends[firsts[order[degrees[order] > lap]] + lap, 1]] for lap in range(int(degrees.max()))]
    stating = order[: len(laps[0])]  # trust stays where it is at all others
    at, flowed = at[stating], total[stating]
    share = ((1 - RESTART) / degrees[stating])[:, None]
    moved, taken = np.empty_like(at), np.empty_like(at)
    for _ in range(STEPS - 1):
        at *= share
        np.take(at, laps[0], axis=0, out=moved, mode="clip")
        for tails in laps[1:]:  # column by column a sum in order of vertices: as fast for many sources as for one
            moved[: len(tails)] += np.take(at, tails, axis=0, out=taken[: len(tails)], mode="clip")
        at, moved = moved, at
        flowed += at
    total[stating] = flowed
    return total
