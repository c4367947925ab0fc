"""The wire's vocabulary: frozen values without behaviour.

Laws: bytes fields named `...digest`, `network`, `nonce` are 32 bytes; counts are below 2**63; sequences begin at 1
(0 means none); `codec` is the only place that turns these into bytes and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from identity.keys import PeerId

VERSION = 1
NO_DIGEST = bytes(32)
DTYPES = {"f4": 4, "f2": 2, "i1": 1}
"""Element types of a payload and their bytes; all little-endian."""

Buffer: TypeAlias = bytes | bytearray | memoryview


class UpdateKind(IntEnum):
    """What an update's payload is."""

    MODEL = 1


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and element type ("f4", "f2" or "i1") of one tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "f4"

    @property
    def elements(self) -> int:
        """Number of elements (1 for a scalar)."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on the wire."""
        return self.elements * DTYPES[self.dtype]


@dataclass(frozen=True, slots=True)
class Schema:
    """What every payload of a network looks like; `extractor` (32 bytes or empty) pins frozen parameters.

    Its name on the wire is `codec.schema_digest(schema)`.
    """

    tensors: tuple[TensorSpec, ...]
    extractor: bytes = b""

    @property
    def elements(self) -> int:
        """Length d of the flat vector."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors on the wire."""
        return sum(tensor.nbytes for tensor in self.tensors)


@dataclass(frozen=True, slots=True)
class UpdateHeader:
    """What an author signs about one update.

    Attributes:
        network: id of the network.
        author: the signer; must equal the envelope's key.
        sequence: 1, 2, 3, ...: position in the author's chain.
        round: the author's round; grows strictly along the chain.
        previous: digest of the header before (`NO_DIGEST` for sequence 1).
        payload_length: bytes of the payload.
        payload_digest: SHA-256 of the payload.
        schema: `codec.schema_digest` of the network's schema.
        base: SHA-256 of the model trained from, or `NO_DIGEST`.
        classes: bit mask, class c is bit c % 8 of byte c // 8; empty if not told.
    """

    network: bytes
    author: PeerId
    sequence: int
    round: int
    previous: bytes
    payload_length: int
    payload_digest: bytes
    schema: bytes
    base: bytes = NO_DIGEST
    classes: bytes = b""
    kind: UpdateKind = UpdateKind.MODEL
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Hello:
    """One signed step of a handshake (`gossip.protocol.handshake`).

    Attributes:
        nonce: 32 fresh bytes of the sender.
        echo: the other side's nonce (`NO_DIGEST` in the dialler's first hello).
        to: the other side's peer id (`NO_DIGEST` in the dialler's first hello): without it a peer whom
        somebody dials
            could hand that somebody's hello on and pass for it elsewhere (Lowe's attack on
            Needham-Schroeder, 1995).
        address: where the sender listens, "" if nowhere.
        sequence: head of the sender's chain, 0 if it has none.
        round: the sender's round.
    """

    network: bytes
    peer: PeerId
    nonce: bytes
    echo: bytes
    to: bytes
    schema: bytes
    address: str
    sequence: int
    round: int
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A peer's own statement of where it listens; the higher sequence replaces the lower."""

    network: bytes
    peer: PeerId
    address: str
    sequence: int
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Vouch:
    """A peer's statement that it knows another one; of one issuer and subject the higher sequence replaces the lower.

    Attributes:
        issuer: the signer; must equal the envelope's key.
        subject: whom it knows.
        sequence: from 1; grows with every statement about that subject.
        until: round in which it ends; 0: it is taken back.
    """

    network: bytes
    issuer: PeerId
    subject: PeerId
    sequence: int
    until: int
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Announce:
    """The sender's own new update: a sealed `UpdateHeader`."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class Relay:
    """Somebody else's update, untouched; `distance` (1 to 16) is the relayer's own, claimed."""

    distance: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Peers:
    """Sealed `PeerRecord`s that the sender knows."""

    envelopes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HeaderRequest:
    """Asks for headers `first` to `last` (inclusive) of an author's chain, or with 0 and 0 for the newest; answered by
    announces, relays."""

    author: PeerId
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The sender leaves on purpose."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Redeem:
    """Proves an invitation on one link (`gossip.protocol.ticket.redemption`), or answers that it was taken."""

    proof: bytes


@dataclass(frozen=True, slots=True)
class Vouches:
    """Sealed `Vouch`es that the sender holds, and perhaps a digest of all that it holds.

    Attributes:
        sums: empty, or 16 digests of 8 bytes: of the statements whose issuer's first four bits are 0, 1, ... 15 the
            sorted digests, hashed (`gossip.vouching.sum_of`).
        envelopes: at most 16.
    """

    sums: tuple[bytes, ...] = ()
    envelopes: tuple[bytes, ...] = ()


Frame: TypeAlias = Announce | Relay | Peers | HeaderRequest | Goodbye | Redeem | Vouches


@dataclass(frozen=True, slots=True)
class Ticket:
    """All that a node needs to join a network, as its inviter says it (`gossip.protocol.ticket`).

    Attributes:
        network: name of the network.
        task: name of the task.
        model: name of the task's model; "" is the task's own.
        invitation: 16 secret bytes by which the inviter knows who it invited; empty: it invites anybody.
        peers: at most four nodes to join by, (peer id, address); the inviter comes first.
        encoding: of payloads.
        secret: of the network; empty, there is none yet.
    """

    network: str
    task: str
    model: str
    invitation: bytes
    peers: tuple[tuple[PeerId, str], ...]
    encoding: str = "f4"
    secret: bytes = b""
    version: int = VERSION


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """A header with its payload, all checks passed: signature, admission, digest, schema, length, finite.

    Attributes:
        header: what the author signed.
        envelope: the exact sealed bytes, to be forwarded untouched.
        digest: name of the header (SHA-256 of domain and body): one update, one digest.
        payload: the exact payload bytes, read-only.
        vector: (d,) float32, read-only, all finite; a view into `payload` where the schema is all f4.
    """

    header: UpdateHeader
    envelope: bytes
    digest: bytes
    payload: memoryview
    vector: NDArray[np.float32]
