"""What the core remembers of one neighbour: round, updates, how late it usually is; and the deadline from that.

The formula and its source stand in `node.core.policy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gossip.protocol.messages import Update
from identity.keys import PeerId
from node.core.policy import RoundPolicy

GAIN_MEAN = 1 / 8  # RFC 6298, section 2
GAIN_DEVIATION = 1 / 4
# as the mean's: a peer that is in time in less than four rounds of five (patience 2) is not waited for
GAIN_TRUST = 1 / 8
STALE = 2  # rounds after which an announced relay is no longer expected


@dataclass(slots=True)
class Neighbour:
    """A direct neighbour.

    Attributes:
        live: connected now; a neighbour that left is kept to the end of the round if its update is here.
        signed: newest round of which it has signed a header; -1 before the first. What it says otherwise moves nobody.
        delivered: newest round of its own whose payload was here and whole; -1 before the first.
        trust: running share of rounds in which its update was in time, from 1.
        lag, deviation: running mean and mean deviation of its lag in seconds; None before the first update.
        missed: latest round that closed without its update, until that is pardoned.
        updates: own updates of the present round and later.
        stamps: rounds in which announced relays become ripe, by (author, round), while their payloads are fetched.
    """

    peer: PeerId
    signed: int = -1
    delivered: int = -1
    live: bool = True
    trust: float = 1.0
    lag: float | None = None
    deviation: float = 0.0
    missed: int | None = None
    updates: dict[int, Update] = field(default_factory=dict)
    stamps: dict[tuple[PeerId, int], int] = field(default_factory=dict)

    def late(self, lag: float) -> None:
        """Take one lag (seconds, at least 0) into the estimate."""
        if self.lag is None:
            self.lag, self.deviation = lag, lag / 2
        else:
            self.deviation += GAIN_DEVIATION * (abs(lag - self.lag) - self.deviation)
            self.lag += GAIN_MEAN * (lag - self.lag)

    def judge(self, round: int, in_time: bool) -> None:
        """A round closed with or without its update."""
        self.trust += GAIN_TRUST * (in_time - self.trust)
        self.missed = None if in_time else round

    def pardon(self, round: int, lag: float, deadline: float) -> None:
        """Word of a round that closed without it: had we waited for it, would it have been in time?

        Without this, two halves of a network that fell out of step would never hear each other again: each closes
        without waiting for the other, a moment too early, round after round.
        """
        if round == self.missed and lag <= deadline:
            self.trust = min(1.0, self.trust + GAIN_TRUST)  # what judging it in time would have given
            self.missed = None

    def trusted(self, policy: RoundPolicy) -> bool:
        """Whether it is more often in time than after `patience` misses in a row from full trust."""
        return self.trust > math.pow(1 - GAIN_TRUST, policy.patience - 0.5)

    def allowance(self, policy: RoundPolicy) -> float | None:
        """How long to wait for it, before clamping; None while it has not been heard."""
        return None if self.lag is None else self.lag + policy.deviations * self.deviation

    def forget(self, before: int) -> None:
        """Drop updates of rounds before this one, and relays that were announced long before it and never came."""
        for round in [round for round in self.updates if round < before]:
            del self.updates[round]
        for key in [key for key, ripe in self.stamps.items() if ripe + STALE < before]:
            del self.stamps[key]


def waited_for(live: Sequence[Neighbour], policy: RoundPolicy, least: int | None = None) -> list[Neighbour]:
    """Those a round waits for: all that are trusted, and `least` of those ever heard (None: the better half)."""
    heard = [n for n in live if n.lag is not None or n.trusted(policy)]
    least = (len(heard) + 1) // 2 if least is None else least
    ranked = sorted(heard, key=lambda n: (-n.trust, n.peer))
    return [n for position, n in enumerate(ranked) if position < least or n.trusted(policy)]


def deadline(waited: Sequence[Neighbour], policy: RoundPolicy, silence: float) -> float:
    """Seconds from own publication to the close of a round; `least` when nobody is waited for.

    A neighbour that was never heard does not stretch it, unless nobody was: strangers who join and stay silent cost no
    more than the others' pace.

    Args:
        silence: seconds, before clamping, to wait for neighbours of whom none was ever heard.
    """
    if not waited:
        return policy.least
    allowed = sorted(a for n in waited if (a := n.allowance(policy)) is not None) or [silence]
    middle = (allowed[(len(allowed) - 1) // 2] + allowed[len(allowed) // 2]) / 2
    return min(max(min(allowed[-1], policy.stretch * middle), policy.least), policy.most)


def left_behind(round: int, guides: Sequence[Neighbour]) -> bool:
    """Whether more than half have published this round, or a later one."""
    return 2 * sum(n.signed >= round for n in guides) > len(guides)


def torn(round: int, guides: Sequence[Neighbour]) -> bool:
    """Whether half of them are ahead of this round by more than one, and no more than half."""
    ahead = sum(n.signed > round + 1 for n in guides)
    return 0 < 2 * ahead == len(guides)


def leads(round: int, known: Sequence[Neighbour]) -> bool:
    """Whether more than half of those who have published are behind this round by more than one."""
    there = [n.signed for n in known if n.signed >= 0]
    return 2 * sum(signed < round - 1 for signed in there) > len(there)


def overtaken(round: int, guides: Sequence[Neighbour]) -> int | None:
    """The round to jump to: lower median of signed rounds, if more than half are ahead by more than one; else None.

    One liar cannot move it: with three guides or more an honest header lies on either side, with two the smaller one
        counts. A node's only guide is its whole network, and is believed.
    """
    claims = sorted(n.signed for n in guides)
    ahead = sum(claim > round + 1 for claim in claims)
    return claims[(len(claims) - 1) // 2] if 2 * ahead > len(claims) else None
