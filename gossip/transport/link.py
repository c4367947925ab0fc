"""One live connection to a joined peer: a queue that is written out, a socket that is read, streams that are counted.

Laws: whoever queues never waits; frames leave in the order of the queue; a link closes once, with one reason.
The socket is whatever has these five methods (an aiohttp WebSocket, on either side).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.handshake import Handshake, Party
from gossip.protocol.limits import Limits
from gossip.transport.outbox import Outbox
from identity.keys import PeerId


class Socket(Protocol):
    """A connected, message-preserving socket."""

    async def send_bytes(self, data: bytes) -> None:
        """Write one message; waits while the other side does not read."""
        ...

    async def receive_frame(self) -> bytes | None:
        """The next message; None when the connection has ended.

        Raises:
            RemoteFault: OVERSIZE or MALFORMED (a text).
        """
        ...

    async def close(self) -> None:
        """End the connection politely, within a bounded time."""
        ...

    def abort(self) -> None:
        """End the connection now."""
        ...


class Link:
    """A joined peer."""

    def __init__(self, party: Party, socket: Socket, dialled: bool, location: str, born: float, limits: Limits) -> None:
        """A link over a connected socket.

        Args:
            party: who it is.
            socket: where frames go.
            dialled: we dialled it.
            location: "host:port" where its blobs are fetched, "" if nowhere.
            born: the loop's time.
            limits: `queue` and `goodbye` are used.
        """
        self.party = party
        self.dialled = dialled
        self.location = location
        self.born = born
        self.streams = 0  # blobs that it is being sent
        self.gave = 0  # blobs that it gave us
        self.reason = "the connection ended"
        self.outbox = Outbox(limits.queue)
        self._socket = socket
        self._limits = limits
        self._writer: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Whether it is on its way out."""
        return self._closing is not None

    async def rest(self, seconds: float) -> None:
        """Read nothing for so long, or until the link closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()

    def begin(self) -> None:
        """Start to write out the queue."""
        self._writer = asyncio.get_running_loop().create_task(self._write())

    def end(self, reason: str, flush: bool = True) -> asyncio.Task[None]:
        """Begin to close, politely (for at most `Limits.goodbye` seconds) or at once. The first reason stays."""
        if self._closing is None:
            self.reason = reason
            self._leaving.set()
            self._closing = asyncio.get_running_loop().create_task(self._close(flush))
        return self._closing

    def stays(self, newer: Link, me: PeerId, limits: Limits) -> bool:
        """Whether this link wins over a newer one: only if both dialled at once, the smaller id this one."""
        crossing = self.dialled != newer.dialled and newer.born - self.born < limits.hello
        return crossing and self.dialled == (me < self.party.peer)

    async def _write(self) -> None:
        try:
            while (frame := await self.outbox.get()) is not None:
                await self._socket.send_bytes(frame)
        except (ConnectionError, RuntimeError):  # the reader sees the end, and tells it
            self.outbox.close()

    async def _close(self, flush: bool) -> None:
        self.outbox.close()
        if not flush:
            self._socket.abort()
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=self._limits.goodbye)
            self._writer.cancel()
        try:
            async with asyncio.timeout(self._limits.goodbye):
                await self._socket.close()
        except (TimeoutError, ConnectionError, RuntimeError):
            pass
        self._socket.abort()


async def shake(
    machine: Handshake, socket: Socket, limits: Limits, welcome: Callable[[PeerId], bool] = lambda peer: True
) -> Party:
    """Run one handshake to its end within `Limits.hello` seconds.

    Args:
        machine: our side of it.
        socket: where messages go.
        limits: `hello` and `goodbye` are used.
        welcome: asked once a dialler has said who it is, before it has proved it: whether there is a place for it.

    Raises:
        RemoteFault: refused, broken off or too slow; the socket is closed.
    """
    try:
        async with asyncio.timeout(limits.hello):
            first = machine.first()
            if first is not None:
                await socket.send_bytes(first)
            while machine.party is None:
                data = await socket.receive_frame()
                if data is None:
                    raise RemoteFault(Drop.REFUSED, "the other side ended the handshake")
                answer = machine.receive(data)
                if machine.party is None and machine.met is not None and not welcome(machine.met):
                    raise RemoteFault(Drop.CONNECTIONS, "there is no place for it")
                if answer is not None:
                    await socket.send_bytes(answer)
            return machine.party
    except (TimeoutError, RemoteFault, ConnectionError, RuntimeError) as error:
        await _leave(socket, limits)
        if isinstance(error, RemoteFault):
            raise
        reason = Drop.TIMEOUT if isinstance(error, TimeoutError) else Drop.REFUSED
        raise RemoteFault(reason, "the handshake broke off") from None


async def identify(machine: Handshake, socket: Socket, limits: Limits) -> Party:
    """Find out who answers, as a dialler that leaves before its last word: no link comes of it.

    Raises:
        RemoteFault: not whom we expect, broken off or too slow.
    """
    try:
        async with asyncio.timeout(limits.hello):
            first = machine.first()
            assert first is not None, "a dialler's handshake"
            await socket.send_bytes(first)
            data = await socket.receive_frame()
            if data is None:
                raise RemoteFault(Drop.REFUSED, "the other side ended the handshake")
            machine.receive(data)
            assert machine.party is not None
            return machine.party
    except (TimeoutError, ConnectionError, RuntimeError):
        raise RemoteFault(Drop.TIMEOUT, "the handshake broke off") from None
    finally:
        await _leave(socket, limits)


async def _leave(socket: Socket, limits: Limits) -> None:
    try:
        with contextlib.suppress(TimeoutError, ConnectionError, RuntimeError):
            async with asyncio.timeout(limits.goodbye):
                await socket.close()
    finally:  # also where we are stopped meanwhile
        socket.abort()
