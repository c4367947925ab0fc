"""A receiver for tests of transports: it keeps what it is told."""

from __future__ import annotations

import asyncio
import hashlib

from gossip.protocol.errors import Drop
from gossip.protocol.handshake import Greeting, Handshake, Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Buffer
from gossip.transport.contract import Transport
from identity.keys import PeerId, SigningKey

NETWORK = hashlib.sha256(b"network").digest()
SCHEMA = hashlib.sha256(b"schema").digest()
LIMITS = Limits(hello=2.0, connect=2.0, blob=2.0, goodbye=1.0)


class Recorder:
    """A receiver that keeps what it is told."""

    def __init__(self, key: SigningKey, transport: Transport, network: bytes = NETWORK) -> None:
        self.key = key
        self.transport = transport
        self.network = network
        self.allow: frozenset[PeerId] | None = None
        self.frames: asyncio.Queue[tuple[PeerId, bytes]] = asyncio.Queue()
        self.joins: asyncio.Queue[Party] = asyncio.Queue()
        self.lefts: asyncio.Queue[tuple[PeerId, str]] = asyncio.Queue()
        self.drops: asyncio.Queue[Drop] = asyncio.Queue()
        self.blobs: dict[bytes, Buffer] = {}
        self.strangers: set[PeerId] | None = None
        self._nonces = 0

    def handshake(self, dialled: bool, expect: PeerId | None = None) -> Handshake:
        self._nonces += 1
        greeting = Greeting(self.network, SCHEMA, self.transport.address, 3, 7, self.allow)
        nonce = hashlib.sha256(self.key.peer + bytes([self._nonces])).digest()
        return Handshake(self.key, greeting, nonce, dialled, expect)

    def joined(self, party: Party) -> None:
        self.joins.put_nowait(party)

    def left(self, peer: PeerId, reason: str) -> None:
        self.lefts.put_nowait((peer, reason))

    def frame(self, peer: PeerId, data: bytes) -> float:
        self.frames.put_nowait((peer, data))
        return 0.0

    def known(self, peer: PeerId) -> bool:
        return self.strangers is None or peer not in self.strangers

    def blob(self, digest: bytes, peer: PeerId) -> Buffer | None:
        return self.blobs.get(digest)

    def dropped(self, reason: Drop, peer: PeerId | None) -> None:
        self.drops.put_nowait(reason)
