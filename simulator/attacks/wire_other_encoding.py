"""Messages in encodings that the format allows and the wire does not: one value, one spelling."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class OtherEncoding:
    """Sends proper announces, spelled in another way."""

    instead: bool = False

    def act(self, view: FaultView) -> Broken:
        """An array of 16-bit length, and a number of eight bytes, where one byte will do."""
        good = view.announce(replace(view.header(), sequence=view.round + 2, round=view.round + 1))
        long = b"\xdc\x00\x02" + good[1:]
        wide = good[:1] + b"\xcf" + (1).to_bytes(8, "big") + good[2:]
        return Broken(frames=[long, wide])


OTHER_ENCODING = AttackSpec(name="other-encoding", stage=Stage.WIRE, knowledge=frozenset(), build=OtherEncoding)
