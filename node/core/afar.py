"""What a node hears from afar: who shall be linked for it, whom to ask for those who cannot be, what came of it.

Laws:
- Whose turn it is says `node.trust.far`; links are made a round ahead, at most twice as many as are heard in a round.
- Who is not linked is asked for through a neighbour, when our own update is out: so what it relays may be of the round
  before, and counts all the same. Once an answer has come, however late, the next one is waited for as linked far peers
  are, until one does not come.
- Bounded: one relayed update of whoever has a turn in this round or the next.
"""

from __future__ import annotations

from gossip.protocol.messages import Update
from identity.keys import PeerId
from node.core.events import Ask, Reach
from node.core.neighbourhood import Neighbourhood
from node.core.policy import RoundPolicy

LATE = 1  # rounds that an update may lag when a neighbour relays it


class Afar:
    """Far peers of one node.

    Args:
        neighbours: everybody who is linked, kept up to date.
        policy: says who is mostly in time.
    """

    def __init__(self, neighbours: Neighbourhood, policy: RoundPolicy) -> None:
        self._neighbours = neighbours
        self._policy = policy
        self._links: list[PeerId] = []  # latest turn first
        self._wanted: frozenset[PeerId] = frozenset()
        self._relayed: dict[PeerId, Update] = {}
        self._asked: frozenset[PeerId] = frozenset()  # of this round
        self._answers: frozenset[PeerId] = frozenset()  # of whom neighbours show headers when they are asked

    def reach(self, round: int) -> list[Reach]:
        """Who shall be linked, if that has changed: whose turn is now or next; in what room is left those who had one
        before, are here and mostly in time."""
        if not self._count:
            return []
        wanted = list(dict.fromkeys([*self._neighbours.far(round), *self._neighbours.far(round + 1)]))
        standing = self._neighbours.standing
        serving = {each.peer for each in self._neighbours.live() if each.trusted(self._policy)}
        serving &= standing.pool - standing.distrusted
        older = [peer for peer in self._links if peer not in wanted and peer in serving]
        self._links = [*wanted, *older][: 2 * self._count]
        before, self._wanted = self._wanted, frozenset(self._links)
        return [] if self._wanted == before else [Reach(self._wanted)]

    def ask(self, round: int) -> list[Ask]:
        """Ask known neighbours, in turn, for whoever is not linked."""
        lacking = [author for author in self._neighbours.far(round) if self._lacks(author, round)]
        if not lacking:
            return []
        here = [neighbour.peer for neighbour in self._neighbours.here()]
        known = sorted((self._neighbours.standing.stands_for(here, ()) or frozenset()).difference(lacking))
        turns = enumerate(lacking, start=round) if known else ()
        self._asked = frozenset(lacking) if known else frozenset()
        return [Ask(author, known[turn % len(known)]) for turn, author in turns]

    def wants(self, author: PeerId, round: int, present: int) -> bool:
        """Whether an update that a neighbour relays is wanted in the present round, or the next one."""
        if not self._count or not present - LATE <= round <= present + 1:
            return False
        return author in self._turns(present) and self._lacks(author, round)

    def take(self, update: Update, present: int) -> bool:
        """A neighbour relayed this update, whole; whether it is of use."""
        author = update.header.author
        if not self.wants(author, update.header.round, present):
            return False
        self._relayed[author] = update
        return True

    def shown(self, author: PeerId, present: int) -> None:
        """A neighbour shows a header of somebody else, wanted or too old."""
        if self._count and author in self._turns(present):
            self._answers = (self._answers | {author}) & self._neighbours.standing.pool

    def awaited(self, round: int) -> frozenset[PeerId]:
        """Who was asked for in this round, is not here, and came when it was asked for last."""
        return (self._asked & self._answers).difference(self.said(round))

    def closed(self, round: int) -> None:
        """The round was decided with who is here."""
        self._answers = (self._answers - self.awaited(round)) & self._neighbours.standing.pool
        self._asked = frozenset()

    def said(self, round: int) -> dict[PeerId, Update]:
        """What neighbours relayed that counts in a round, by author."""
        return {who: each for who, each in self._relayed.items() if round - LATE <= each.header.round <= round}

    def enter(self, round: int) -> None:
        """A round begins: what belongs to nobody's turn is forgotten."""
        if self._relayed:
            turns = self._turns(round)
            self._relayed = {who: each for who, each in self._relayed.items() if who in turns}

    def forget(self, author: PeerId) -> None:
        """Nothing of it counts any more, and it is not waited for."""
        self._relayed.pop(author, None)
        self._asked -= {author}
        self._answers -= {author}

    def validate(self) -> None:
        """Assert the invariants."""
        assert len(self._links) == len(self._wanted) <= 2 * self._count
        assert all(who == each.header.author for who, each in self._relayed.items())
        assert self._neighbours.standing.distrusted.isdisjoint(self._relayed)
        assert len(self._asked) <= self._count

    @property
    def _count(self) -> int:
        return self._neighbours.standing.far

    def _turns(self, present: int) -> frozenset[PeerId]:
        return frozenset((*self._neighbours.far(present), *self._neighbours.far(present + 1)))

    def _lacks(self, author: PeerId, round: int) -> bool:
        """Whether an update of this round would be news, and can come through a neighbour only."""
        linked, held = self._neighbours.get(author), self._relayed.get(author)
        return (linked is None or not linked.live) and (held is None or held.header.round < round)
