"""A network in memory and virtual time: latency, jitter, loss, bandwidth and cuts, with the promises of a
real one.

Laws:
- A frame takes `latency` plus up to `jitter` seconds; frames of one direction of a connection never overtake
  each other.
- Whether something is lost and how long it takes is a function of (seed, from, to, number), whatever else is
  sent.
- Blobs travel the same way. A lost request or answer shows as a timeout at whoever waits; handshakes are not
  lost.
- What would cross a cut is lost; a connection that a cut crosses for `Limits.heartbeat` seconds ends on both
  sides.
- With a bandwidth, all that one node sends leaves one after the other.
- Bytes are counted where they are sent, lost or not: `MemoryTransport.sent`.

The promises to a receiver are those of gossip.transport; one conformance test runs over every transport.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gossip.errors import Drop, LocalFault, RemoteFault
from gossip.handshake import Handshake, Party
from gossip.limits import Limits
from gossip.messages import Buffer
from gossip.transport import Receiver
from identity.keys import PeerId
from node.draws import Purpose, uniforms
from node.draws import address as address_of

BLOB_REQUEST = 64  # bytes that a request for a blob counts as
BLOCK = 1024  # draws of one direction made at a time


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network does to what is sent.

    Attributes:
        latency: seconds on the way.
        jitter: largest random addition, seconds.
        loss: share that is lost, in [0, 1).
        bandwidth: bytes a second that one node sends; None = no limit.
    """

    latency: float = 0.02
    jitter: float = 0.0
    loss: float = 0.0
    bandwidth: float | None = None


class MemoryNetwork:
    """All wires between the nodes of one event loop."""

    def __init__(self, seed: int = 0, weather: Weather = Weather()) -> None:
        """A network without nodes; `seed` of losses and delays."""
        self.seed = seed
        self.weather = weather
        self._listening: dict[str, MemoryTransport] = {}
        self._wires: dict[_Wire, None] = {}
        self._side: dict[PeerId, int] = {}
        self._made = 0

    def transport(self, peer: PeerId, address: str, limits: Limits = Limits()) -> MemoryTransport:
        """A new endpoint for `peer`, reachable at `address` once it is started."""
        return MemoryTransport(self, peer, address, limits)

    def cut(self, sides: Mapping[PeerId, int]) -> None:
        """Separate peers of different sides; peers that are not named still reach everybody."""
        self._side = dict(sides)
        loop = asyncio.get_running_loop()
        for wire in self._wires:
            if self.blocked(wire):
                loop.call_later(wire.limits.heartbeat, self._starve, wire)

    def heal(self) -> None:
        """End the cut."""
        self._side = {}

    def blocked(self, wire: _Wire) -> bool:
        """Whether the cut lies across a wire."""
        one, other = (self._side.get(end.transport.peer) for end in wire.ends)
        return one is not None and other is not None and one != other

    def listen(self, transport: MemoryTransport) -> None:
        """Make a transport reachable.

        Raises:
            LocalFault: somebody else listens at its address.
        """
        if self._listening.setdefault(transport.address, transport) is not transport:
            raise LocalFault(f"address {transport.address} is in use")

    def unlisten(self, transport: MemoryTransport) -> None:
        """Make a transport unreachable."""
        if self._listening.get(transport.address) is transport:
            del self._listening[transport.address]

    def reach(self, caller: MemoryTransport, address: str) -> _End | None:
        """The caller's end of a new wire to whoever listens there, or None."""
        listener = self._listening.get(address)
        if listener is None:
            return None
        self._made += 1
        wire = _Wire(self, caller, listener, self._made)
        self._wires[wire] = None
        return wire.ends[0]

    def forget(self, wire: _Wire) -> None:
        """A wire has ended."""
        self._wires.pop(wire, None)

    def _starve(self, wire: _Wire) -> None:
        if wire in self._wires and self.blocked(wire):
            for end in wire.ends:
                end.shut("heartbeat missed")
            self.forget(wire)


class _Wire:
    """One connection: two ends."""

    def __init__(self, network: MemoryNetwork, caller: MemoryTransport, listener: MemoryTransport, number: int) -> None:
        self.network = network
        self.limits = caller.limits
        self.dialler = caller.peer
        self.ends = (_End(self, caller, 2 * number), _End(self, listener, 2 * number + 1))
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]


class _End:
    """One end of a wire: what waits to leave from here, and what arrives here."""

    other: _End

    def __init__(self, wire: _Wire, transport: MemoryTransport, number: int) -> None:
        self.wire = wire
        self.transport = transport
        self.party: Party | None = None
        self.open = True
        self.handshake: Handshake | None = None
        self.answered: asyncio.Future[Party] | None = None
        self._number = number
        self._waiting: OrderedDict[bytes | int, bytes] = OrderedDict()
        self._pumping = False
        self._queued = 0
        self._latest = 0.0
        self._drawn = 0
        self._draws: list[float] = []

    # Leaving

    def put(self, frame: bytes, replaces: bytes | None) -> bool:
        """Queue a frame; False if the oldest had to go."""
        self._queued += 1
        self._waiting[self._queued if replaces is None else replaces] = frame
        fits = len(self._waiting) <= self.transport.limits.queue
        if not fits:
            self._waiting.popitem(last=False)
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)
        return fits

    def say(self, message: bytes) -> None:
        """Send one step of the handshake."""
        self.transport.sent += len(message)
        if not self.wire.network.blocked(self.wire):
            self._leave([message], asyncio.get_running_loop().time())

    def _pump(self) -> None:
        self._pumping = False
        if not self.open or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        now, bandwidth = loop.time(), self.wire.network.weather.bandwidth
        if bandwidth is None:
            self._flush(now)
            return
        self._pumping = True
        if self.transport.free > now:
            loop.call_at(self.transport.free, self._pump)
            return
        frame = self._waiting.popitem(last=False)[1]
        gone = self.transport.upload(len(frame))
        if self._survives():
            self._leave([frame], gone)
        loop.call_at(gone, self._pump)

    def _flush(self, now: float) -> None:
        """All that waits leaves now."""
        frames = list(self._waiting.values())
        self._waiting.clear()
        self.transport.sent += sum(map(len, frames))
        weather = self.wire.network.weather
        if weather.jitter == 0:
            self._leave([frame for frame in frames if self._survives()], now)
            return
        for frame in frames:
            if self._survives():
                self._leave([frame], now)

    def _leave(self, frames: list[bytes], when: float) -> None:
        if frames:
            self._latest = max(self._latest, when + self.delay())
            asyncio.get_running_loop().call_at(self._latest, self.other.arrive, frames)

    def delay(self) -> float:
        """Seconds on the way for the next thing that leaves here."""
        weather = self.wire.network.weather
        return weather.latency + (weather.jitter * self._draw() if weather.jitter else 0.0)

    def survives(self) -> bool:
        """Whether the next thing that leaves here arrives."""
        return self._survives()

    def _survives(self) -> bool:
        network = self.wire.network
        lost = bool(network.weather.loss) and self._draw() < network.weather.loss
        return not lost and not network.blocked(self.wire)

    def _draw(self) -> float:
        place = self._drawn % BLOCK
        if place == 0:
            here, there = address_of(self.transport.peer), address_of(self.other.transport.peer)
            counts = range(self._drawn, self._drawn + BLOCK)
            seed = self.wire.network.seed
            self._draws = uniforms(seed, Purpose.NETWORK, here, there, self._number, list(counts)).tolist()
        self._drawn += 1
        return self._draws[place]

    # Arriving

    def arrive(self, frames: list[bytes]) -> None:
        """Frames have come in."""
        for frame in frames:
            if not self.open:
                return
            if self.party is None:
                self._greet(frame)
            else:
                self.transport.take(self.party.peer, frame)

    def _greet(self, message: bytes) -> None:
        if self.handshake is None:
            self.handshake = self.transport.receiver.handshake(False)
        try:
            answer = self.handshake.receive(message)
        except RemoteFault as fault:
            self.transport.receiver.dropped(fault.reason, None)
            self.fail(fault)
            return
        if answer is not None:
            self.say(answer)
        if self.handshake.party is not None:
            self.party = self.handshake.party
            self.transport.join(self)

    # Ending

    def fail(self, fault: RemoteFault) -> None:
        """The handshake went wrong: end the wire and tell whoever waits."""
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(fault)
        self.end("handshake failed")

    def end(self, reason: str, flush: bool = False) -> None:
        """Close from here; the other end learns of it after what is still on its way."""
        if not self.open:
            return
        loop = asyncio.get_running_loop()
        if flush and self._waiting:
            self._flush(loop.time())
        self.shut(reason)
        when = max(self._latest, loop.time() + self.wire.network.weather.latency)
        if not self.wire.network.blocked(self.wire):
            loop.call_at(when, self.other.shut, reason)
        else:
            loop.call_later(self.wire.limits.heartbeat, self.other.shut, reason)
        self.wire.network.forget(self.wire)

    def shut(self, reason: str) -> None:
        """This end is closed; the receiver is told if it was the wire in use."""
        if not self.open:
            return
        self.open = False
        self._waiting.clear()
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(RemoteFault(Drop.REFUSED, "the other side hung up"))
        self.transport.leave(self, reason)


class MemoryTransport:
    """One node's endpoint; implements gossip.transport.Transport.

    Attributes:
        peer: whose endpoint this is.
        limits: what others may use.
        sent: bytes sent so far: handshakes, frames, requests and blobs.
        free: when the uplink is idle again (with a bandwidth).
    """

    receiver: Receiver

    def __init__(self, network: MemoryNetwork, peer: PeerId, address: str, limits: Limits = Limits()) -> None:
        """See `MemoryNetwork.transport`."""
        self.network = network
        self.peer = peer
        self.limits = limits
        self.sent = 0
        self.free = 0.0
        self._address = address
        self._ends: dict[PeerId, _End] = {}
        self._pending: dict[_End, None] = {}
        self._asked: dict[asyncio.Future[Buffer | None], _End] = {}
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
            await asyncio.sleep(2 * self.network.weather.latency)
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
        return self.inject(peer, frame, replaces)

    def inject(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        """Like `send`, for those who break rules: no frame is too long."""
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

    async def drop(self, peer: PeerId, reason: str) -> None:
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

    def join(self, end: _End) -> None:
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

    def _answer(self, end: _End, party: Party) -> None:
        if end.answered is not None and not end.answered.done():
            end.answered.set_result(party)

    def take(self, peer: PeerId, frame: bytes) -> None:
        """A frame has come in."""
        if len(frame) > self.limits.frame:
            self.receiver.dropped(Drop.OVERSIZE, peer)
            return
        self.receiver.frame(peer, frame)

    def leave(self, end: _End, reason: str) -> None:
        """An end has closed: tell the receiver if it was the wire in use."""
        for answer, asked in list(self._asked.items()):
            if asked is end:
                _refuse(answer, Drop.UNAVAILABLE)
        if end.party is None or self._ends.get(end.party.peer) is not end:
            return
        del self._ends[end.party.peer]
        if not self._closed:
            self.receiver.left(end.party.peer, reason)

    def serve(self, end: _End, digest: bytes, answer: asyncio.Future[Buffer | None]) -> None:
        """A request for a blob has come in."""
        if not end.open or end.party is None:
            return
        blob = self.receiver.blob(digest)
        gone = self.upload(len(blob) if blob is not None else BLOB_REQUEST)
        if end.survives():
            asyncio.get_running_loop().call_at(gone + end.delay(), _give, answer, blob)

    def upload(self, nbytes: int) -> float:
        """Count what is sent; returns when it has left."""
        self.sent += nbytes
        now, bandwidth = asyncio.get_running_loop().time(), self.network.weather.bandwidth
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
