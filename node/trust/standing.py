"""What a node remembers of its neighbours' standing: whom the operator named, who served how long, where each is from.

Laws:
- Bounded whoever comes: `KEPT` counts, those who served least go first; origins only of those who are connected.
- `by_name` is what a person said, now or before; service makes nobody one of those. It lifts the limit on turns and
  nothing else: a round's quorum, its brake and its deadline ask for names.
- Distrust beats a name, service and every turn.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from identity.keys import PeerId
from node.draws import address
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

    Args:
        own: own peer id.
        limit: how far strangers are heard; None: everybody has a say that is not distrusted.
        seed: of the draws; in a daemon nobody else's business.
        named: peers that the operator named.
        served: rounds that peers have served before, from disk.
    """

    def __init__(
        self,
        own: PeerId,
        limit: Strangers | None = None,
        seed: int = 0,
        named: Collection[PeerId] = (),
        served: Mapping[PeerId, int] | None = None,
    ) -> None:
        self.limit = limit
        self._own = address(own)
        self._seed = seed
        self.distrusted: frozenset[PeerId] = frozenset()
        self._named = frozenset(named)
        self._acquainted: frozenset[PeerId] = frozenset()
        self._answered: dict[str, PeerId] = {}  # address that the operator named -> who answers there
        self._served: deque[tuple[int, dict[PeerId, int]]] = deque([(-SETTLED, dict(served or {}))], SETTLED + 1)
        self._origins: dict[PeerId, int] = {}
        self._voices: dict[int, tuple[tuple[PeerId, ...], frozenset[PeerId]]] = {}

    def joined(self, peer: PeerId, group: str) -> None:
        """A neighbour is connected, from this public network ("": none)."""
        self._origins[peer] = origin_of(group, peer)
        self._voices.clear()

    def left(self, peer: PeerId) -> None:
        """A neighbour is gone; what it served is remembered."""
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

    def known(self, peers: Collection[PeerId], round: int) -> frozenset[PeerId]:
        """Which of these neighbours are no strangers in a round."""
        ordered = sorted(frozenset(peers) - self.distrusted)
        return frozenset(peer for peer, known in zip(ordered, self._known(ordered, round), strict=True) if known)

    def voices(self, peers: Collection[PeerId], round: int) -> frozenset[PeerId]:
        """Which of these neighbours have a say in a round."""
        if self.limit is None:
            return frozenset(peers) - self.distrusted
        ordered = tuple(sorted(frozenset(peers) - self.distrusted))
        drawn = self._voices.get(round)
        if drawn is None or drawn[0] != ordered:
            words = np.array([address(peer) for peer in ordered], dtype=np.uint64)
            draws = turns(self._seed, self._own, round, words, self._from(ordered))
            heard = self.limit.voices(self._known(ordered, round), draws)
            drawn = ordered, frozenset(peer for peer, has in zip(ordered, heard, strict=True) if has)
            while len(self._voices) >= DRAWN:
                del self._voices[min(self._voices)]
            self._voices[round] = drawn
        return drawn[1]

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
        """One word or two for people: "named", "known", "distrusted", or "stranger, 3 of 64 rounds"."""
        if peer in self.distrusted:
            return "distrusted"
        if peer in self.by_name:
            return "named"
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

    def _known(self, ordered: Collection[PeerId], round: int) -> Bools:
        named = self.by_name
        by_name = np.array([peer in named for peer in ordered], dtype=bool)
        if self.limit is None:
            return np.ones_like(by_name)
        settled = next((counts for at, counts in reversed(self._served) if at <= round - SETTLED), self._served[0][1])
        served = np.array([settled.get(peer, 0) for peer in ordered], dtype=np.int64)
        return self.limit.known(by_name, served, self._from(ordered))

    def _from(self, ordered: Collection[PeerId]) -> Words:
        return np.array([self._origins.get(peer, address(peer)) for peer in ordered], dtype=np.uint64)
