"""Frames longer than any may be, and headers that name payloads too large to allocate."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Oversize:
    """Sends too much, or says it will."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """One frame of twice the limit, one that claims a gigabyte inside, one header that names 2**40 bytes."""
        header = replace(view.chained(b""), payload_length=2**40)
        bomb = b"\x92\x01\xc6" + (2**30).to_bytes(4, "big") + bytes(64)
        return Broken(frames=[bytes(2 * view.limits.frame), bomb, view.announce(header)])


SPECS = (
    AttackSpec(
        name="oversize",
        stage=Stage.WIRE,
        source="threat: oversize",
        summary="frames and announced payloads beyond every limit",
        knowledge=frozenset(),
        build=Oversize,
    ),
)
