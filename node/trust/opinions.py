"""What a node thought of each peer, round by round: weights and verdicts, bounded in both directions."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aggregation.evidence import Verdict
from identity.keys import PeerId
from node.store.record import NeighbourRecord

ROUNDS = 64  # opinions kept of one peer
FADED = 1024  # rounds without an opinion after which a peer is forgotten: its strip has been empty for a quarter hour
PEERS = 256  # peers of whom opinions are kept; whoever was judged least recently goes first

WHY: Mapping[str, str] = {
    "taken": "counts in full",
    "absent": "no update of the round was here in time",
    "not_finite": "its model holds, or computes, what is no number",
    "similar": "much like others: they share their weight",
    "far": "farther away than others",
    "harmful": "does worse on this node's own samples",
    "clipped": "counts, shortened: it is far away",
    "duplicate": "acts like a nearer neighbour: the two have one vote, and that one keeps it; from far behind, as "
    "after a rollback, honest neighbours look alike too",
    "trimmed": "counts, bounded coordinate by coordinate",
    "unproven": "nothing to judge it by yet",
    "unheard": "this rule listens to nobody",
    "unbacked": "a stranger, and no peer that this node knows answered: strangers alone move nobody",
    "braked": "it was in a model that did much worse on this node's own samples: decided once more without it",
    "stranger": "a stranger whose turn it was not: strangers have few votes between them",
}
"""What a verdict means, by its name in lower case, in words for people."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """In this round the peer got this weight (relative to the own model's 1), and why."""

    round: int
    weight: float
    verdict: Verdict


class Opinions:
    """The latest opinions of the latest peers."""

    def __init__(self, rounds: int = ROUNDS, peers: int = PEERS) -> None:
        self._rounds = rounds
        self._peers = peers
        self._kept: OrderedDict[PeerId, deque[Opinion]] = OrderedDict()

    def note(self, round: int, neighbours: Iterable[NeighbourRecord]) -> None:
        """Take in what a round made of its neighbours."""
        for neighbour in neighbours:
            kept = self._kept.setdefault(neighbour.peer, deque(maxlen=self._rounds))
            kept.append(Opinion(round, neighbour.weight, neighbour.verdict))
            self._kept.move_to_end(neighbour.peer)
        while self._kept and (len(self._kept) > self._peers or self._oldest() <= round - FADED):
            self._kept.popitem(last=False)

    def of(self, peer: PeerId) -> tuple[Opinion, ...]:
        """Opinions of one peer, oldest first; empty if there are none."""
        return tuple(self._kept.get(peer, ()))

    def _oldest(self) -> int:
        """The round of the opinion that is longest ago of all peers' newest."""
        return next(iter(self._kept.values()))[-1].round

    def __iter__(self) -> Iterator[PeerId]:
        """Peers of whom there are opinions, in order of peer id."""
        return iter(sorted(self._kept))
