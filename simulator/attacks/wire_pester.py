"""Pestering: proper frames, each of which asks for an answer, and more of them than a connection may send."""

from __future__ import annotations

from dataclasses import dataclass

from gossip.protocol.codec import encode_frame
from gossip.protocol.messages import HeaderRequest
from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Pester:
    """Asks for headers of authors that nobody knows.

    Attributes:
        requests: frames a round.
    """

    requests: int = 1000
    instead: bool = False

    def act(self, view: FaultView) -> Broken:
        """Nothing in them is wrong but their number."""
        last = view.limits.headers_in_request
        author = view.key.peer
        return Broken(frames=[encode_frame(HeaderRequest(author, 1, last))] * self.requests)


PESTER = AttackSpec(
    name="pester",
    stage=Stage.WIRE,
    knowledge=frozenset(),
    build=lambda requests: Pester(requests),
    parameters={"requests": 1000},
)
