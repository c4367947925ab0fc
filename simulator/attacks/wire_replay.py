"""Replayed updates: others' announces and one's own old ones, once more."""

from __future__ import annotations

from dataclasses import dataclass

from gossip.codec import decode_frame
from gossip.errors import RemoteFault
from gossip.limits import Limits
from gossip.messages import Announce
from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Replay:
    """Sends captured announces again, word for word.

    Attributes:
        count: frames of each sort a round.
    """

    count: int = 8
    instead: bool = False

    def act(self, view: FaultView) -> Broken:
        """The newest announces heard from honest neighbours, and the oldest own ones."""
        others = [frame for frame in view.heard if _announces(frame, view.limits)]
        return Broken(frames=[*others[-self.count :], *view.sent[: self.count]])


def _announces(frame: bytes, limits: Limits) -> bool:
    """Relays are left out: to forward one again is what honest nodes do."""
    try:
        return isinstance(decode_frame(frame, limits), Announce)
    except RemoteFault:
        return False


SPECS = (
    AttackSpec(
        name="replay",
        stage=Stage.WIRE,
        source="threat: replay",
        summary="captured announces, sent again",
        knowledge=frozenset(),
        build=lambda count: Replay(count),
        parameters={"count": 8},
    ),
)
