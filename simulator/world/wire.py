"""One connection of the in-memory network: two ends, what waits to leave, what is on its way, what is lost."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.handshake import Handshake, Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Buffer
from gossip.transport.contract import Receiver
from identity.keys import PeerId
from node.draws import Purpose, uniforms
from node.draws import address as address_of
from simulator.world.medium import Medium

BLOCK = 1024  # draws of one direction made at a time


class Station(Protocol):
    """What stands at an end of a wire: one node's endpoint.

    Attributes:
        receiver: the node.
        limits: what others may use.
        sent: bytes sent so far.
        free: when the uplink is idle again.
    """

    receiver: Receiver
    limits: Limits
    sent: int
    free: float

    @property
    def peer(self) -> PeerId:
        """Whose endpoint this is."""

    @property
    def address(self) -> str:
        """Where it can be reached."""

    def join(self, end: End) -> None:
        """A handshake is complete at this end."""

    def take(self, peer: PeerId, frame: bytes) -> None:
        """A frame has come in."""

    def leave(self, end: End, reason: str) -> None:
        """An end has closed."""

    def serve(self, end: End, digest: bytes, answer: asyncio.Future[Buffer | None]) -> None:
        """A request for a blob has come in."""

    def upload(self, nbytes: int) -> float:
        """Count what is sent; returns when it has left."""


class Wire:
    """One connection: two ends.

    Attributes:
        medium: what lies between them.
        limits: of whoever dialled.
        dialler: who dialled.
        ends: the dialler's, the listener's.
        gone: is told when the wire has ended.
    """

    def __init__(
        self, medium: Medium, caller: Station, listener: Station, number: int, gone: Callable[[Wire], None]
    ) -> None:
        """A wire from `caller` to `listener`; `number`: different for every wire of the network."""
        self.medium = medium
        self.limits = caller.limits
        self.dialler = caller.peer
        self.ends = (End(self, caller, 2 * number), End(self, listener, 2 * number + 1))
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]
        self.gone = gone

    def blocked(self) -> bool:
        """Whether a cut lies across it."""
        one, other = self.ends
        return self.medium.blocked(one.transport.peer, other.transport.peer)


class End:
    """One end of a wire: what waits to leave from here, and what arrives here."""

    other: End

    def __init__(self, wire: Wire, transport: Station, number: int) -> None:
        """The end at `transport`; `number` names it in draws."""
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
        if not self.wire.blocked():
            self._leave([message], asyncio.get_running_loop().time())

    def _pump(self) -> None:
        self._pumping = False
        if not self.open or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        now, bandwidth = loop.time(), self.wire.medium.weather.bandwidth
        if bandwidth is None:
            self._flush(now)
            return
        self._pumping = True
        if self.transport.free > now:
            loop.call_at(self.transport.free, self._pump)
            return
        frame = self._waiting.popitem(last=False)[1]
        gone = self.transport.upload(len(frame))
        if self.survives():
            self._leave([frame], gone)
        loop.call_at(gone, self._pump)

    def _flush(self, now: float) -> None:
        """All that waits leaves now."""
        frames = list(self._waiting.values())
        self._waiting.clear()
        self.transport.sent += sum(map(len, frames))
        weather = self.wire.medium.weather
        if weather.jitter == 0:
            self._leave([frame for frame in frames if self.survives()], now)
            return
        for frame in frames:
            if self.survives():
                self._leave([frame], now)

    def _leave(self, frames: list[bytes], when: float) -> None:
        if frames:
            self._latest = max(self._latest, when + self.delay())
            asyncio.get_running_loop().call_at(self._latest, self.other.arrive, frames)

    def delay(self) -> float:
        """Seconds on the way for the next thing that leaves here."""
        weather = self.wire.medium.weather
        return weather.latency + (weather.jitter * self._draw() if weather.jitter else 0.0)

    def survives(self) -> bool:
        """Whether the next thing that leaves here arrives."""
        loss = self.wire.medium.weather.loss
        lost = bool(loss) and self._draw() < loss
        return not lost and not self.wire.blocked()

    def _draw(self) -> float:
        place = self._drawn % BLOCK
        if place == 0:
            here, there = address_of(self.transport.peer), address_of(self.other.transport.peer)
            counts = range(self._drawn, self._drawn + BLOCK)
            seed = self.wire.medium.seed
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
        when = max(self._latest, loop.time() + self.wire.medium.weather.latency)
        if not self.wire.blocked():
            loop.call_at(when, self.other.shut, reason)
        else:
            loop.call_later(self.wire.limits.heartbeat, self.other.shut, reason)
        self.wire.gone(self.wire)

    def shut(self, reason: str) -> None:
        """This end is closed; the receiver is told if it was the wire in use."""
        if not self.open:
            return
        self.open = False
        self._waiting.clear()
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(RemoteFault(Drop.REFUSED, "the other side hung up"))
        self.transport.leave(self, reason)
