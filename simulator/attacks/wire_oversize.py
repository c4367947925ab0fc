"""Frames longer than any may be, and short ones that claim to hold a gigabyte."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Oversize:
    """Sends too much, or says it will."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """One that claims a gigabyte inside, and one of twice the limit: whoever gets that hangs up."""
        bomb = b"\x92\x01\xc6" + (2**30).to_bytes(4, "big") + bytes(64)
        return Broken(frames=[bomb, bytes(2 * view.limits.frame)])


OVERSIZE = AttackSpec(name="oversize", stage=Stage.WIRE, knowledge=frozenset(), build=Oversize)
