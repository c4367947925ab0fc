"""One node's endpoint of the in-memory network.

The promises to a receiver are those of gossip.transport.contract; one conformance test runs over every transport.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

from gossip.protocol.errors import Drop, LocalFault, RemoteFault
from gossip.protocol.handshake import Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Buffer
from gossip.transport.contract import Receiver
from identity.keys import PeerId
from simulator.world.network import MemoryNetwork
from simulator.world.wire import End

BLOB_REQUEST = 64  # bytes that a request for a blob counts as


class MemoryTransport:
    """One node's endpoint; implements gossip.transport.contract.Transport.

    Attributes:
        peer: whose endpoint this is.
        limits: what others may use.
        sent: bytes sent so far: handshakes, frames, requests and blobs.
        free: when the uplink is idle again (with a bandwidth).
    """

    receiver: Receiver

    def __init__(self, network: MemoryNetwork, peer: PeerId, address: str, limits: Limits = Limits()) -> None:
        """An endpoint for `peer`, reachable at `address` once it is started."""
        self.network = network
        self.peer = peer
        self.limits = limits
        self.sent = 0
        self.free = 0.0
        self._address = address
        self._ends: dict[PeerId, End] = {}
        self._pending: dict[End, None] = {}
        self._asked: dict[asyncio.Future[Buffer | None], End] = {}
        self._closed = False

    @property
    def address(self) -> str:
        """See `Transport.address`."""
        return self._address

    async def start(self, receiver: Receiver) -> None:
        """See `Transport.start`."""
        self.receiver = receiver
        self.network.listen(self)

    async def dial(self, address: str, expect: PeerId | None = None) -> PeerId:
        """See `Transport.dial`."""
        if expect is not None and expect in self._ends:
            return expect
        end = self.network.reach(self, address)
        if end is None:
            await asyncio.sleep(2 * self.network.medium.weather.latency)
            raise RemoteFault(Drop.UNREACHABLE, f"nobody listens at {address}")
        loop = asyncio.get_running_loop()
        end.handshake = self.receiver.handshake(True, expect)
        end.answered = loop.create_future()
        self._pending[end] = None
        first = end.handshake.first()
        if first is not None:
            end.say(first)
        alarm = loop.call_later(self.limits.hello, end.fail, RemoteFault(Drop.TIMEOUT, f"no hello from {address}"))
        try:
            return (await end.answered).peer
        finally:
            alarm.cancel()
            self._pending.pop(end, None)
            if end.party is None:
                end.end("handshake abandoned")

    def send(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        """See `Transport.send`."""
        if len(frame) > self.limits.frame:
            raise LocalFault(f"a frame of {len(frame)} bytes; the limit is {self.limits.frame}")
        end = self._ends.get(peer)
        if end is None:
            return False
        if not end.put(frame, replaces):
            self.receiver.dropped(Drop.QUEUE_FULL, peer)
        return True

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        """See `Transport.fetch`."""
        end = self._ends.get(peer)
        if end is None:
            raise RemoteFault(Drop.UNAVAILABLE, "not connected")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Buffer | None] = loop.create_future()
        self._asked[answer] = end
        alarm = loop.call_later(self.limits.blob_seconds(length), _refuse, answer, Drop.TIMEOUT)
        self.sent += BLOB_REQUEST
        if end.survives():
            loop.call_later(end.delay(), end.other.transport.serve, end.other, digest, answer)
        try:
            blob = await answer
        finally:
            alarm.cancel()
            self._asked.pop(answer, None)
        if blob is None:
            raise RemoteFault(Drop.UNAVAILABLE, "the holder does not have it")
        if len(blob) != length:
            raise RemoteFault(Drop.LENGTH, f"{len(blob)} bytes came instead of {length}")
        if hashlib.sha256(blob).digest() != digest:
            raise RemoteFault(Drop.DIGEST, "other bytes than the digest names")
        return memoryview(blob).toreadonly()

    def connected(self) -> tuple[PeerId, ...]:
        """See `Transport.connected`."""
        return tuple(sorted(self._ends))

    async def drop(self, peer: PeerId, reason: str, refuse: float = 0.0) -> None:
        """See `Transport.drop`."""
        end = self._ends.get(peer)
        if end is not None:
            end.end(reason, flush=True)

    async def close(self) -> None:
        """See `Transport.close`."""
        self.abort("closed", flush=True)

    def abort(self, reason: str = "connection reset", flush: bool = False) -> None:
        """End everything at once, as when a process dies; the others notice after the latency."""
        if self._closed:
            return
        self._closed = True
        self.network.unlisten(self)
        for end in [*self._pending, *self._ends.values()]:
            end.end(reason, flush)
        for answer in list(self._asked):
            _refuse(answer, Drop.UNAVAILABLE)

    # What the ends of wires call

    def join(self, end: End) -> None:
        """A handshake is complete at this end: keep this wire, or the one there is."""
        party = end.party
        assert party is not None
        if self._closed:
            end.end("closed")
            return
        rival = self._ends.get(party.peer)
        if rival is not None:
            crossed = rival.wire.dialler != end.wire.dialler
            if crossed and rival.wire.dialler < end.wire.dialler:
                self._answer(end, party)
                end.end("crossed")
                return
            del self._ends[party.peer]
            rival.end("replaced")
        self._ends[party.peer] = end
        self.receiver.joined(replace(party, seen=end.other.transport.address))
        self._answer(end, party)

    def _answer(self, end: End, party: Party) -> None:
        if end.answered is not None and not end.answered.done():
            end.answered.set_result(party)

    def take(self, peer: PeerId, frame: bytes) -> None:
        """A frame has come in."""
        if len(frame) > self.limits.frame:
            self.receiver.dropped(Drop.OVERSIZE, peer)
            return
        self.receiver.frame(peer, frame)

    def leave(self, end: End, reason: str) -> None:
        """An end has closed: tell the receiver if it was the wire in use."""
        for answer, asked in list(self._asked.items()):
            if asked is end:
                _refuse(answer, Drop.UNAVAILABLE)
        if end.party is None or self._ends.get(end.party.peer) is not end:
            return
        del self._ends[end.party.peer]
        if not self._closed:
            self.receiver.left(end.party.peer, reason)

    def serve(self, end: End, digest: bytes, answer: asyncio.Future[Buffer | None]) -> None:
        """A request for a blob has come in."""
        if not end.open or end.party is None:
            return
        blob = self.receiver.blob(digest, end.party.peer)
        gone = self.upload(len(blob) if blob is not None else BLOB_REQUEST)
        if end.survives():
            asyncio.get_running_loop().call_at(gone + end.delay(), _give, answer, blob)

    def upload(self, nbytes: int) -> float:
        """Count what is sent; returns when it has left."""
        self.sent += nbytes
        now, bandwidth = asyncio.get_running_loop().time(), self.network.medium.weather.bandwidth
        if bandwidth is None:
            return now
        self.free = max(self.free, now) + nbytes / bandwidth
        return self.free


def _give(answer: asyncio.Future[Buffer | None], blob: Buffer | None) -> None:
    if not answer.done():
        answer.set_result(blob)


def _refuse(answer: asyncio.Future[Buffer | None], reason: Drop) -> None:
    if not answer.done():
        answer.set_exception(RemoteFault(reason))
