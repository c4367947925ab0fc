"""Peer ids and updates for tests of the core: well-formed, unsigned (the core sees only what gossip has checked)."""

from __future__ import annotations

import hashlib

import numpy as np

from gossip.protocol.messages import NO_DIGEST, Update, UpdateHeader
from identity.keys import PeerId

NETWORK = bytes(32)


def peer(number: int) -> PeerId:
    """A peer id; ids are ordered as their numbers."""
    return PeerId(number.to_bytes(8, "big") + hashlib.sha256(number.to_bytes(8, "big")).digest()[:24])


def update(author: PeerId, round: int, value: float = 0.0, classes: bytes = b"", dimension: int = 2) -> Update:
    """An update whose vector holds one value everywhere."""
    vector = np.full(dimension, value, dtype=np.float32)
    vector.flags.writeable = False
    payload = vector.tobytes()
    header = UpdateHeader(
        network=NETWORK,
        author=author,
        sequence=round + 1,
        round=round,
        previous=NO_DIGEST,
        payload_length=len(payload),
        payload_digest=hashlib.sha256(payload).digest(),
        schema=NO_DIGEST,
        classes=classes,
    )
    digest = hashlib.sha256(author + round.to_bytes(8, "big") + payload).digest()
    return Update(header=header, envelope=b"", digest=digest, payload=memoryview(payload), vector=vector)
