"""Replayed updates: others' announces and one's own old ones, once more."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView, announced


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
        others = [frame for frame in view.heard if announced(frame, view.limits)]
        return Broken(frames=[*others[-self.count :], *view.sent[: self.count]])


REPLAY = AttackSpec(
    name="replay", stage=Stage.WIRE, knowledge=frozenset(), build=lambda count: Replay(count), parameters={"count": 8}
)
