"""One live connection to a joined peer: a queue that is written out, a socket that is read, streams that are counted.

Laws: whoever queues never waits; frames leave in the order of the queue; a link closes once, with one reason.
The socket is whatever has these five methods (an aiohttp WebSocket, on either side).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from gossip.handshake import Party
from gossip.limits import Limits
from gossip.outbox import Outbox


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
        self.reason = "the connection ended"
        self.outbox = Outbox(limits.queue)
        self._socket = socket
        self._limits = limits
        self._writer: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start to write out the queue."""
        self._writer = asyncio.get_running_loop().create_task(self._write())

    def end(self, reason: str) -> asyncio.Task[None]:
        """Begin to close: flush for at most `Limits.goodbye` seconds. The first reason stays."""
        if self._closing is None:
            self.reason = reason
            self._closing = asyncio.get_running_loop().create_task(self._close())
        return self._closing

    async def _write(self) -> None:
        try:
            while (frame := await self.outbox.get()) is not None:
                await self._socket.send_bytes(frame)
        except (ConnectionError, RuntimeError):  # the reader sees the end, and tells it
            self.outbox.close()

    async def _close(self) -> None:
        self.outbox.close()
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=self._limits.goodbye)
            self._writer.cancel()
        try:
            async with asyncio.timeout(self._limits.goodbye):
                await self._socket.close()
        except (TimeoutError, ConnectionError, RuntimeError):
            pass
        self._socket.abort()
