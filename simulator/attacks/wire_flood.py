"""Flooding: more frames than a connection may send, and more signed headers than an author may."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Flood:
    """Makes its neighbours verify and parse as much as it can.

    Attributes:
        headers: different headers a round, each properly signed, none of this network's model.
        frames: frames of noise a round.
    """

    headers: int = 100
    frames: int = 500
    instead: bool = False

    def act(self, view: FaultView) -> Broken:
        """Signed headers first: what comes after an empty bucket is not looked at."""
        header = replace(view.header(), schema=view.generator.bytes(32))
        signed = [view.announce(replace(header, base=view.generator.bytes(32))) for _ in range(self.headers)]
        noise = [view.generator.bytes(64) for _ in range(self.frames)]
        return Broken(frames=[*signed, *noise])


FLOOD = AttackSpec(
    name="flood",
    stage=Stage.WIRE,
    knowledge=frozenset(),
    build=lambda headers, frames: Flood(headers, frames),
    parameters={"headers": 100, "frames": 500},
)
