"""Withholding: proper updates are announced, and nobody is given what they name."""

from __future__ import annotations

from dataclasses import dataclass

from gossip.codec import payload_prefix, schema_digest
from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Withhold:
    """Announces its model and has no payload for whoever asks."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """A proper header; no blob."""
        payload = payload_prefix(schema_digest(view.schema), view.schema.nbytes) + view.vector
        return Broken(frames=[view.announce(view.chained(payload))])


SPECS = (
    AttackSpec(
        name="withhold",
        stage=Stage.WIRE,
        source="threat: withholding",
        summary="announces updates and gives nobody their payloads",
        knowledge=frozenset(),
        build=Withhold,
    ),
)
