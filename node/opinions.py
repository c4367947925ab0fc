"""What a node thought of each peer, round by round: weights and verdicts, bounded in both directions."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aggregation.evidence import Verdict
from identity.keys import PeerId
from node.record import NeighbourRecord

ROUNDS = 64  # opinions kept of one peer
PEERS = 256  # peers of whom opinions are kept; whoever was judged least recently goes first


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
        while len(self._kept) > self._peers:
            self._kept.popitem(last=False)

    def of(self, peer: PeerId) -> tuple[Opinion, ...]:
        """Opinions of one peer, oldest first; empty if there are none."""
        return tuple(self._kept.get(peer, ()))

    def __iter__(self) -> Iterator[PeerId]:
        """Peers of whom there are opinions, in order of peer id."""
        return iter(sorted(self._kept))
