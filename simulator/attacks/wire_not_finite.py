"""Signed updates that hold a NaN or an infinity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView

_VALUES = (np.nan, np.inf, -np.inf)


@dataclass(frozen=True, slots=True)
class NotFinite:
    """Signs and serves a model with one number that is none."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """NaN, infinity and minus infinity in turn, at a random place."""
        numbers = np.frombuffer(view.vector, dtype="<f4").copy()
        numbers[int(view.generator.integers(numbers.size))] = _VALUES[len(view.sent) % len(_VALUES)]
        payload = view.payload(numbers.tobytes())
        header = view.chained(payload)
        return Broken(frames=[view.announce(header)], blobs={header.payload_digest: payload})


NOT_FINITE = AttackSpec(name="not-finite", stage=Stage.WIRE, knowledge=frozenset(), build=NotFinite)
