"""Gossip over HTTP: one WebSocket for each pair of peers, blobs by GET on the same port.

Laws, beside the promises of `gossip.transport.contract`:
- GET only: the receiver chooses what comes. A request with a body or a Content-Encoding is refused (413, 415)
  before a byte of it is read, and nothing is ever inflated; no answer is compressed; redirects are not followed.
- A blob is given to joined peers only (the session of the handshake is the ticket), at most `Limits.streams` at a
  time.
- Sockets are counted before aiohttp sees them (`gossip.transport.gate`); after every answer that is no blob they end.
- Whoever dials us gets a place, or does not, by who it is (`gossip.transport.slots`): decided when it says so, and once
  more when it has proved it. Links that we dial ourselves have places of their own.
- Payloads of whoever dialled us are asked for at the address that we see it at, and elsewhere once it was found there.
- Every wait has a deadline, also for a body that drips.
- aiohttp is used here, in `gossip.transport.listener` and in `gossip.transport.channel` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import replace
from typing import NoReturn

import aiohttp
from aiohttp import web

from gossip.protocol.address import Address, beside, dialable, locate
from gossip.protocol.errors import BadAddress, Drop, LocalFault, RemoteFault
from gossip.protocol.handshake import Party
from gossip.protocol.limits import Limits
from gossip.transport.channel import Channel
from gossip.transport.contract import Receiver
from gossip.transport.link import Link, identify, shake
from gossip.transport.listener import BLOB_PATH, LINK_PATH, SESSION, Listener
from gossip.transport.outward import Outward
from gossip.transport.slots import Guest, group_of, who_goes
from gossip.transport.stream import BlobStreams
from identity.keys import PeerId


class HttpTransport:
    """`Transport` over TCP."""

    def __init__(
        self,
        me: PeerId,
        executor: Executor,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits = Limits(),
        advertise: str | None = None,
    ) -> None:
        """Nothing happens before `start`.

        Args:
            me: our own id: it settles which of two crossing connections stays.
            executor: hashes blobs while they arrive.
            host: address to listen on.
            port: 0 lets the system choose.
            limits: what peers may use.
            advertise: "host:port" that others are told; default: what we listen on. When that is every interface,
                others take the address they see us from.
        """
        self._me = me
        self._host = host
        self._port = port
        self._limits = limits
        self._advertise = advertise
        self._receiver: Receiver | None = None
        self._links: dict[PeerId, Link] = {}
        self._sessions: dict[str, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = Listener(limits, self._sessions, self._welcome)
        self._http: aiohttp.ClientSession | None = None
        self._outward = Outward(limits)
        self._streams = BlobStreams(limits, executor, self._outward)
        self._closed = False

    @property
    def address(self) -> str:
        """Where others can dial us, known after `start`."""
        if self._advertise is not None:
            return self._advertise
        listening = Address(self._host, self._port)
        return f":{self._port}" if listening.everywhere else str(listening)

    async def start(self, receiver: Receiver) -> None:
        """Begin to listen.

        Raises:
            LocalFault: the port is in use, or the address is not ours.
        """
        self._receiver = receiver
        self._port = await self._listener.open(receiver, self._host, self._port)
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            trace_configs=[trace],
        )

    async def dial(self, address: str, expect: PeerId | None = None) -> PeerId:
        """Connect and shake hands.

        Raises:
            RemoteFault: UNREACHABLE, TIMEOUT, CONNECTIONS, or the handshake's reason.
        """
        if self._http is None or self._closed:
            raise RemoteFault(Drop.UNREACHABLE, "not started, or closed")
        dialled = sum(link.dialled for link in self._links.values())
        if dialled >= self._limits.connections - self._limits.inbound:
            raise RemoteFault(Drop.CONNECTIONS, f"{dialled} connections that we dialled")
        try:
            dialable(address)
        except BadAddress as error:
            raise RemoteFault(Drop.UNREACHABLE, str(error)) from None
        joined = await self._connect(self._http, address)
        channel = Channel(joined, self._limits)
        party = await shake(self._told().handshake(True, expect), channel, self._limits)
        party = replace(party, seen=_ip(joined.get_extra_info("peername")), here=_ip(joined.get_extra_info("sockname")))
        link = self._keep(party, channel, dialled=True, location=address)
        if link is not None:
            self._spawn(self._read(link, channel))
        return party.peer

    async def _connect(self, http: aiohttp.ClientSession, address: str) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self._limits.connect + self._limits.hello):
                return await http.ws_connect(
                    f"http://{address}{LINK_PATH}",
                    compress=0,
                    autoping=False,
                    max_msg_size=self._limits.frame + 1,
                    heartbeat=self._limits.heartbeat,
                    timeout=aiohttp.ClientWSTimeout(ws_close=self._limits.goodbye),
                )
        except TimeoutError:
            raise RemoteFault(Drop.TIMEOUT, f"{address} does not answer") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RemoteFault(Drop.UNREACHABLE, f"{address}: {error}") from None

    def send(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        """See `Transport.send`."""
        if len(frame) > self._limits.frame:
            raise LocalFault(f"a frame of {len(frame)} bytes, at most {self._limits.frame}")
        link = self._links.get(peer)
        if link is None:
            return False
        if not link.outbox.put(frame, replaces):
            self._told().dropped(Drop.QUEUE_FULL, peer)
        return True

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        """See `Transport.fetch`."""
        link = self._links.get(peer)
        if link is None or self._http is None:
            raise RemoteFault(Drop.UNAVAILABLE, "no connection")
        if not link.location:
            raise RemoteFault(Drop.UNREACHABLE, "it states no address that could be dialled")
        session = f"{SESSION}: {link.party.session.hex()}\r\n"
        try:
            async with asyncio.timeout(self._limits.blob_seconds(length)):
                blob = await self._streams.get(link.location, BLOB_PATH + digest.hex(), session, digest, length)
        except TimeoutError:
            raise RemoteFault(Drop.TIMEOUT, f"a blob of {length} bytes did not come in time") from None
        except OSError as error:
            raise RemoteFault(Drop.UNREACHABLE, f"{link.location}: {error}") from None
        link.gave += 1
        return blob

    def connected(self) -> tuple[PeerId, ...]:
        """See `Transport.connected`."""
        return tuple(sorted(self._links))

    async def drop(self, peer: PeerId, reason: str, refuse: float = 0.0) -> None:
        """See `Transport.drop`."""
        link = self._links.get(peer)
        if link is not None:
            if refuse:
                self._listener.refuse(link.party.seen, refuse)
            await link.end(reason, flush=not refuse)

    async def close(self) -> None:
        """See `Transport.close`."""
        if self._closed:
            return
        self._closed = True
        self._listener.shut()
        self._streams.close()
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(link.end("closing") for link in links))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.close()
        if self._http is not None:
            await self._http.close()
        await asyncio.sleep(0)  # transports that were closed tell so in the loop's next turn

    # links

    def _keep(self, party: Party, channel: Channel, dialled: bool, location: str) -> Link | None:
        """Make it the peer's one link, or close it because another one stays."""
        now = asyncio.get_running_loop().time()
        link = Link(party, channel, dialled, location, now, self._limits)
        older = self._links.get(party.peer)
        if self._closed or (older is not None and older.stays(link, self._me, self._limits)):
            self._spawn(_finish(link.end("another connection stays")))
            return None
        self._links[party.peer] = link
        self._sessions[party.session.hex()] = link
        if older is not None:
            self._sessions.pop(older.party.session.hex(), None)
            self._streams.forget(older.location)
            self._spawn(_finish(older.end("replaced")))
        link.begin()
        self._told().joined(party)
        return link

    async def _read(self, link: Link, channel: Channel) -> None:
        """Tell every frame until the link ends."""
        peer = link.party.peer
        reason = ""
        try:
            while not link.closing and (data := await channel.receive_frame()) is not None:
                if self._links.get(peer) is link:
                    pause = self._told().frame(peer, data)
                    if pause:
                        await link.rest(min(pause, self._limits.heartbeat))
        except RemoteFault as fault:
            self._told().dropped(fault.reason, peer)
            reason = str(fault)
        finally:
            current = self._links.get(peer) is link
            if current:
                del self._links[peer]
                self._streams.forget(link.location)
                self._sessions.pop(link.party.session.hex(), None)
            ended = link.end(reason or link.reason)
            if current and not self._closed:
                self._told().left(peer, link.reason)
        await ended

    # serving

    async def _welcome(
        self, upgraded: web.WebSocketResponse, seen: str, here: str, proved: Callable[[], object]
    ) -> None:
        """Somebody dialled us: shake hands and read until it leaves."""
        channel = Channel(upgraded, self._limits)
        try:
            machine = self._told().handshake(False)
            party = await shake(machine, channel, self._limits, lambda peer: self._place(peer, seen)[0])
        except RemoteFault as fault:
            self._told().dropped(fault.reason, None)
            return
        proved()
        party = replace(party, seen=seen, here=here)
        free, leaving = self._place(party.peer, seen)
        if not free:
            self._told().dropped(Drop.CONNECTIONS, None)
            channel.abort()
            return
        if leaving is not None:
            self._told().dropped(Drop.CONNECTIONS, leaving.party.peer)
            self._spawn(_finish(leaving.end("a peer with a better claim took its place")))
        stated = locate(party.hello.address, seen)
        here = beside(stated, seen) if stated else ""
        link = self._keep(party, channel, dialled=False, location=here)
        if link is not None:
            if stated != here:
                self._spawn(self._confirm(link, stated))
            await self._read(link, channel)

    async def _confirm(self, link: Link, stated: str) -> None:
        """Ask elsewhere for its payloads only once it has answered there itself: dial it back, once, and see."""
        assert self._http is not None
        try:
            await self._outward.turn(stated, doubtful=True)
            channel = Channel(await self._connect(self._http, stated), self._limits)
            await identify(self._told().handshake(True, link.party.peer), channel, self._limits)
        except RemoteFault:
            return
        self._outward.answered(stated)
        self._streams.forget(link.location)
        link.location = stated

    def _place(self, peer: PeerId, seen: str) -> tuple[bool, Link | None]:
        """Whether there is a place for somebody who dialled us from there, and who has to go for it."""
        inside = {
            other: self._guest(link.party.peer, link.party.seen, link.gave, link.born)
            for other, link in self._links.items()
            if not link.dialled and not link.closing and other != peer
        }
        newcomer = self._guest(peer, seen, 0, asyncio.get_running_loop().time())
        goes = who_goes(newcomer, list(inside.values()), self._limits)
        return goes is not newcomer, None if goes is None else self._links.get(goes.peer)

    def _guest(self, peer: PeerId, seen: str, gave: int, born: float) -> Guest:
        return Guest(peer, self._told().known(peer), group_of(seen), gave, born)

    # small things

    def _told(self) -> Receiver:
        assert self._receiver is not None, "start comes first"
        return self._receiver

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ip(name: tuple[str, int] | None) -> str:
    """The host of a socket's name; "" if it has none."""
    return str(name[0]) if name else ""


async def _refuse_redirect(*_: object) -> NoReturn:
    raise aiohttp.ClientError("redirects are not followed")


async def _finish(task: asyncio.Task[None]) -> None:
    await task
