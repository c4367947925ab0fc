"""Signed updates whose payload, when asked for, is something else."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class OtherBytes:
    """Announces one payload and serves another."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """In turn: one bit flipped, half of the bytes, none at all."""
        payload = view.payload()
        header = view.chained(payload)
        flipped = payload[:-1] + bytes([payload[-1] ^ 1])
        served = (flipped, payload[: len(payload) // 2], b"")[len(view.sent) % 3]
        return Broken(frames=[view.announce(header)], blobs={header.payload_digest: served})


OTHER_BYTES = AttackSpec(name="other-bytes", stage=Stage.WIRE, knowledge=frozenset(), build=OtherBytes)
