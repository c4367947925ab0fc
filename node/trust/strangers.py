"""Who has a say in a round: every peer that is known, and of strangers only a few, drawn anew each round. Pure.

A neighbour is known when the operator named it, or when it has served: its vote was kept in `probation` rounds in
which it had a say. All others are strangers. They are connected and served like anybody, but of them only

    seats                       where `enough` known peers are heard, near or far
    company - known peers heard elsewhere, and at least `seats`

have a say. `seats` is how many unlike models the rule's bound can hold (b = 1 for the usual 2 to 8 neighbours). A node
that knows nobody has to believe somebody: few votes of strangers there cost more than they save (docs/adr/0005).

Laws:
- Whose turn it is, is drawn for each (seed, node, round): nobody waits for ever, and order of arrival is nothing.
- Turns go round origins first, then round the peers of an origin: a crowd from one public network (a /24 of IPv4, a /48
  of IPv6) has the turns of one peer. A peer whose address is not public is an origin of its own.
- Only one peer of an origin becomes known by serving: the one that served longest.
- Where enough are known, a round makes at most `seats` strangers one round older: age cannot be had in parallel.
- A daemon's seed here is its own secret: with a public one, keys could be made that are drawn at the right time.

Source: this project; fair queueing over origins, after buckets by /16 (Heilman et al., "Eclipse attacks on
Bitcoin's peer-to-peer network", USENIX Security 2015). What it costs and holds: docs/adr/0005-strangers.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.draws import Purpose, uniforms

SETTLED = 3
"""Rounds after which a round's service counts. Neighbours may lead by two rounds, and what they say then is fetched or
not by who has a say in that round: so that must not change any more."""

Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]
Ints = NDArray[np.int64]
Draws = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Strangers:
    """How far strangers are heard.

    Attributes:
        seats: strangers that have a say in a round where enough neighbours are known.
        enough: known neighbours that are enough.
        company: neighbours with a say, known or not, at a node that knows fewer.
        probation: rounds with a kept vote after which a stranger is known; 0: never.
    """

    seats: int = 1
    enough: int = 2
    company: int = 8
    probation: int = 256

    def known(self, named: Bools, served: Ints, origins: Words, nodes: Ints | None = None) -> Bools:
        """Which neighbours are no strangers: (n,).

        Args:
            named: (n,) whom the operator named.
            served: (n,) rounds in which each had a say and its vote was kept, less those in which it was not, up to
                `SETTLED` rounds before the round that is asked about.
            origins: (n,) where each comes from.
            nodes: (n,) whose neighbour each is, from 0, ascending; None: all are one node's.
        """
        old = np.flatnonzero(served >= self.probation) if self.probation else served[:0]
        if not len(old):
            return named
        out = named.copy()
        of = np.zeros_like(old) if nodes is None else nodes[old]
        longest = np.lexsort((-served[old], origins[old], of))
        out[old[longest[_position(of[longest], origins[old[longest]]) == 0]]] = True
        return out

    def voices(self, known: Bools, draws: Draws, nodes: Ints | None = None, afar: Ints | int = 0) -> Bools:
        """Which neighbours have a say in a round: (n,); all known ones, and the strangers whose turn it is.

        Args:
            known: (n,) as `known` says.
            draws: (2, n) of this round, as `turns` gives them.
            nodes: as `known` takes them.
            afar: known peers that are no neighbours and are heard this round too, by node: company as good as any.
        """
        strange = np.flatnonzero(~known)
        if not len(strange):
            return known.copy()
        of = np.zeros(len(known), dtype=np.int64) if nodes is None else nodes
        friends = np.bincount(of[known], minlength=int(of[-1]) + 1)
        friends = friends + (afar if isinstance(afar, int) else afar[: len(friends)])
        seats = np.where(friends >= self.enough, self.seats, np.maximum(self.seats, self.company - friends))
        turn, place = draws[:, strange]
        mine = of[strange]
        order = np.lexsort((turn, place, mine))
        lap = _position(mine[order], place[order])
        order = order[np.lexsort((place[order], lap, mine[order]))]
        out = known.copy()
        out[strange[order[_position(mine[order]) < seats[mine[order]]]]] = True
        return out


def turns(seed: int, own: ArrayLike, round: int, peers: Words, origins: Words) -> Draws:
    """What turns are drawn by: (2, n), one number for each peer and one for where it comes from.

    Args:
        seed: of the draws.
        own: address of the node in draws, or (n,) of the node that each peer is a neighbour of.
        round: number of the round.
        peers: (n,) addresses of the neighbours in draws.
        origins: (n,) where each comes from: equal words share their turns.
    """
    return np.stack(
        [
            uniforms(seed, Purpose.STRANGERS, own, round, 0, peers),
            uniforms(seed, Purpose.STRANGERS, own, round, 1, origins),
        ]
    )


def _position(*groups: Ints | Words | Draws) -> Ints:
    """Position of each item within its run of equal ones: [a a b b b] -> [0 1 0 1 2]."""
    changes = np.any([group[1:] != group[:-1] for group in groups], axis=0)
    starts = np.flatnonzero(np.concatenate([[True], changes]))
    lengths = np.diff(np.concatenate([starts, [len(groups[0])]]))
    return np.arange(len(groups[0]), dtype=np.int64) - np.repeat(starts, lengths)
