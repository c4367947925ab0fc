"""Signed updates of another schema: other names, shapes or lengths than the network's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gossip.codec import payload_prefix, schema_digest
from gossip.messages import Schema, TensorSpec
from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class WrongSchema:
    """Announces, properly signed, a payload that does not have the network's shape."""

    instead: bool = True

    def act(self, view: FaultView) -> Broken:
        """In even rounds another schema's digest, in odd rounds the right digest with half of the numbers."""
        numbers = view.vector[: len(view.vector) // 8 * 4]
        other = Schema((TensorSpec("other", (len(numbers) // 4,)),))
        named = schema_digest(other) if view.round % 2 == 0 else schema_digest(view.schema)
        payload = payload_prefix(named, len(numbers)) + numbers
        header = replace(view.chained(payload), schema=named)
        return Broken(frames=[view.announce(header)], blobs={header.payload_digest: payload})


SPECS = (
    AttackSpec(
        name="wrong-schema",
        stage=Stage.WIRE,
        source="threat: wrong shape or dtype",
        summary="signed updates of another shape",
        knowledge=frozenset(),
        build=WrongSchema,
    ),
)
