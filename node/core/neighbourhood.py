"""All neighbours of a node: who is here, who has a say, what they say of rounds, how long to wait for them.

Laws:
- Whoever is connected is a neighbour, and so is one that left, until it is removed.
- What moves a round (claims, deadlines, who is waited for) is asked of those only who have a say in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gossip.protocol.messages import Update
from identity.keys import PeerId
from node.core.neighbour import Neighbour, deadline, left_behind, overtaken, waited_for
from node.core.policy import RoundPolicy
from node.trust.standing import Standing


class Neighbourhood(Collection[PeerId]):
    """The neighbours by peer id.

    Attributes:
        standing: who of them is known.

    Args:
        standing: kept up to date with who comes and goes.
    """

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self._members: dict[PeerId, Neighbour] = {}
        self._silence = 0.0  # seconds waited for neighbours of whom none had been heard, since anybody was

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, peer: object) -> bool:
        return peer in self._members

    def __iter__(self) -> Iterator[PeerId]:
        """In order of peer id."""
        return iter(sorted(self._members))

    def get(self, peer: PeerId) -> Neighbour | None:
        """This neighbour, if it is one."""
        return self._members.get(peer)

    def all(self) -> list[Neighbour]:
        """Those too that left, in order of peer id."""
        return [self._members[peer] for peer in self]

    def live(self) -> list[Neighbour]:
        """Those who are connected, in order of peer id."""
        return [neighbour for neighbour in self.all() if neighbour.live]

    def gone(self) -> list[Neighbour]:
        """Those who left, in order of peer id."""
        return [neighbour for neighbour in self.all() if not neighbour.live]

    def said(self, round: int) -> dict[PeerId, Update]:
        """Own updates of a round that are here, in order of author."""
        return {each.peer: each.updates[round] for each in self.all() if round in each.updates}

    # Who comes and goes

    def joined(self, peer: PeerId, round: int, group: str) -> None:
        """It is connected, says it is in this round, and is seen in this public network ("": none)."""
        self.standing.joined(peer, group)
        neighbour = self._members.setdefault(peer, Neighbour(peer, round))
        neighbour.live, neighbour.trust, neighbour.claimed = True, 1.0, max(neighbour.claimed, round)

    def remove(self, peer: PeerId) -> None:
        """It is nobody's neighbour any more."""
        del self._members[peer]
        self.standing.left(peer)

    def convicted(self, peer: PeerId) -> None:
        """It contradicted itself: as one that was never heard, and is not waited for."""
        self.standing.convicted(peer)
        neighbour = self._members.get(peer)
        if neighbour is not None:
            neighbour.updates.clear()
            neighbour.lag, neighbour.trust = None, 0.0
            if not neighbour.live:
                self.remove(peer)

    # What they have to say

    def voices(self, round: int) -> frozenset[PeerId]:
        """Who has a say in a round."""
        return self.standing.voices(self._members, round)

    def heeded(self, round: int) -> list[Neighbour]:
        """Live neighbours that have a say in a round, in order of peer id."""
        voices = self.voices(round)
        return [neighbour for neighbour in self.live() if neighbour.peer in voices]

    def overtaken(self, present: int, round: int) -> int | None:
        """Where those who have a say in the present round would have a node that is in `round`; None: where it is."""
        return overtaken(round, self.heeded(present))

    def left_behind(self, round: int) -> bool:
        """Whether most of those who have a say in a round have published it."""
        return left_behind(round, self.heeded(round))

    def waited_for(self, round: int, policy: RoundPolicy) -> list[Neighbour]:
        """Those without whom the round does not close before its deadline."""
        return waited_for(self.heeded(round), policy)

    def deadline(self, round: int, policy: RoundPolicy) -> float:
        """Seconds from own publication to the close of the round."""
        return deadline(self.waited_for(round, policy), policy, policy.most - self._silence)

    def waited(self, round: int, seconds: float, policy: RoundPolicy) -> None:
        """A round closes so long after own publication."""
        heard = any(neighbour.lag is not None for neighbour in self.waited_for(round, policy))
        self._silence = 0.0 if heard else self._silence + seconds

    def validate(self, round: int, ahead: int, stamps: int) -> None:
        """Raise AssertionError when an invariant is broken.

        Args:
            round: the node's.
            ahead: rounds that an update may lead.
            stamps: relays of one sender that may be on their way.
        """
        for peer, neighbour in self._members.items():
            assert peer == neighbour.peer
            assert neighbour.live or round in neighbour.updates
            assert len(neighbour.updates) <= ahead + 1
            assert len(neighbour.stamps) <= stamps
            assert 0 <= neighbour.trust <= 1
            assert neighbour.lag is None or (neighbour.lag >= 0 and neighbour.deviation >= 0)
            for said, update in neighbour.updates.items():
                assert (update.header.author, update.header.round) == (peer, said)
                assert said >= round
        self.standing.validate()
