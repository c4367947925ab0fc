"""What a wire attack is: raw frames and blobs that a Sybil sends, which no honest node would.

Laws:
- A fault is pure: what it sends is a function of the view, whose generator belongs to (run, Sybil, round).
- What a fault sends is dropped and counted by an honest node, and leaves its model as it is.
- A fault that is `instead` takes the place of the Sybil's own good update, and its last frame, if any, continues the
  Sybil's chain; all others are sent besides the good update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from gossip.protocol.codec import (
    UPDATE,
    decode_frame,
    digest_payload,
    encode_frame,
    encode_header,
    payload_bytes,
    payload_prefix,
    schema_digest,
)
from gossip.protocol.errors import RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import NO_DIGEST, Announce, Schema, UpdateHeader
from identity.envelope import digest_of, seal, split
from identity.keys import SigningKey


@dataclass(frozen=True, slots=True)
class FaultView:
    """All that a Sybil knows when it breaks frames.

    Attributes:
        key: its key.
        network: id of the network.
        schema: what payloads should look like.
        limits: what honest nodes accept.
        round: round number, from 0.
        vector: the model it would send, d little-endian float32.
        heard: newest frames that honest neighbours sent to it, oldest first.
        sent: its own earlier announces, oldest first.
        generator: draws of this Sybil and round.
    """

    key: SigningKey
    network: bytes
    schema: Schema
    limits: Limits
    round: int
    vector: bytes
    heard: Sequence[bytes]
    sent: Sequence[bytes]
    generator: np.random.Generator

    def payload(self, numbers: bytes | None = None) -> bytes:
        """What is fetched for a header: these little-endian float32 behind their prefix, or the model it would send."""
        vector = self.vector if numbers is None else numbers
        return payload_prefix(schema_digest(self.schema), len(vector)) + vector

    def header(self, payload: bytes = b"") -> UpdateHeader:
        """A header as it should be: first of a chain, naming `payload`, or as many bytes as the schema wants."""
        return UpdateHeader(
            network=self.network,
            author=self.key.peer,
            sequence=1,
            round=self.round,
            previous=NO_DIGEST,
            payload_length=len(payload) or payload_bytes(self.schema),
            payload_digest=digest_payload(payload),
            schema=schema_digest(self.schema),
        )

    def announce(self, header: UpdateHeader, key: SigningKey | None = None) -> bytes:
        """The frame that announces a header, signed by the Sybil's key or another."""
        return encode_frame(Announce(seal(key or self.key, UPDATE, encode_header(header))))

    def chained(self, payload: bytes) -> UpdateHeader:
        """A header that continues the Sybil's chain: for faults that are sent instead of a good update."""
        header = self.header(payload)
        last = announced(self.sent[-1], self.limits) if self.sent else None
        if last is None:
            return header
        previous = digest_of(UPDATE, split(last.envelope).body)
        return replace(header, sequence=len(self.sent) + 1, previous=previous)


def announced(frame: bytes, limits: Limits) -> Announce | None:
    """What a frame announces; None when it announces nothing (a relay is what honest nodes forward)."""
    try:
        message = decode_frame(frame, limits)
    except RemoteFault:
        return None
    return message if isinstance(message, Announce) else None


@dataclass(frozen=True, slots=True)
class Broken:
    """What a fault sends in one round.

    Attributes:
        frames: sent to every neighbour, in order, whatever their length.
        blobs: bytes to serve, by the digest under which they are asked for.
    """

    frames: Sequence[bytes] = ()
    blobs: Mapping[bytes, bytes] | None = None


class FrameFault(Protocol):
    """A way to break frames."""

    @property
    def instead(self) -> bool:
        """Whether it takes the place of the Sybil's own good update."""
        ...

    def act(self, view: FaultView) -> Broken:
        """What to send in this round."""
        ...
