"""Frames cut short, frames with a tail, and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Truncate:
    """Sends what is no canonical encoding of any message.

    Attributes:
        count: frames of each sort a round.
    """

    count: int = 4
    instead: bool = False

    def act(self, view: FaultView) -> Broken:
        """A good frame cut at random places, the same with bytes behind it, noise, and an empty frame."""
        good = view.announce(replace(view.header(), sequence=view.round + 2, round=view.round + 1))
        cuts = [good[: int(view.generator.integers(1, len(good)))] for _ in range(self.count)]
        tails = [good + view.generator.bytes(1 + k) for k in range(self.count)]
        noise = [view.generator.bytes(int(view.generator.integers(1, 200))) for _ in range(self.count)]
        return Broken(frames=[*cuts, *tails, *noise, b""])


TRUNCATE = AttackSpec(
    name="truncate",
    stage=Stage.WIRE,
    knowledge=frozenset(),
    build=lambda count: Truncate(count),
    parameters={"count": 4},
)
