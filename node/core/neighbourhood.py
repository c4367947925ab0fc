"""All neighbours of a node: who is here, who has a say, what they say of rounds, how long to wait for them.

Laws:
- Whoever is connected is a neighbour, and so is one that left, until it is removed.
- What moves a round (signed headers, deadlines, who is waited for) is asked of its guides: the neighbours with a say in
  it that the node knows by name. Where none of these is here, of strangers with a say that have delivered a payload of
  an earlier round, in this run or before it: a promise alone moves nobody who has heard anybody. A round in which none
  of those is drawn, though one is here, has no guides: silence costs it nothing, and a claim does not move it. Where
  nobody here has delivered yet (the first node of a network, restarted empty-handed), of all who have a say.
- Vouches name nobody: who is near by them guides no more than a stranger does, and who is heard from afar not at all.
  That most of these are behind may double a node's pace, and no more: so two parts of a network find each other again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator

from gossip.protocol.messages import Update
from identity.keys import PeerId
from node.core.neighbour import Neighbour, deadline, leads, left_behind, overtaken, torn, waited_for
from node.core.policy import RoundPolicy
from node.trust.standing import Standing

LEAP = 64
"""Rounds that strangers alone may move a node at a time. A crowd that signs and delivers can still lead a node that
knows nobody away, but it pays a header and a payload for each such step, and whoever is named ends it."""
LEFT = 256  # peers that left whose trust is remembered; whoever left first goes first


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
        self._kept: OrderedDict[PeerId, float] = OrderedDict()  # trust of those who left
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

    def beside(self) -> frozenset[PeerId]:
        """Those who are neighbours, and not linked only for what they say from afar."""
        return self.standing.beside(self._members)

    def here(self) -> list[Neighbour]:
        """Those of `beside` who are connected, in order of peer id."""
        beside = self.beside()
        return [neighbour for neighbour in self.live() if neighbour.peer in beside]

    def far(self, round: int) -> tuple[PeerId, ...]:
        """Who is heard from afar in a round, linked or not, in order of peer id."""
        return tuple(sorted(self.standing.drawn(self._members, round)))

    def asked(self, round: int) -> tuple[PeerId, ...]:
        """Whom a round is decided among: neighbours in order of peer id, then who is heard from afar."""
        far = self.far(round)
        return (*sorted(self.beside().difference(far)), *far)

    def said(self, round: int) -> dict[PeerId, Update]:
        """Own updates of a round that are here, in order of author."""
        return {each.peer: each.updates[round] for each in self.all() if round in each.updates}

    # Who comes and goes

    def joined(self, peer: PeerId, group: str, afar: bool = False) -> None:
        """It is connected, seen in this public network ("": none); `afar`: for what it says from afar."""
        self.standing.joined(peer, group, afar)
        neighbour = self._members.setdefault(peer, Neighbour(peer))
        neighbour.live = True
        # a known peer that comes back is waited for at once; of a stranger it is remembered how it kept its promises
        backed = bool(self.standing.backing([peer]))
        neighbour.trust = 1.0 if backed else self._kept.pop(peer, neighbour.trust)

    def remove(self, peer: PeerId) -> None:
        """It is nobody's neighbour any more."""
        self._kept[peer] = self._members.pop(peer).trust
        self._kept.move_to_end(peer)
        if len(self._kept) > LEFT:
            self._kept.popitem(last=False)
        self.standing.left(peer)

    def convicted(self, peer: PeerId) -> None:
        """It contradicted itself: as one that was never heard, and is not waited for."""
        self.standing.convicted(peer)
        neighbour = self._members.get(peer)
        if neighbour is not None:
            neighbour.updates.clear()
            neighbour.lag, neighbour.trust, neighbour.delivered = None, 0.0, -1
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

    def guides(self, round: int) -> list[Neighbour]:
        """Live neighbours that may move a round, in order of peer id."""
        far = frozenset(self.far(round)) - self.standing.by_name
        heeded = [neighbour for neighbour in self.heeded(round) if neighbour.peer not in far]
        backing = self.standing.backing(neighbour.peer for neighbour in heeded)
        known = [neighbour for neighbour in heeded if neighbour.peer in backing]
        if known:
            return known
        served = self.standing.served()
        proven = {each.peer for each in self.live() if 0 <= each.delivered < round or each.peer in served}
        return [each for each in heeded if each.peer in proven] if proven else heeded

    def guests(self, round: int, policy: RoundPolicy) -> list[Neighbour]:
        """Others with a say beside the guides whose update is not here, if they are mostly in time."""
        guides = self.guides(round)
        others = (neighbour for neighbour in self.heeded(round) if neighbour not in guides)
        return [each for each in others if round not in each.updates and each.trusted(policy)]

    def led_by_strangers(self, round: int) -> bool:
        """Whether no guide of a round is known by name."""
        return not self.standing.backing(neighbour.peer for neighbour in self.guides(round))

    def overtaken(self, present: int, round: int, published: int) -> int | None:
        """Where the guides of the present round would have a node that is in `round`; None: where it is.

        Strangers lead by at most `LEAP` rounds beyond the round that the node published last.
        """
        target = overtaken(round, self.guides(present))
        if target is None or not self.led_by_strangers(present):
            return target
        target = min(target, published + LEAP)
        return target if target > round else None

    def left_behind(self, round: int) -> bool:
        """Whether most guides of a round have published it."""
        return left_behind(round, self.guides(round))

    def torn(self, round: int) -> bool:
        """Whether half of the guides of a round are ahead of it by more than one."""
        return torn(round, self.guides(round))

    def leads(self, round: int) -> bool:
        """Whether most of those who are here and known, by name or by vouches, are behind a round by more than one."""
        there = {each.peer for each in self.heeded(round)}
        known = self.standing.stands_for(there, there.intersection(self.far(round)))
        known = self.standing.by_name.intersection(there) if known is None else known
        return leads(round, [each for each in self.live() if each.peer in known])

    def waited_for(self, round: int, policy: RoundPolicy) -> list[Neighbour]:
        """Those without whom the round does not close before its deadline.

        Of strangers a crowd may be the better half, whatever it has delivered once: one is waited for that is mostly
        late only while nobody is here that is mostly in time.
        """
        guides = self.guides(round)
        if not guides or not self.led_by_strangers(round):
            return waited_for(guides, policy)
        reliable = any(each.lag is not None and each.trusted(policy) for each in self.live())
        return waited_for(guides, policy, least=0 if reliable else 1)

    def deadline(self, round: int, policy: RoundPolicy) -> float:
        """Seconds from own publication to the close of the round.

        A guide that was not heard yet is waited for long by a node that hears nobody. Where others are heard for whom
        people vouch, the node would fall behind these.
        """
        silence = 0.0 if self._backed_by_vouches(round, policy) else policy.most - self._silence
        return deadline(self.waited_for(round, policy), policy, silence)

    def _backed_by_vouches(self, round: int, policy: RoundPolicy) -> bool:
        """Whether somebody known by vouches has a say, was heard before, and is mostly in time."""
        heard = {each.peer for each in self.heeded(round) if each.lag is not None and each.trusted(policy)}
        return bool(self.standing.stands_for(heard, heard.intersection(self.far(round))))

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
            assert neighbour.delivered <= neighbour.signed
            assert neighbour.lag is None or (neighbour.lag >= 0 and neighbour.deviation >= 0)
            for said, update in neighbour.updates.items():
                assert (update.header.author, update.header.round) == (peer, said)
                assert said >= round
        self.standing.validate()
