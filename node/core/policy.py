"""What a node may decide about time: pace, deadlines, how many rounds, how much to remember. Durations in seconds.

The deadline of a round is counted from the moment the own update is out. Each neighbour has an estimate of its lag
(arrival of its update of round t minus own publication of round t, at least 0): mean m and mean deviation v, updated as
`v += (|lag - m| - v) / 4`, `m += (lag - m) / 8`, first lag: m = lag, v = lag / 2. Its allowance is m + deviations * v.
Then

    deadline = clamp(min(largest allowance, stretch * median allowance), least, most)

over those neighbours that are waited for and were heard before. As long as nobody was, it is what is left of `most`
seconds of silence: rounds that closed with nobody heard use them up, and with the first word of somebody the running
round ends by what is known then. So one slow peer cannot stretch a round beyond `stretch` times what its median
neighbour needs, a silent stranger not at all, and silent strangers alone, come and go as they may, stretch no more than
`most` seconds between two words of others. A neighbour's trust is a running share of the rounds in which its update
came before the deadline (also when the round had closed earlier without it), from 1: `t += (in time - t) / 8`. Once it
is as low as after `patience` misses in a row it is no longer waited for, until it has risen again or the neighbour
connects anew (but of those that were ever heard at least the better half is waited for; of strangers, of whom a crowd
may be the better half, one at least, and only while none is here that is mostly in time). What it sends still counts
when it is there. Trust rises slowly on purpose: nodes wait for nodes that wait, so a slow peer that were forgiven for a
lucky round would stretch everybody's.

Source: retransmission timer of TCP (Jacobson, "Congestion avoidance and control", SIGCOMM 1988; RFC 6298, section 2).
Differs: pooled over peers by maximum and median; no doubling, since a missed update is not sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from node.trust.strangers import Strangers


@dataclass(frozen=True, slots=True)
class RoundPolicy:
    """How a node paces its rounds.

    Attributes:
        rounds: rounds to play, counted from round 0 of the network; None: for ever.
        more: rounds to play, counted from the start of this run, whatever the network's are; None: for ever.
        pace: least duration of a round; half of it while most neighbours are a round ahead, none of it while half of
            the guides are further ahead, twice as much while most known peers are further behind.
        least, most: bounds of the deadline.
        deviations: mean deviations above the mean that a neighbour is allowed.
        stretch: how far above the median allowance the deadline may lie.
        patience: misses in a row, from full trust, after which a neighbour is no longer waited for.
        expect: neighbours to wait for before the first round.
        gather: longest wait for them.
        relays: whether histories are relayed (only rules that need them).
        authors: stored records of others, at most.
        age: rounds after its own for which a stored record of another counts (docs/adr/0003).
        strangers: how far strangers are heard; None: everybody has a say.
    """

    rounds: int | None = None
    pace: float = 0.0
    least: float = 1.0
    most: float = 60.0
    deviations: float = 4.0
    stretch: float = 2.0
    patience: int = 2
    expect: int = 0
    gather: float = 30.0
    relays: bool = True
    authors: int = 100
    age: int = 16
    strangers: Strangers | None = None
    more: int | None = None

    def without_relays(self) -> RoundPolicy:
        """The same, for a rule that asks for no relays."""
        return replace(self, relays=False)
