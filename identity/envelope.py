"""Envelopes: exact bytes, signed for one purpose by one key.

Laws:
- An envelope is key (32) + signature (64) + body, nothing else; the body is the exact bytes that were signed.
- What is signed is SHA-256(b"hedgerow/<kind>/1\\0" + body), so a signature for one kind is worthless for
  another.
- Verify before parse: the only thing read from an unverified body is its length and its digest.
- A body is known by that digest, never by its signature (one body can have several valid signatures).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from identity.errors import ForgedEnvelope
from identity.keys import PEER_ID_BYTES, SIGNATURE_BYTES, PeerId, SigningKey, verify

OVERHEAD_BYTES = PEER_ID_BYTES + SIGNATURE_BYTES
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope cut into its three parts, not verified yet."""

    author: PeerId
    signature: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified body: `author` did sign these bytes for this purpose; `digest` (32 bytes) names them."""

    author: PeerId
    body: bytes
    digest: bytes


def domain(kind: str) -> bytes:
    """The prefix that keeps signatures for one kind of message from being used for another."""
    return b"hedgerow/" + kind.encode("ascii") + b"/1\0"


def digest_of(kind: str, body: bytes) -> bytes:
    """The 32 bytes that name a body of this kind, and that its author signs."""
    return hashlib.sha256(domain(kind) + body).digest()


def seal(key: SigningKey, kind: str, body: bytes) -> bytes:
    """Sign a body for one purpose.

    Args:
        key: the author's key.
        kind: purpose, a short ASCII word such as "update"; part of what is signed.
        body: the exact bytes.

    Returns:
        The envelope, 96 bytes longer than the body.
    """
    return key.peer + key.sign(digest_of(kind, body)) + body


def split(envelope: bytes) -> Envelope:
    """Cut an envelope, without verifying it.

    Raises:
        ForgedEnvelope: shorter than a key and a signature.
    """
    if len(envelope) < OVERHEAD_BYTES:
        raise ForgedEnvelope(f"an envelope has at least {OVERHEAD_BYTES} bytes, this has {len(envelope)}")
    return Envelope(
        PeerId(bytes(envelope[:PEER_ID_BYTES])),
        bytes(envelope[PEER_ID_BYTES:OVERHEAD_BYTES]),
        bytes(envelope[OVERHEAD_BYTES:]),
    )


def open_envelope(envelope: bytes, kind: str) -> Opened:
    """Verify an envelope for one purpose.

    Raises:
        ForgedEnvelope: too short, or the signature does not hold for this key, kind and body.
    """
    parts = split(envelope)
    digest = digest_of(kind, parts.body)
    if not verify(parts.author, parts.signature, digest):
        raise ForgedEnvelope(f"the signature does not hold for a {kind}")
    return Opened(parts.author, parts.body, digest)
