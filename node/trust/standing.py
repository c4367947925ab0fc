"""What a node remembers of peers' standing: whom the operator named, for whom others vouch, who served how long, where
each is from.

Laws:
- Bounded whoever comes: `KEPT` counts, those who served least go first; origins only of those who are connected.
- `by_name` is what a person said, now or before. Near is a neighbour for whom people vouch (`node.trust.vouches`), far
  a peer of the pool in a round in which it is drawn (`node.trust.far`). These three are the known rows: a person's word
  stands for each, so a round's quorum and its brake count them.
- What moves a round, and what it waits for, asks for names alone: a liar for whom somebody was fooled into vouching
  leads nobody. Where most known peers are behind, also by vouches, a node takes up to twice its pace, and no more.
- Service lifts the limit on turns and nothing else: who is known by it is bounded as strangers are.
- A link that was made for what somebody says from afar makes no neighbour: it has a say when it is drawn, and always
  if it is named.
- Distrust beats a name, vouches, service and every turn.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from identity.keys import PeerId
from node.draws import address
from node.trust.far import Web, drawn
from node.trust.strangers import SETTLED, Bools, Strangers, Words, turns

KEPT = 256  # peers whose service is remembered
DRAWN = 4  # rounds whose voices are remembered: the present one and those that neighbours may lead


def origin_of(group: str, peer: PeerId) -> int:
    """The word by which turns are shared: of a public network, or of the peer itself when it has none."""
    if not group:
        return address(peer)
    return int.from_bytes(hashlib.sha256(b"hedgerow/origin/1\0" + group.encode()).digest()[:8], "big")


class Standing:
    """Who is known at one node, and who has a say.

    Attributes:
        limit: how far strangers are heard.
        far: peers that are heard from afar in a round, at most.
        distrusted: peers that have no say at all.
        near: peers that are known wherever they are neighbours, by vouches.
        pool: peers that may be heard from afar.
        vouches: the node was told what vouches come to.

    Args:
        own: own peer id.
        limit: how far strangers are heard; None: everybody has a say that is not distrusted.
        seed: of the draws; in a daemon nobody else's business.
        named: peers that the operator named.
        served: rounds that peers have served before, from disk.
        far: peers that are heard from afar in a round, at most.
        graph: who may be a neighbour; None: whoever is linked. A simulation's graph says it.
    """

    def __init__(
        self,
        own: PeerId,
        limit: Strangers | None = None,
        seed: int = 0,
        named: Collection[PeerId] = (),
        served: Mapping[PeerId, int] | None = None,
        far: int = 0,
        graph: Collection[PeerId] | None = None,
    ) -> None:
        self.limit = limit
        self.far = far
        self.distrusted: frozenset[PeerId] = frozenset()
        self.near: frozenset[PeerId] = frozenset()
        self.pool: frozenset[PeerId] = frozenset()
        self.vouches = False
        self._me = own
        self._own = address(own)
        self._seed = seed
        self._graph = None if graph is None else frozenset(graph)
        self._numbers: dict[PeerId, int] = {}  # of peers in the web
        self._web = Web.of(np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.uint64))
        self._afar: set[PeerId] = set()  # who is linked for what it says from afar, and is no neighbour
        self._draws: dict[int, tuple[frozenset[PeerId], frozenset[PeerId]]] = {}
        self._named = frozenset(named)
        self._acquainted: frozenset[PeerId] = frozenset()
        self._answered: dict[str, PeerId] = {}  # address that the operator named -> who answers there
        self._served: deque[tuple[int, dict[PeerId, int]]] = deque([(-SETTLED, dict(served or {}))], SETTLED + 1)
        self._origins: dict[PeerId, int] = {}
        self._voices: dict[int, tuple[tuple[PeerId, ...], int, frozenset[PeerId]]] = {}

    def joined(self, peer: PeerId, group: str, afar: bool = False) -> None:
        """A peer is connected, from this public network ("": none); `afar`: for what it says from afar."""
        (self._afar.add if afar else self._afar.discard)(peer)
        self._origins[peer] = origin_of(group, peer)
        self._voices.clear()

    def left(self, peer: PeerId) -> None:
        """A neighbour is gone; what it served is remembered."""
        self._afar.discard(peer)
        self._origins.pop(peer, None)
        self._voices.clear()

    def named(self, peer: PeerId, where: str) -> None:
        """This peer answers at an address that the operator named."""
        self._answered[where] = peer
        self._voices.clear()

    def acquainted(self, known: Collection[PeerId], distrusted: Collection[PeerId]) -> None:
        """What the operator says of peers now, beside those that were named from the beginning."""
        self._acquainted, self.distrusted = frozenset(known), frozenset(distrusted)
        self._voices.clear()

    def vouched(
        self, near: Collection[PeerId], pool: Collection[PeerId], mutual: Collection[tuple[PeerId, PeerId]] = ()
    ) -> None:
        """What vouches come to now, and over which statements far peers are found."""
        self.near, self.pool, self.vouches = frozenset(near), frozenset(pool), True
        peers = sorted(self.pool.union({self._me}, *mutual))
        self._numbers = {peer: number for number, peer in enumerate(peers)}
        links = np.array([[self._numbers[peer] for peer in pair] for pair in mutual], dtype=np.int64)
        words = np.array([address(peer) for peer in peers], dtype=np.uint64)
        self._web = Web.of(links.reshape(-1, 2), words)
        self._draws.clear()
        self._voices.clear()

    def convicted(self, peer: PeerId) -> None:
        """Nothing that it served counts any more."""
        for _, served in self._served:
            served.pop(peer, None)
        self._voices.clear()

    @property
    def by_name(self) -> frozenset[PeerId]:
        """Peers that the operator named, or that answer at an address that he named, and that he does not distrust."""
        return self._named.union(self._acquainted, self._answered.values()) - self.distrusted

    def backing(self, peers: Iterable[PeerId]) -> frozenset[PeerId]:
        """Which of these can back a round: those known by name; all of them where there is no limit on strangers."""
        return frozenset(peers) if self.limit is None else self.by_name.intersection(peers)

    def beside(self, linked: Iterable[PeerId]) -> frozenset[PeerId]:
        """Which of those who are linked are neighbours, and not there only for what they say from afar."""
        if self._graph is not None:
            return self._graph.intersection(linked)
        if not self._afar:
            return frozenset(linked)
        return frozenset(linked) - (self._afar - self.by_name)

    def choices(self, linked: Iterable[PeerId]) -> frozenset[PeerId]:
        """Who may be drawn from afar: the pool less neighbours that are near or named."""
        nearby = self.by_name.union(self.near).intersection(linked) - self._afar
        return self.pool - self.distrusted - {self._me} - (nearby if self._graph is None else nearby & self._graph)

    def drawn(self, linked: Iterable[PeerId], round: int) -> frozenset[PeerId]:
        """Who is heard from afar in a round: drawn from the pool less neighbours that are near or named.

        Args:
            linked: everybody who is linked.
            round: number of the round.
        """
        if not self.far or not self.pool:
            return frozenset()
        choices = self.choices(linked)
        held = self._draws.get(round)
        if held is None or held[0] != choices:
            ordered = sorted(choices)
            pool = np.array([self._numbers[peer] for peer in ordered], dtype=np.int64)
            me = np.array([self._numbers[self._me]], dtype=np.int64)
            places = drawn(self._web, self._seed, round, me, np.zeros_like(pool), pool, self.far).tolist()
            held = choices, frozenset(ordered[place] for place in places)
            while len(self._draws) >= DRAWN:
                del self._draws[min(self._draws)]
            self._draws[round] = held
        return held[1]

    def stands_for(self, neighbours: Iterable[PeerId], far: Iterable[PeerId]) -> frozenset[PeerId] | None:
        """The known rows of a round: of these neighbours the named and the near, and who is heard from afar; None: the
        node was told of no vouches."""
        if not self.vouches:
            return None
        return (self.by_name | self.near).intersection(neighbours).union(far) - self.distrusted

    def known(self, peers: Collection[PeerId], round: int) -> frozenset[PeerId]:
        """Which of these neighbours are no strangers in a round."""
        ordered = sorted(frozenset(peers) - self.distrusted)
        return frozenset(peer for peer, known in zip(ordered, self._known(ordered, round), strict=True) if known)

    def voices(self, peers: Collection[PeerId], round: int) -> frozenset[PeerId]:
        """Which of those who are linked have a say in a round."""
        far = self.drawn(peers, round)
        others = self.beside(peers) - self.distrusted - far
        here = far.intersection(peers)
        return self._heard(others, round, len(here)) | here

    def note(self, round: int, heard: Collection[PeerId], kept: Collection[PeerId]) -> None:
        """A round was decided: whose model was weighed, and whose vote was kept: one round more, or one less."""
        served = dict(self.served())
        for peer in heard:
            served[peer] = served.get(peer, 0) + (1 if peer in kept else -1)
            if served[peer] <= 0:
                del served[peer]
        if len(served) > KEPT:
            ranked = sorted(served, key=lambda peer: (peer not in self._origins, -served[peer], peer))
            served = {peer: served[peer] for peer in ranked[:KEPT]}
        self._served.append((round, served))

    def served(self) -> Mapping[PeerId, int]:
        """Rounds served until now, by peer."""
        return self._served[-1][1]

    def describe(self, peer: PeerId, peers: Collection[PeerId], round: int) -> str:
        """A few words for people: "named", "near by vouches", "far, drawn", "known", or "stranger, 3 of 64 rounds"."""
        if peer in self.distrusted:
            return "distrusted"
        if peer in self.by_name:
            return "named"
        if peer in self.drawn(peers, round):
            return "far, drawn"
        if peer in self._afar or (self._graph is not None and peer not in self._graph):
            return "far"
        if peer in self.near:
            return "near by vouches"
        if self.limit is None or peer in self.known(peers, round):
            return "known"
        served = self.served().get(peer, 0)
        if not self.limit.probation:
            return "stranger"
        if served >= self.limit.probation:
            return "stranger: another peer of its network is known"
        return f"stranger, {served} of {self.limit.probation} rounds"

    def validate(self) -> None:
        """Assert the invariants."""
        assert len(self.served()) <= KEPT
        assert all(count > 0 for count in self.served().values())
        assert len(self._voices) <= DRAWN
        assert len(self._draws) <= DRAWN
        assert self._afar <= self._origins.keys()

    def _heard(self, neighbours: frozenset[PeerId], round: int, afar: int) -> frozenset[PeerId]:
        if self.limit is None:
            return neighbours
        ordered = tuple(sorted(neighbours))
        held = self._voices.get(round)
        if held is None or held[:2] != (ordered, afar):
            words = np.array([address(peer) for peer in ordered], dtype=np.uint64)
            draws = turns(self._seed, self._own, round, words, self._from(ordered))
            heard = self.limit.voices(self._known(ordered, round), draws, afar=afar)
            held = ordered, afar, frozenset(peer for peer, has in zip(ordered, heard, strict=True) if has)
            while len(self._voices) >= DRAWN:
                del self._voices[min(self._voices)]
            self._voices[round] = held
        return held[2]

    def _known(self, ordered: Collection[PeerId], round: int) -> Bools:
        vouched_for = self.by_name | self.near
        by_word = np.array([peer in vouched_for for peer in ordered], dtype=bool)
        if self.limit is None:
            return np.ones_like(by_word)
        settled = next((counts for at, counts in reversed(self._served) if at <= round - SETTLED), self._served[0][1])
        served = np.array([settled.get(peer, 0) for peer in ordered], dtype=np.int64)
        return self.limit.known(by_word, served, self._from(ordered))

    def _from(self, ordered: Collection[PeerId]) -> Words:
        return np.array([self._origins.get(peer, address(peer)) for peer in ordered], dtype=np.uint64)
