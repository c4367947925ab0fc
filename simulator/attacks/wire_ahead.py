"""Updates of rounds that nobody has come to: to be taken early, or to lead others there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Ahead:
    """Signs its model for a round far ahead.

    Attributes:
        rounds: how far.
    """

    rounds: int = 1000
    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """One update, in everything but its round as it should be."""
        payload = view.payload()
        header = replace(view.chained(payload), round=view.round + self.rounds)
        return Broken(frames=[view.announce(header)], blobs={header.payload_digest: payload})


AHEAD = AttackSpec(
    name="ahead",
    stage=Stage.WIRE,
    knowledge=frozenset(),
    build=lambda rounds: Ahead(rounds),
    parameters={"rounds": 1000},
)
