"""What an attacker puts between a transport and the gossip service of one of its identities.

Laws:
- It overhears the frames that come in; a deaf one lets none of them through to the service.
- It answers for blobs under digests that it was told, before the service does.
- Broken frames leave beside the service, through the same connections.
"""

from __future__ import annotations

from collections import deque

from gossip.protocol.errors import Drop, LocalFault
from gossip.protocol.handshake import Handshake, Party
from gossip.protocol.messages import Buffer
from gossip.transport.contract import Receiver, Transport
from identity.keys import PeerId

HEARD = 64  # frames kept for replays
SERVED = 16  # broken blobs kept


class Tap:
    """A Transport for the service and a Receiver for the transport (both of gossip.transport.contract).

    Attributes:
        heard: newest frames that came in, oldest first.
    """

    def __init__(self, transport: Transport, *, deaf: bool) -> None:
        """Nothing happens before `start`; `deaf`: no frame reaches the service."""
        self._transport = transport
        self._deaf = deaf
        self._blobs: dict[bytes, bytes] = {}
        self._service: Receiver
        self.heard: deque[bytes] = deque(maxlen=HEARD)

    def serve(self, digest: bytes, blob: bytes) -> None:
        """Give these bytes to whoever asks for this digest."""
        self._blobs[digest] = blob
        while len(self._blobs) > SERVED:
            del self._blobs[next(iter(self._blobs))]

    def inject(self, frame: bytes) -> int:
        """Send a frame to everybody, whatever it holds; returns how many connections took it."""
        sent = 0
        for peer in self.connected():
            try:
                sent += self.send(peer, frame)
            except LocalFault:
                continue  # too long even for a transport that was told to allow much
        return sent

    # As a receiver

    def handshake(self, dialled: bool, expect: PeerId | None = None) -> Handshake:
        """See `Receiver.handshake`."""
        return self._service.handshake(dialled, expect)

    def joined(self, party: Party) -> None:
        """See `Receiver.joined`."""
        self._service.joined(party)

    def left(self, peer: PeerId, reason: str) -> None:
        """See `Receiver.left`."""
        self._service.left(peer, reason)

    def frame(self, peer: PeerId, data: bytes) -> float:
        """See `Receiver.frame`."""
        self.heard.append(data)
        return 0.0 if self._deaf else self._service.frame(peer, data)

    def known(self, peer: PeerId) -> bool:
        """See `Receiver.known`."""
        return self._service.known(peer)

    def blob(self, digest: bytes, peer: PeerId) -> Buffer | None:
        """See `Receiver.blob`."""
        broken = self._blobs.get(digest)
        return self._service.blob(digest, peer) if broken is None else broken

    def dropped(self, reason: Drop, peer: PeerId | None) -> None:
        """See `Receiver.dropped`."""
        self._service.dropped(reason, peer)

    # As a transport

    @property
    def address(self) -> str:
        """See `Transport.address`."""
        return self._transport.address

    async def start(self, receiver: Receiver) -> None:
        """See `Transport.start`."""
        self._service = receiver
        await self._transport.start(self)

    async def dial(self, address: str, expect: PeerId | None = None) -> PeerId:
        """See `Transport.dial`."""
        return await self._transport.dial(address, expect)

    def send(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        """See `Transport.send`."""
        return self._transport.send(peer, frame, replaces)

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        """See `Transport.fetch`."""
        return await self._transport.fetch(peer, digest, length)

    def connected(self) -> tuple[PeerId, ...]:
        """See `Transport.connected`."""
        return self._transport.connected()

    async def drop(self, peer: PeerId, reason: str, refuse: float = 0.0) -> None:
        """See `Transport.drop`."""
        await self._transport.drop(peer, reason, refuse)

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._transport.close()
