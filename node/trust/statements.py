"""Statements "I know X" that a node holds: which count, which give way, and the standing that follows. Pure.

Laws:
- Of one issuer and subject the highest sequence counts; of two with the same sequence the one that came first.
- A statement holds from now to its `until`, at most `Limits.terms` terms ahead. One that is taken back (until = 0) is
  remembered for a term after the round that its sequence names: as long as what it takes back could be shown again.
- Held are those of issuers to whom a chain of statements leads from oneself. Others wait in a small room: keys cost
  nothing, so neither do their statements cause a ranking.
- Bounded: `Limits.vouches`, of one issuer `vouches_each`, waiting `vouches_waiting`. Where there is no room, those of
  the issuers with the least standing go; one's own, and those of peers known by name, never.
- Standing is computed at most once a round, and only when what is held has changed.
- No trust flows over whom one distrusts. What is said by and of him is held all the same: others may see it otherwise.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from gossip.protocol.codec import MAX_ROUND, SUMS
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.vouching import Pair, Statement, number_of, sum_of
from identity.keys import PeerId
from node.trust.vouches import flow


class Statements:
    """What one node holds.

    Args:
        me: own peer id.
        limits: what issuers may use.
        held: what was held before a restart.

    Attributes:
        standing: P by peer (`node.trust.vouches`); another object whenever it has changed, and only then.
        mutual: statements that standing comes from: both ends have made one; another object whenever it has changed.
        rankings: how often they were computed.
        changed: pairs that came, changed or went (None) since whoever keeps them cleared it.
    """

    def __init__(self, me: PeerId, limits: Limits = Limits(), held: Iterable[Statement] = ()) -> None:
        self.standing: Mapping[PeerId, float] = MappingProxyType({})
        self.mutual: frozenset[Pair] = frozenset()
        self.rankings = 0
        self.changed: dict[Pair, Statement | None] = {}
        self._me = me
        self._limits = limits
        self._rooms: list[dict[PeerId, dict[PeerId, Statement]]] = [{} for _ in range(SUMS)]
        self._waiting: OrderedDict[Pair, Statement] = OrderedDict()
        self._digests: set[bytes] = set()  # of both
        self._count = 0
        self._sums: list[bytes | None] = [None] * SUMS
        self._ends: list[tuple[int, Pair]] = []
        self._reached = {me}  # issuers to whom statements lead
        self._floor = 0.0  # standing of the best for whom there was no room
        self._distrusted: frozenset[PeerId] = frozenset()
        self._dirty = False
        for statement in held:
            self._hold(statement)
        self._dirty = self._count > 0
        self.changed.clear()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Statement]:
        for room in self._rooms:
            for said in room.values():
                yield from said.values()

    def knows(self, digest: bytes) -> bool:
        """Whether this very statement is held, or waits."""
        return digest in self._digests

    def get(self, issuer: PeerId, subject: PeerId) -> Statement | None:
        """What an issuer said last of a subject, if it is held."""
        return self._of(issuer).get(subject)

    def held(self, number: int) -> list[Statement]:
        """Those of issuers with these first four bits, oldest issuer first."""
        return [statement for said in self._rooms[number].values() for statement in said.values()]

    def sums(self) -> tuple[bytes, ...]:
        """A digest of what is held, for each first four bits."""
        for number, known in enumerate(self._sums):
            if known is None:
                self._sums[number] = sum_of(statement.digest for statement in self.held(number))
        return tuple(known for known in self._sums if known is not None)

    def admit(self, statement: Statement, round: int) -> None:
        """Take one in whose signature holds; it is held, or it waits.

        Raises:
            RemoteFault: VOUCH, REPLAY, STALE or EARLY.
        """
        limits, before = self._limits, self.get(*statement.pair) or self._waiting.get(statement.pair)
        if statement.issuer == statement.subject:
            raise RemoteFault(Drop.VOUCH, "a statement about its own issuer")
        if before is not None and statement.sequence <= before.sequence:
            raise RemoteFault(Drop.REPLAY, "an older statement")
        if statement.end(limits.term) <= round:
            raise RemoteFault(Drop.STALE, "a statement that has ended")
        if statement.until > round + limits.terms * limits.term:
            raise RemoteFault(Drop.EARLY, "a statement that ends too far ahead")
        self._stop_waiting(statement.pair)
        if statement.issuer not in self._reached:
            self._wait(statement)
        elif self._count >= limits.vouches and before is None and statement.issuer != self._me:
            self._wait(statement)
            self._dirty |= self.standing.get(statement.issuer, 0.0) > self._floor
        elif not self._fits(statement):
            raise RemoteFault(Drop.VOUCH, "a statement about one peer too many")
        else:
            self._hold(statement)

    def due(self, wanted: Sequence[PeerId], round: int) -> list[tuple[PeerId, int, int]]:
        """What oneself has to say now: (subject, sequence, until).

        Args:
            wanted: whom to vouch for; the first `Limits.vouches_each` of them.
            round: own round. A sequence never falls below it, so that a restored backup does not repeat one.
        """
        mine = self._of(self._me)
        chosen = [peer for peer in wanted if peer != self._me][: self._limits.vouches_each]
        soon = [
            (peer, min(round + self._limits.term, MAX_ROUND))
            for peer in chosen
            if (said := mine.get(peer)) is None or said.until - round < self._limits.term // 2
        ]
        over = [(peer, 0) for peer, said in mine.items() if said.until and peer not in chosen]
        return [
            (peer, max(mine[peer].sequence + 1 if peer in mine else 1, round), until) for peer, until in (*over, *soon)
        ]

    def settle(self, round: int, named: Collection[PeerId] = (), distrusted: frozenset[PeerId] = frozenset()) -> None:
        """A round begins: what has ended goes; where something has changed, who is reached and how far is found anew.

        Args:
            round: own round.
            named: peers known by name, whose statements never give way.
            distrusted: peers over whom no trust flows.
        """
        self._end(round)
        if not self._dirty and distrusted == self._distrusted:
            return
        self._dirty, self._distrusted = False, distrusted
        self._reach()
        for statement in [each for each in self if each.issuer not in self._reached]:
            self._drop(statement)
        for statement in [each for each in self._waiting.values() if each.issuer in self._reached]:
            self._stop_waiting(statement.pair)
            if self._fits(statement):
                self._hold(statement)
        self._rank()
        self._make_room({self._me, *named})
        self._dirty = False

    def validate(self) -> None:
        """Assert the invariants."""
        assert self._count == sum(1 for _ in self)
        assert len(self._waiting) <= self._limits.vouches_waiting
        assert all(len(said) <= self._limits.vouches_each for room in self._rooms for said in room.values())
        assert self._digests == {each.digest for each in (*self, *self._waiting.values())}
        assert self.sums() == tuple(sum_of(each.digest for each in self.held(number)) for number in range(SUMS))
        assert len(self._ends) <= 2 * (self._limits.vouches + self._limits.vouches_waiting) + SUMS

    def _of(self, issuer: PeerId) -> dict[PeerId, Statement]:
        return self._rooms[number_of(issuer)].get(issuer, {})

    def _fits(self, statement: Statement) -> bool:
        """Make room among those of its issuer: the oldest that was taken back is forgotten."""
        said = self._of(statement.issuer)
        if statement.subject in said or len(said) < self._limits.vouches_each:
            return True
        back = [each for each in said.values() if not each.until]
        if not back:
            return False
        self._drop(min(back, key=lambda each: (each.sequence, each.subject)))
        return True

    def _hold(self, statement: Statement) -> None:
        """Hold one, and whatever waited for its subject to be reached."""
        ready = [statement]
        while ready:
            each = ready.pop()
            before = self.get(*each.pair)
            self._dirty |= (before is not None and before.until > 0) != (each.until > 0)
            if before is not None:
                self._digests.discard(before.digest)
            number = number_of(each.issuer)
            self._rooms[number].setdefault(each.issuer, {})[each.subject] = each
            self._count += before is None
            self._sums[number] = None
            self._digests.add(each.digest)
            self.changed[each.pair] = each
            self._mind(each)
            if each.until and each.issuer in self._reached and each.subject not in self._reached:
                self._reached.add(each.subject)
                for other in [one for one in self._waiting.values() if one.issuer == each.subject]:
                    if self._count < self._limits.vouches and self._fits(other):
                        self._stop_waiting(other.pair)
                        ready.append(other)

    def _drop(self, statement: Statement) -> None:
        number = number_of(statement.issuer)
        said = self._rooms[number][statement.issuer]
        del said[statement.subject]
        if not said:
            del self._rooms[number][statement.issuer]
        self._count -= 1
        self._sums[number] = None
        self._digests.discard(statement.digest)
        self._dirty |= statement.until > 0
        self.changed[statement.pair] = None

    def _wait(self, statement: Statement) -> None:
        self._waiting[statement.pair] = statement
        self._digests.add(statement.digest)
        if len(self._waiting) > self._limits.vouches_waiting:
            self._stop_waiting(next(iter(self._waiting)))

    def _stop_waiting(self, pair: Pair) -> None:
        statement = self._waiting.pop(pair, None)
        if statement is not None:
            self._digests.discard(statement.digest)

    def _mind(self, statement: Statement) -> None:
        """Remember when it ends."""
        heapq.heappush(self._ends, (statement.end(self._limits.term), statement.pair))
        if len(self._ends) > 2 * self._count + SUMS:
            self._ends = [(each.end(self._limits.term), each.pair) for each in self]
            heapq.heapify(self._ends)

    def _end(self, round: int) -> None:
        """Forget what has ended."""
        while self._ends and self._ends[0][0] <= round:
            end, pair = heapq.heappop(self._ends)
            statement = self.get(*pair)
            if statement is not None and statement.end(self._limits.term) == end:
                self._drop(statement)
        for statement in [each for each in self._waiting.values() if each.end(self._limits.term) <= round]:
            self._stop_waiting(statement.pair)

    def _reach(self) -> None:
        """Follow statements from oneself."""
        self._reached, ready = {self._me}, [self._me]
        while ready:
            for subject, statement in self._of(ready.pop()).items():
                if statement.until and subject not in self._reached:
                    self._reached.add(subject)
                    ready.append(subject)

    def _rank(self) -> None:
        self.rankings += 1
        mutual = [
            each.pair
            for each in self
            if each.until
            and each.issuer < each.subject
            and (back := self.get(each.subject, each.issuer)) is not None
            and back.until
            and self._distrusted.isdisjoint(each.pair)
        ]
        if frozenset(mutual) != self.mutual:
            self.mutual = frozenset(mutual)
        standing = flow(mutual, self._me)
        if standing != self.standing:
            self.standing = MappingProxyType(standing)

    def _make_room(self, kept: Collection[PeerId]) -> None:
        """Forget those of the issuers with the least standing, as many as are too many."""
        over = self._count - self._limits.vouches
        self._floor = self._floor if self._count >= self._limits.vouches else 0.0
        if over <= 0:
            return
        issuers = {each.issuer for each in self}.difference(kept)
        for issuer in sorted(issuers, key=lambda peer: (self.standing.get(peer, 0.0), peer)):
            said = sorted(self._of(issuer).values(), key=lambda each: each.subject)
            for statement in said[-over:]:
                self._drop(statement)
            over -= min(over, len(said))
            self._floor = self.standing.get(issuer, 0.0)
            if not over:
                return
