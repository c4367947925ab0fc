"""Signed updates that name too few bytes, or far too many."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class WrongLength:
    """Announces, properly signed, a payload of the right schema and another length."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """In turn half of the numbers, which it serves, and 2**40 bytes, which would have to be allocated."""
        numbers = view.vector[: len(view.vector) // 8 * 4]
        payload = view.payload(numbers)
        header = view.chained(payload)
        if len(view.sent) % 2:
            header = replace(header, payload_length=2**40)
        return Broken(frames=[view.announce(header)], blobs={header.payload_digest: payload})


WRONG_LENGTH = AttackSpec(name="wrong-length", stage=Stage.WIRE, knowledge=frozenset(), build=WrongLength)
