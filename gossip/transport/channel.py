"""One WebSocket of aiohttp, of either side, as the socket of a link.

Laws: a text or a message beyond the limit is a fault, and so are pings and pongs beyond their rate; any other end is
the end of the frames. `abort` works at once, whatever is still waiting to be flushed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import aiohttp
from aiohttp import web

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.rates import Bucket


class Channel:
    """An aiohttp WebSocket of either side as a `gossip.transport.link.Socket`: see there."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse | web.WebSocketResponse, limits: Limits) -> None:
        """Over a connected WebSocket that leaves pings to us; `control_*` of the limits are used."""
        self._socket = socket
        now = asyncio.get_running_loop().time()
        self._control = Bucket.full(limits.control_rate, limits.control_burst, now)

    async def send_bytes(self, data: bytes) -> None:
        """See `Socket.send_bytes`."""
        await self._socket.send_bytes(data)

    async def receive_frame(self) -> bytes | None:
        """See `Socket.receive_frame`."""
        message = await self._socket.receive()
        while message.type in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
            if not self._control.take(asyncio.get_running_loop().time()):
                raise RemoteFault(Drop.PEER_RATE, "pings beyond their rate")
            if message.type is aiohttp.WSMsgType.PING:
                await self._socket.pong(message.data)
            message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data)
        if message.type is aiohttp.WSMsgType.TEXT:
            raise RemoteFault(Drop.MALFORMED, "a text message")
        if message.type is aiohttp.WSMsgType.ERROR and isinstance(message.data, aiohttp.WebSocketError):
            big = message.data.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
            raise RemoteFault(Drop.OVERSIZE if big else Drop.MALFORMED, str(message.data))
        return None

    async def close(self) -> None:
        """See `Socket.close`."""
        await self._socket.close()

    def abort(self) -> None:
        """Shut the socket down under whatever still waits to be flushed (works alike on asyncio and uvloop)."""
        below = self._socket.get_extra_info("socket")
        if below is not None and below.fileno() >= 0:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(below.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)
