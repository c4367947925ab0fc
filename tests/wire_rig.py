"""What wire tests share: authors who sign (or mis-sign) updates, a table-top transport, and a service on top of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gossip.chain.ledger import Ledger, MemoryLedger
from gossip.protocol.codec import UPDATE, encode_frame, encode_header, payload_bytes, schema_digest
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.events import GossipEvent, UpdateVerified
from gossip.protocol.handshake import Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import NO_DIGEST, Announce, Hello, Relay, Schema, TensorSpec, UpdateHeader
from gossip.protocol.payload import encode_payload
from gossip.service import GossipService
from gossip.transport.blobs import Assembly
from gossip.transport.contract import Receiver
from gossip.transport.executors import InlineExecutor
from identity.envelope import digest_of, seal
from identity.keys import PeerId, SigningKey

NETWORK = hashlib.sha256(b"a network").digest()
SCHEMA = Schema((TensorSpec("weight", (4, 3)), TensorSpec("bias", (4,))))
ENDLESS = 10**9
LIMITS = Limits(
    peer_rate=1e9,
    peer_burst=1e9,
    author_rate=1e9,
    author_burst=1e9,
    peers_rate=1e9,
    guilt=ENDLESS,
    rate_guilt=ENDLESS,
    retry_first=0.0,
    settle=0.05,
    rival=0.0,
)


@dataclass
class Author:
    """Signs a chain of updates."""

    key: SigningKey
    network: bytes = NETWORK
    schema: Schema = SCHEMA
    sequence: int = 0
    previous: bytes = NO_DIGEST
    payloads: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def peer(self) -> PeerId:
        return self.key.peer

    def payload(self, vector: np.ndarray | None = None) -> bytes:
        values = np.zeros(self.schema.elements, "<f4") if vector is None else vector.astype("<f4")
        made = encode_payload(self.schema, schema_digest(self.schema), values.tobytes())
        self.payloads[hashlib.sha256(made).digest()] = made
        return made

    def header(self, round: int, payload: bytes | None = None, **changes: Any) -> UpdateHeader:
        """The next header of the chain, with `changes`; the chain goes on from what is returned."""
        payload = self.payload(np.full(self.schema.elements, round)) if payload is None else payload
        self.payloads[hashlib.sha256(payload).digest()] = payload
        header = replace(
            UpdateHeader(
                network=self.network,
                author=self.peer,
                sequence=self.sequence + 1,
                round=round,
                previous=self.previous,
                payload_length=len(payload),
                payload_digest=hashlib.sha256(payload).digest(),
                schema=schema_digest(self.schema),
            ),
            **changes,
        )
        self.sequence = header.sequence
        self.previous = digest_of(UPDATE, encode_header(header))
        return header

    def seal(self, header: UpdateHeader) -> bytes:
        return seal(self.key, UPDATE, encode_header(header))

    def announce(self, round: int, **changes: Any) -> bytes:
        return encode_frame(Announce(self.seal(self.header(round, **changes))))

    def relay(self, round: int, distance: int = 1, **changes: Any) -> bytes:
        return encode_frame(Relay(distance, self.seal(self.header(round, **changes))))


def author(number: int, **fields: Any) -> Author:
    return Author(SigningKey(number.to_bytes(32, "big")), **fields)


class Desk:
    """A transport on a table: peers join by hand, what is sent lies there, blobs are where they are put."""

    def __init__(self) -> None:
        self.address = "desk:1"
        self.sent: list[tuple[PeerId, bytes]] = []
        self.dialled: list[tuple[str, PeerId | None]] = []
        self.dropped: list[tuple[PeerId, str]] = []
        self.refused: list[tuple[PeerId, float]] = []
        self.gone: defaultdict[PeerId, asyncio.Event] = defaultdict(asyncio.Event)
        self.blobs: dict[PeerId, dict[bytes, bytes]] = {}
        self.asked: list[tuple[PeerId, bytes]] = []
        self.answer: Callable[[str], PeerId | None] = lambda address: None
        self.receiver: Receiver | None = None

    async def start(self, receiver: Receiver) -> None:
        self.receiver = receiver

    async def dial(self, address: str, expect: PeerId | None = None) -> PeerId:
        self.dialled.append((address, expect))
        peer = self.answer(address)
        if peer is None:
            raise RemoteFault(Drop.UNREACHABLE, address)
        self.blobs.setdefault(peer, {})
        return peer

    def send(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        if peer not in self.blobs:
            return False
        self.sent.append((peer, frame))
        return True

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        await asyncio.sleep(0)
        self.asked.append((peer, digest))
        blob = self.blobs.get(peer, {}).get(digest)
        if blob is None:
            raise RemoteFault(Drop.UNAVAILABLE)
        assembly = Assembly(digest, length)
        assembly.write(blob)
        return assembly.finish()

    def connected(self) -> tuple[PeerId, ...]:
        return tuple(sorted(self.blobs))

    async def drop(self, peer: PeerId, reason: str, refuse: float = 0.0) -> None:
        self.refused.append((peer, refuse))
        self.dropped.append((peer, reason))
        self.gone[peer].set()
        if self.blobs.pop(peer, None) is not None and self.receiver is not None:
            self.receiver.left(peer, reason)

    async def close(self) -> None:
        self.blobs.clear()


class Rig:
    """A gossip service on a desk, and all that it said."""

    def __init__(
        self, ledger: Ledger | None = None, limits: Limits = LIMITS, desk: Desk | None = None, **options: Any
    ) -> None:
        self.key = SigningKey(bytes(31) + b"\xff")
        self.desk = Desk() if desk is None else desk
        self.ledger = MemoryLedger(limits.chain) if ledger is None else ledger
        self.events: list[GossipEvent] = []
        self.wanted = True
        options.setdefault("schema", SCHEMA)
        self.service = GossipService(
            self.key,
            NETWORK,
            transport=self.desk,
            ledger=self.ledger,
            wants=lambda header, via, distance: self.wanted,
            on_event=self.events.append,
            generator=np.random.default_rng(1),
            executor=InlineExecutor(),
            limits=limits,
            **options,
        )

    async def __aenter__(self) -> Rig:
        await self.service.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.service.close()

    def join(self, who: Author, sequence: int = 0, round: int = 0, address: str = "", seen: str = "") -> None:
        """`who` is a neighbour from now on, and serves all that it made."""
        self.desk.blobs[who.peer] = who.payloads
        hello = Hello(NETWORK, who.peer, bytes(32), bytes(32), bytes(32), bytes(32), address, sequence, round)
        self.service.joined(Party(who.peer, hello, bytes(32), seen))

    async def take(self, via: Author, *frames: bytes) -> None:
        """Frames from a neighbour, and time to fetch what they announce."""
        for frame in frames:
            self.service.frame(via.peer, frame)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    @property
    def verified(self) -> list[UpdateVerified]:
        return [event for event in self.events if isinstance(event, UpdateVerified)]

    def count(self, reason: Drop) -> int:
        return self.service.counters[reason]


PAYLOAD_BYTES = payload_bytes(SCHEMA)
