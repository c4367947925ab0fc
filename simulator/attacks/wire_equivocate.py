"""Equivocation: two signed updates for one place in the author's chain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Equivocate:
    """Signs two models under one sequence number and serves both."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """The model that it would send and its negative, one after the other."""
        vector = np.frombuffer(view.vector, dtype="<f4")
        payloads = [view.payload(numbers.tobytes()) for numbers in (vector, -vector)]
        headers = [view.chained(payload) for payload in payloads]
        blobs = {header.payload_digest: payload for header, payload in zip(headers, payloads, strict=True)}
        return Broken(frames=[view.announce(header) for header in headers], blobs=blobs)


EQUIVOCATE = AttackSpec(name="equivocate", stage=Stage.WIRE, knowledge=frozenset(), build=Equivocate)
