"""Silence: connected, and never a word. What every other fault on the wire is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Silent:
    """Sends nothing in place of its update."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """Nothing."""
        return Broken()


SILENT = AttackSpec(name="silent", stage=Stage.WIRE, knowledge=frozenset(), build=Silent)
