"""What a peer did beside learning: what was dropped of what it sent, and whether it was caught contradicting itself.

Laws:
- Counts only: what was dropped is gone, and a peer costs the same memory whatever it sends.
- Guilt is told apart from bad luck: no honest node ever sends what `GUILT` names, any may be late or have lost a blob.
- Harm is neither: an honest peer that learns other things may be in a model that does worse here.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from enum import StrEnum

from gossip.protocol.errors import Drop
from identity.keys import PeerId

PEERS = 256  # peers of whom counts are kept; whoever did something least recently goes first

GUILT: Mapping[Drop, str] = {
    Drop.BAD_SIGNATURE: "forged signature",
    Drop.WRONG_AUTHOR: "update in another's name",
    Drop.WRONG_NETWORK: "update of another network",
    Drop.WRONG_VERSION: "update of another version",
    Drop.MALFORMED: "malformed frame",
    Drop.OVERSIZE: "frame beyond the limit",
    Drop.SCHEMA: "update of another model",
    Drop.LENGTH: "payload of a wrong length",
    Drop.DIGEST: "payload that was not what it announced",
    Drop.NOT_FINITE: "update with NaN or infinity",
    Drop.BROKEN_CHAIN: "update that breaks its chain",
    Drop.ROUND_ORDER: "update whose round goes back",
    Drop.EQUIVOCATION: "contradicting update",
    Drop.PEER_RATE: "frame beyond its rate",
    Drop.AUTHOR_RATE: "update beyond its rate",
}
"""What an honest node never sends, in words for people."""

LUCK: Mapping[Drop, str] = {
    Drop.UNAVAILABLE: "payload it announced and did not give",
    Drop.UNREACHABLE: "payload that cannot be fetched, as nobody answers at the address it states",
    Drop.TIMEOUT: "payload that came too slowly",
    Drop.QUEUE_FULL: "frame that it was too slow to take",
}
"""What may happen to anybody, and costs whom it happens to."""


class Harm(StrEnum):
    """What a peer's model did to this node; by themselves such counts prove nothing."""

    BRAKED = "braked"  # it was in a model that lost too much on own samples, and was left out of the next try


class Conduct:
    """The latest peers that something was dropped of, or whose models did harm."""

    def __init__(self, peers: int = PEERS) -> None:
        self._peers = peers
        self._kept: OrderedDict[PeerId, Counter[Drop | Harm]] = OrderedDict()

    def note(self, peer: PeerId, reason: Drop | Harm) -> None:
        """Something that this peer sent was dropped, or did harm."""
        self._kept.setdefault(peer, Counter())[reason] += 1
        self._kept.move_to_end(peer)
        if len(self._kept) > self._peers:
            self._kept.popitem(last=False)

    def of(self, peer: PeerId) -> Mapping[Drop, int]:
        """How often, by reason; empty when nothing was dropped."""
        return {reason: count for reason, count in self._of(peer).items() if isinstance(reason, Drop)}

    def harm(self, peer: PeerId) -> Mapping[Harm, int]:
        """How often its model did harm, by what it did."""
        return {reason: count for reason, count in self._of(peer).items() if isinstance(reason, Harm)}

    def guilty(self) -> Sequence[PeerId]:
        """Peers that sent what no honest node sends, in order of peer id."""
        return sorted(peer for peer, counts in self._kept.items() if counts.keys() & GUILT.keys())

    def _of(self, peer: PeerId) -> Counter[Drop | Harm]:
        return self._kept.get(peer, Counter())


def remarks(dropped: Mapping[Drop, int], harm: Mapping[Harm, int] | None = None) -> list[str]:
    """One short sentence for each thing a peer did, worst first.

    Args:
        dropped: counts by reason, as `Conduct.of` gives them.
        harm: counts by what its model did, as `Conduct.harm` gives them.
    """
    said = []
    if dropped.get(Drop.EQUIVOCATION) or dropped.get(Drop.CONVICTED):
        said.append("signed two contradicting updates: refused for good")
    for words in (GUILT, LUCK):
        for reason, word in words.items():
            count = dropped.get(reason, 0)
            if count and reason is not Drop.EQUIVOCATION:
                said.append(f"{count} x {word}")
    if harm and harm.get(Harm.BRAKED):
        said.append(f"{harm[Harm.BRAKED]} x in a model that did much worse here, and left out of it")
    return said
