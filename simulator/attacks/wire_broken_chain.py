"""Signed updates that claim a predecessor which nobody has seen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class BrokenChain:
    """Begins its chain anew every round, each time behind another header that never was."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """The first header of a chain, with a predecessor."""
        payload = view.payload()
        header = replace(view.header(payload), previous=view.generator.bytes(32))
        return Broken(frames=[view.announce(header)], blobs={header.payload_digest: payload})


BROKEN_CHAIN = AttackSpec(name="broken-chain", stage=Stage.WIRE, knowledge=frozenset(), build=BrokenChain)
