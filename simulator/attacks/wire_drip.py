"""Dripping: a payload that is given a byte at a time, so that whoever asked waits."""

from __future__ import annotations

from dataclasses import dataclass

from gossip.codec import payload_prefix, schema_digest
from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Drip:
    """Announces its model; over sockets the payload then drips (`simulator.dripper`).

    Differs: blobs of the in-memory network come whole or not at all, so there it is withheld.
    """

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """A proper header; no blob."""
        payload = payload_prefix(schema_digest(view.schema), view.schema.nbytes) + view.vector
        return Broken(frames=[view.announce(view.chained(payload))])


SPECS = (
    AttackSpec(
        name="drip",
        stage=Stage.WIRE,
        source="threat: slow senders",
        summary="gives payloads a byte at a time",
        knowledge=frozenset(),
        build=Drip,
    ),
)
