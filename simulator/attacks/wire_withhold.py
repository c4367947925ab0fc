"""Withholding: proper updates are announced, and nobody is given what they name."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Withhold:
    """Announces its model and has no payload for whoever asks."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """A proper header; no blob."""
        return Broken(frames=[view.announce(view.chained(view.payload()))])


WITHHOLD = AttackSpec(name="withhold", stage=Stage.WIRE, knowledge=frozenset(), build=Withhold)
