"""What a node knows of authors beyond its direct neighbours, and which record to relay to whom. Pure.

Laws:
- The outcome never depends on the order of arrival within a round.
- A relay counts from the round after the one its sender was in when it sent it (it is ripe then): every node closes
  round t on what its neighbours sent up to the end of their round t - 1, however fast or slow they are.
- At the close of a round, in this order: ripe relays are merged, the store is trimmed, evidence is read, relays are
  drawn.
- Distance is a claim of whoever relayed: one is added, and it is clamped to [2, FARTHEST].
- What a neighbour can make us hold is bounded: `PER_SENDER` unripe relays each, `authors` stored records in all, none
  older than `age` rounds.

Source: SybilWall (arXiv 2306.15044), gossip of histories; relay probability proportional to exp(-0.8 (distance - 1)).
Differs: distance is clamped and rounds are admitted by the own view; the record is the author's own signed update.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from gossip.protocol.messages import Update
from identity.keys import PeerId
from node.draws import Purpose, address, uniforms

FARTHEST = 16
NEAREST_RELAYED = 2
DECAY = 0.8  # 1 / 1.25, as published
PER_SENDER = 4  # an honest neighbour sends one a round


@dataclass(frozen=True, slots=True)
class Known:
    """A record: an author's update, how far away its author seems, and from whom it came.

    Attributes:
        distance: 1 for a direct neighbour's own update, 2 to FARTHEST for a relayed one.
        senders: neighbours that sent this very record; it is never sent back to them.
    """

    author: PeerId
    round: int
    update: Update
    distance: int
    senders: frozenset[PeerId]

    @classmethod
    def own(cls, update: Update) -> Known:
        """A direct neighbour's own word."""
        author = update.header.author
        return cls(author, update.header.round, update, 1, frozenset([author]))

    def merged(self, other: Known) -> Known:
        """The newer of two records of one author; of one and the same, the shorter distance and all senders.

        Two different updates of one author and round (equivocation): the one with the smaller digest, on every node
        alike.
        """
        mine, theirs = self._rank(), other._rank()
        if mine != theirs:
            return self if mine < theirs else other
        near = min(self.distance, other.distance)
        return Known(self.author, self.round, self.update, near, self.senders | other.senders)

    def _rank(self) -> tuple[int, bytes]:
        return -self.round, self.update.digest


class History:
    """Relayed records, bounded.

    Args:
        own: own peer id; records of it are never kept.
        seed: of the relay draws.
        authors: stored records, at most.
        age: rounds after its own for which a record counts.
    """

    def __init__(self, own: PeerId, seed: int, authors: int, age: int) -> None:
        self.own = own
        self.authors = authors
        self.age = age
        self._seed = seed
        self._stored: dict[PeerId, Known] = {}
        self._unripe: dict[PeerId, list[tuple[int, Known]]] = {}

    def __len__(self) -> int:
        """Stored records."""
        return len(self._stored)

    def find(self, author: PeerId, digest: bytes) -> Update | None:
        """The update of this digest, if a record of it is held."""
        held = [self._stored[author]] if author in self._stored else []
        held += [known for waiting in self._unripe.values() for _, known in waiting]
        return next((known.update for known in held if known.update.digest == digest), None)

    def forget(self, author: PeerId) -> None:
        """Drop every record of an author."""
        self._stored.pop(author, None)
        for sender in list(self._unripe):
            self._unripe[sender] = [entry for entry in self._unripe[sender] if entry[1].author != author]
            if not self._unripe[sender]:
                del self._unripe[sender]

    def room(self, sender: PeerId) -> bool:
        """Whether this sender may have one more unripe relay here."""
        return len(self._unripe.get(sender, ())) < PER_SENDER

    def receive(self, update: Update, sender: PeerId, distance: int, ripe: int) -> None:
        """Take a relay in; it counts from the settling of round `ripe` on. Beyond `PER_SENDER` it is dropped.

        Args:
            distance: the sender's distance to the author, as it says, plus one; clamped here once more.
        """
        author = update.header.author
        if author == self.own or not self.room(sender):
            return
        distance = min(max(distance, NEAREST_RELAYED), FARTHEST)
        known = Known(author, update.header.round, update, distance, frozenset([sender]))
        self._unripe.setdefault(sender, []).append((ripe, known))

    def keep(self, known: Known) -> None:
        """Merge a record into the store at once (a neighbour that left: its last own update)."""
        if known.author != self.own:
            held = self._stored.get(known.author)
            self._stored[known.author] = known if held is None else held.merged(known)

    def settle(self, round: int, direct: Collection[PeerId]) -> None:
        """At a round's close: merge what is ripe, forget what direct neighbours say themselves, drop the old, trim."""
        for sender in list(self._unripe):
            waiting = self._unripe.pop(sender)
            for ripe, known in waiting:
                if ripe <= round and known.author not in direct:
                    self.keep(known)
            later = [entry for entry in waiting if entry[0] > round]
            if later:
                self._unripe[sender] = later
        self._trim(round)

    def relayed(self, direct: Collection[PeerId]) -> tuple[Known, ...]:
        """Stored records whose author is not a direct neighbour, in order of author."""
        return tuple(self._stored[author] for author in sorted(self._stored) if author not in direct)

    def choose(self, round: int, to: PeerId, candidates: Iterable[Known]) -> Known | None:
        """The record to relay to one neighbour, drawn with probability proportional to exp(-DECAY (distance - 1)).

        An exponential race: the smallest -ln(u) / weight wins, u belonging to (own, round, to, author). So the draw
        does not depend on the order of candidates, and one more candidate changes it only by winning.

        Args:
            candidates: what is known; its author's own and the receiver's own records and what came from it are left
                out.
        """
        open_ = sorted(
            (known for known in candidates if known.author not in (to, self.own) and to not in known.senders),
            key=lambda known: known.author,
        )
        if not open_:
            return None
        authors = np.array([address(known.author) for known in open_], dtype=np.uint64)
        weights = np.exp(-DECAY * (np.array([known.distance for known in open_], dtype=np.float64) - 1))
        draws = uniforms(self._seed, Purpose.RELAY, address(self.own), round, address(to), authors)
        return open_[int(np.argmin(-np.log(draws) / weights))]

    def validate(self) -> None:
        """Raise AssertionError when a law of this module is broken."""
        assert self.own not in self._stored
        for author, known in self._stored.items():
            assert author == known.author == known.update.header.author
            assert known.round == known.update.header.round
            assert 1 <= known.distance <= FARTHEST
            assert known.author not in known.senders or known.distance == 1
        assert all(0 < len(waiting) <= PER_SENDER for waiting in self._unripe.values())

    def _trim(self, round: int) -> None:
        self._stored = {author: known for author, known in self._stored.items() if known.round >= round - self.age}
        if len(self._stored) > self.authors:
            ranked = sorted(self._stored.values(), key=lambda known: (-known.round, known.distance, known.author))
            self._stored = {known.author: known for known in ranked[: self.authors]}
