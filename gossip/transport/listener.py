"""The listening half of gossip over HTTP: takes sockets, refuses what nobody honest asks, upgrades links, serves blobs.

Laws: as in `gossip.transport.http`. Whatever is answered with anything but a blob or a link ends its socket.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

from gossip.protocol.address import Address
from gossip.protocol.errors import Drop, LocalFault
from gossip.protocol.limits import KIB, Limits
from gossip.transport.contract import Receiver
from gossip.transport.gate import Gate
from gossip.transport.link import Link

SESSION = "X-Hedgerow-Session"
LINK_PATH = "/v1/gossip"
BLOB_PATH = "/v1/blob/"
_LINE = 1 * KIB  # request line; ours have 80 bytes
_FIELD = 2 * KIB  # all header fields of a request together are small; a WebSocket upgrade has 300 bytes
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Listener:
    """One port."""

    def __init__(
        self,
        limits: Limits,
        sessions: Mapping[str, Link],
        welcome: Callable[[web.WebSocketResponse, str, str, Callable[[], object]], Awaitable[None]],
    ) -> None:
        """Nothing listens before `open`.

        Args:
            limits: what peers may use.
            sessions: live links, by session in hexadecimal digits: the ticket for blobs.
            welcome: shakes hands over a connected WebSocket from an IP address to one of ours, tells the last argument
                when that is done, and returns when it has ended.
        """
        self._limits = limits
        self._sessions = sessions
        self._welcome = welcome
        self._shaking: OrderedDict[web.RequestHandler, None] = OrderedDict()  # have not proved yet who they are
        self._receiver: Receiver | None = None
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._gate: Gate | None = None

    async def open(self, receiver: Receiver, host: str, port: int) -> int:
        """Begin to listen; returns the port (0 lets the system choose).

        Raises:
            LocalFault: the port is in use, or the address is not ours.
        """
        self._receiver = receiver
        app = web.Application(middlewares=[self._screen], client_max_size=0)
        app.router.add_get(LINK_PATH, self._serve_link, allow_head=False)
        app.router.add_get(BLOB_PATH + "{digest:[0-9a-f]{64}}", self._serve_blob, allow_head=False)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            lingering_time=0,
            max_line_size=_LINE,
            max_field_size=_FIELD,
            shutdown_timeout=self._limits.goodbye,
            keepalive_timeout=2 * self._limits.heartbeat,  # the gate's timer is the one that counts
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._gate = Gate(self._runner.server, self._limits, self._dropped, self._friend)
        try:
            loop = asyncio.get_running_loop()
            if host == "::":  # IPv4 as well: whoever says "every interface" means it
                both = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
                self._server = await loop.create_server(self._gate.enter, sock=both, backlog=128)
            else:
                self._server = await loop.create_server(self._gate.enter, host, port, backlog=128)
        except OSError as error:
            await self._runner.cleanup()
            self._runner = None
            raise LocalFault(f"cannot listen on {Address(host, port)}: {error.strerror or error}") from error
        return int(self._server.sockets[0].getsockname()[1])

    def refuse(self, address: str, seconds: float) -> None:
        """Take no socket from this IP address for a while; see `Gate.refuse`."""
        if self._gate is not None:
            self._gate.refuse(address, seconds)

    def shut(self) -> None:
        """Take no more sockets."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """End every socket, once what is being answered had its time."""
        self.shut()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._gate is not None:
            self._gate.close()

    # requests

    @web.middleware
    async def _screen(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse browsers, and bodies and encodings unread; keep nothing open but a socket that was given a blob."""
        assert self._gate is not None
        self._gate.busy(request.protocol)
        status = 0
        if "Origin" in request.headers:  # a web page in somebody's browser: no node sends that
            status, reason = 403, Drop.REFUSED
        elif "Content-Encoding" in request.headers:
            status, reason = 415, Drop.ENCODING
        elif request.body_exists:
            status, reason = 413, Drop.OVERSIZE
        response: web.StreamResponse
        if status:
            self._dropped(reason)
            response = web.Response(status=status)
        else:
            try:
                response = await handler(request)
            except web.HTTPException as other:  # no such path, or another method
                other.force_close()
                raise
        if response.status == 200:
            self._gate.rest(request.protocol)
        else:
            response.force_close()
        return response

    async def _serve_link(self, request: web.Request) -> web.StreamResponse:
        seen = request.remote or ""
        self._shaking[request.protocol] = None
        if len(self._shaking) > self._limits.handshakes:  # an honest one takes a moment: who takes longest goes
            longest, _ = self._shaking.popitem(last=False)
            self._dropped(Drop.CONNECTIONS)
            if longest.transport is not None:
                longest.transport.abort()
        upgraded = web.WebSocketResponse(
            compress=False,
            autoping=False,
            max_msg_size=self._limits.frame + 1,
            heartbeat=self._limits.heartbeat,
            timeout=self._limits.goodbye,
        )
        try:
            await upgraded.prepare(request)
            ours = None if request.transport is None else request.transport.get_extra_info("sockname")
            here = str(ours[0]) if ours else ""
            await self._welcome(upgraded, seen, here, lambda: self._shaking.pop(request.protocol, None))
            return upgraded
        finally:
            self._shaking.pop(request.protocol, None)

    async def _serve_blob(self, request: web.Request) -> web.StreamResponse:
        link = self._sessions.get(request.headers.get(SESSION, ""))
        if link is None:
            self._told().dropped(Drop.STRANGER, None)
            return web.Response(status=403)
        if link.streams >= self._limits.streams:
            self._told().dropped(Drop.CONNECTIONS, link.party.peer)
            return web.Response(status=429)
        blob = self._told().blob(bytes.fromhex(request.match_info["digest"]), link.party.peer)
        if blob is None:
            return web.Response(status=404)
        link.streams += 1
        try:
            async with asyncio.timeout(self._limits.blob_seconds(len(blob))):
                response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
                response.content_length = len(blob)
                await response.prepare(request)
                view = memoryview(blob)
                for at in range(0, len(view), self._limits.chunk):
                    await response.write(view[at : at + self._limits.chunk])
                await response.write_eof()
                return response
        except TimeoutError:
            self._told().dropped(Drop.TIMEOUT, link.party.peer)
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            link.streams -= 1

    # small things

    def _told(self) -> Receiver:
        assert self._receiver is not None, "open comes first"
        return self._receiver

    def _friend(self, address: str) -> bool:
        """Whether a known peer is linked from this IP address."""
        there = (link.party.peer for link in self._sessions.values() if link.party.seen == address)
        return any(self._told().known(peer) for peer in there)

    def _dropped(self, reason: Drop) -> None:
        self._told().dropped(reason, None)
