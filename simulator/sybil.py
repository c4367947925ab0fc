"""One identity of the adversary on the wire: a real gossip service that signs what it is told to, and breaks frames.

Laws:
- A Sybil handshakes, signs, announces and serves like any node; what it hears it ignores.
- It reads the frames that come in only to replay them, and answers for blobs under digests that its faults named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gossip.codec import encode_frame
from gossip.errors import Drop
from gossip.executors import InlineExecutor
from gossip.handshake import Handshake, Party
from gossip.ledger import MemoryLedger
from gossip.limits import Limits
from gossip.messages import Announce, Buffer, Schema
from gossip.service import GossipService
from gossip.transport import Receiver
from identity.keys import PeerId, SigningKey
from simulator.attacks.frame_fault import FaultView, FrameFault
from simulator.network import MemoryTransport

HEARD = 64  # frames kept for replays
SERVED = 16  # broken blobs kept


class Sybil:
    """One identity; call `start`, then `send` once a round, then `close`."""

    def __init__(
        self,
        key: SigningKey,
        network: bytes,
        schema: Schema,
        transport: MemoryTransport,
        *,
        generator: np.random.Generator,
        nonce: Callable[[], bytes],
        bootstrap: Sequence[str],
        allow: frozenset[PeerId],
        limits: Limits = Limits(),
        faults: Sequence[FrameFault] = (),
    ) -> None:
        """Nothing happens before `start`; arguments as those of GossipService, and the faults to commit each round."""
        self._key = key
        self._network = network
        self._schema = schema
        self._limits = limits
        self._faults = faults
        self._generator = generator
        self._sent: list[bytes] = []
        self._transport = transport
        self._tap = _Tap(transport, bool(faults))
        self._gossip = GossipService(
            key,
            network,
            schema,
            self._tap,
            MemoryLedger(keep=1),
            wants=lambda header, via, distance: False,
            on_event=lambda event: None,
            generator=generator,
            executor=InlineExecutor(),
            limits=replace(limits, settle=0.0),  # its service hears nobody out
            bootstrap=bootstrap,
            allow=allow,
            nonce=nonce,
        )

    async def start(self) -> None:
        """Listen, and dial the honest neighbours in the background."""
        await self._gossip.start()

    async def send(self, round: int, vector: bytes) -> None:
        """Announce a model, or what the faults make of it.

        Args:
            round: of the update.
            vector: d little-endian float32; a model that is not finite is not sent (no honest node would take it).
        """
        view = FaultView(
            key=self._key,
            network=self._network,
            schema=self._schema,
            limits=self._limits,
            round=round,
            vector=vector,
            heard=tuple(self._tap.heard),
            sent=tuple(self._sent),
            generator=self._generator,
        )
        broken = [(fault, fault.act(view)) for fault in self._faults]
        self._gossip.advance(round)
        if not any(fault.instead for fault in self._faults) and np.isfinite(np.frombuffer(vector, "<f4")).all():
            update = await self._gossip.publish(round, vector)
            if self._faults:
                self._sent.append(encode_frame(Announce(update.envelope)))
        for fault, act in broken:
            for digest, blob in (act.blobs or {}).items():
                self._tap.serve(digest, blob)
            for frame in act.frames:
                for peer in self._transport.connected():
                    self._transport.inject(peer, frame)
            if fault.instead and act.frames:
                self._sent.append(act.frames[-1])

    async def close(self) -> None:
        """Say goodbye."""
        await self._gossip.close()


class _Tap:
    """Stands between a transport and a Sybil's gossip service, on both sides."""

    def __init__(self, transport: MemoryTransport, keep: bool) -> None:
        self._transport = transport
        self._keep = keep
        self._blobs: dict[bytes, bytes] = {}
        self._service: Receiver
        self.heard: deque[bytes] = deque(maxlen=HEARD)

    def serve(self, digest: bytes, blob: bytes) -> None:
        """Give these bytes to whoever asks for this digest."""
        self._blobs[digest] = blob
        while len(self._blobs) > SERVED:
            del self._blobs[next(iter(self._blobs))]

    # As a receiver: nothing that is heard reaches the service

    def handshake(self, dialled: bool, expect: PeerId | None = None) -> Handshake:
        return self._service.handshake(dialled, expect)

    def joined(self, party: Party) -> None:
        self._service.joined(party)

    def left(self, peer: PeerId, reason: str) -> None:
        self._service.left(peer, reason)

    def frame(self, peer: PeerId, data: bytes) -> None:
        if self._keep:
            self.heard.append(data)

    def blob(self, digest: bytes) -> Buffer | None:
        broken = self._blobs.get(digest)
        return self._service.blob(digest) if broken is None else broken

    def dropped(self, reason: Drop, peer: PeerId | None) -> None:
        self._service.dropped(reason, peer)

    # As a transport

    @property
    def address(self) -> str:
        return self._transport.address

    async def start(self, receiver: Receiver) -> None:
        self._service = receiver
        await self._transport.start(self)

    async def dial(self, address: str, expect: PeerId | None = None) -> PeerId:
        return await self._transport.dial(address, expect)

    def send(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        return self._transport.send(peer, frame, replaces)

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        return await self._transport.fetch(peer, digest, length)

    def connected(self) -> tuple[PeerId, ...]:
        return self._transport.connected()

    async def drop(self, peer: PeerId, reason: str) -> None:
        await self._transport.drop(peer, reason)

    async def close(self) -> None:
        await self._transport.close()
