"""Signed updates of another schema: another model than the network's, of as many numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gossip.protocol.codec import payload_prefix, schema_digest
from gossip.protocol.messages import Schema, TensorSpec
from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class WrongSchema:
    """Announces, properly signed, a payload that does not have the network's shape."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """As many numbers as there should be, under the digest of another schema."""
        named = schema_digest(Schema((TensorSpec("other", (len(view.vector) // 4,)),)))
        payload = payload_prefix(named, len(view.vector)) + view.vector
        header = replace(view.chained(payload), schema=named)
        return Broken(frames=[view.announce(header)], blobs={header.payload_digest: payload})


WRONG_SCHEMA = AttackSpec(name="wrong-schema", stage=Stage.WIRE, knowledge=frozenset(), build=WrongSchema)
