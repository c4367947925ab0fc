"""Dripping: a payload that is given a byte at a time, so that whoever asked waits."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.wire_withhold import Withhold


@dataclass(frozen=True, slots=True)
class Drip(Withhold):
    """Announces its model; over sockets the payload then drips (`simulator.live.dripper`).

    Differs: blobs of the in-memory network come whole or not at all, so there it is withheld.
    """


DRIP = AttackSpec(name="drip", stage=Stage.WIRE, knowledge=frozenset(), build=Drip)
