"""Connections over which blobs are got, one blob at a time on each, received straight into the buffer where it stays.

Laws:
- HTTP/1.1, and only what a holder of blobs answers: status 200, the Content-Length that was asked for, no
  Content-Encoding, no Transfer-Encoding. Anything else, or a byte more, ends the connection.
- The buffer is allocated once the holder has offered the length that was asked for.
- Every byte is copied once, by the kernel, into its place, and hashed in the executor while the next ones come.
- Who waits sets the deadline; giving up ends the connection.
- Connections are kept for the next blob, a few to one location and not for long, and are opened as `Outward` allows.

A client of aiohttp copies every byte four times more (protocol, parser, reader, join), all on the event loop.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from concurrent.futures import Executor
from typing import cast

from gossip.protocol.address import Address
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import KIB, MIB, Limits
from gossip.transport.blobs import Assembly
from gossip.transport.executors import OFFLOAD_BYTES, offload
from gossip.transport.outward import Outward

_HEAD = 4 * KIB  # status line and fields of an answer; ours have 160 bytes
_READ = 1 * MIB  # received in one turn of the loop: about .2 ms
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*?)[ \t]*")


class BlobStream(asyncio.BufferedProtocol):
    """One connection to one holder."""

    def __init__(self) -> None:
        """Not connected yet: `asyncio`'s `create_connection` connects it."""
        self.answered = False  # whether the last request was answered with anything
        self._transport: asyncio.Transport | None = None
        self._fault: RemoteFault | None = None
        self._scratch = memoryview(bytearray(_HEAD))
        self._head = 0  # bytes of the answer's head in the scratch
        self._wanted: tuple[bytes, int] | None = None  # digest and length of what was asked for
        self._body: Assembly | None = None
        self._due = 0  # bytes of the body that wake who waits
        self._waiter: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        """Whether another blob can be asked for."""
        return self._fault is None

    async def get(self, request: bytes, digest: bytes, length: int, executor: Executor) -> memoryview:
        """Ask and receive: the blob, read-only, its length and hash checked.

        Raises:
            RemoteFault: UNAVAILABLE, ENCODING, LENGTH or DIGEST.
        """
        assert self._transport is not None
        assert self._wanted is None, "one blob at a time"
        self.answered, self._head, self._wanted = False, 0, (digest, length)
        self._transport.write(request)
        loop = asyncio.get_running_loop()
        try:
            body = await self._received(0)
            while body.filled < length:
                await self._received(min(body.filled + OFFLOAD_BYTES, length))
                if body.unhashed >= OFFLOAD_BYTES:
                    await loop.run_in_executor(executor, body.digest_arrived)
            blob = await offload(executor, body.unhashed, body.finish)
        except BaseException:
            self.close()
            raise
        self._wanted = self._body = None
        return blob

    def close(self) -> None:
        """End the connection now."""
        self._end(RemoteFault(Drop.UNAVAILABLE, "the connection was closed"))

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._body is not None and self._body.missing:
            return self._body.room(_READ)
        return self._scratch[self._head :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        self.answered = True
        try:
            if self._body is not None and self._body.missing:
                self._body.grow(nbytes)
            elif self._wanted is None or self._body is not None:
                raise RemoteFault(Drop.LENGTH, "more than was asked for")
            else:
                self._head += nbytes
                self._read_head(*self._wanted)
        except RemoteFault as fault:
            self._end(fault)
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """The other side, or we, ended it."""
        self._end(RemoteFault(Drop.UNAVAILABLE, f"the connection ended: {error or 'closed'}"))

    # private

    async def _received(self, due: int) -> Assembly:
        """Wait for the head of the answer, and so many bytes of its body."""
        while self._body is None or self._body.filled < due:
            if self._fault is not None:
                raise self._fault
            self._due = due
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._body

    def _wake(self) -> None:
        ready = self._fault is not None or (self._body is not None and self._body.filled >= self._due)
        if ready and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self, fault: RemoteFault) -> None:
        if self._fault is None:
            self._fault = fault
            if self._transport is not None:
                self._transport.abort()
        self._wake()

    def _read_head(self, digest: bytes, length: int) -> None:
        head, blank, rest = bytes(self._scratch[: self._head]).partition(b"\r\n\r\n")
        if not blank:
            if self._head == _HEAD:
                raise RemoteFault(Drop.UNAVAILABLE, "an answer without end of its head")
            return
        check_head(head, length)
        self._head = 0  # the scratch is never left without room
        self._body = Assembly(digest, length)
        self._body.write(rest)


def check_head(head: bytes, length: int) -> None:
    """Whether this head of an answer announces `length` plain bytes.

    Raises:
        RemoteFault: UNAVAILABLE (no HTTP, or another status), ENCODING or LENGTH.
    """
    status_line, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(status_line)
    matches = [_FIELD.fullmatch(line) for line in lines]
    if status is None or None in matches:
        raise RemoteFault(Drop.UNAVAILABLE, "no answer in HTTP/1.1")
    if status[1] != b"200":
        raise RemoteFault(Drop.UNAVAILABLE, f"status {int(status[1])}")
    fields = [(match[1].lower(), match[2]) for match in matches if match is not None]
    names = [name for name, _ in fields]
    if b"content-encoding" in names:
        raise RemoteFault(Drop.ENCODING, "a blob is never compressed")
    lengths = [value for name, value in fields if name == b"content-length"]
    if b"transfer-encoding" in names or lengths != [b"%d" % length]:
        raise RemoteFault(Drop.LENGTH, f"not {length} bytes are offered")


class BlobStreams:
    """Open connections to holders, by address; each is used by one request at a time and kept for the next."""

    def __init__(self, limits: Limits, executor: Executor, outward: Outward) -> None:
        """Nothing is connected.

        Args:
            limits: `connect` and `idle*` are used.
            executor: hashes.
            outward: says whether a new connection may be opened, and remembers what became of it.
        """
        self._limits = limits
        self._executor = executor
        self._outward = outward
        self._idle: OrderedDict[BlobStream, tuple[str, asyncio.TimerHandle]] = OrderedDict()
        self._busy: set[BlobStream] = set()
        self._closed = False

    async def get(self, location: str, target: str, fields: str, digest: bytes, length: int) -> memoryview:
        """Get a blob from "host:port", over an idle connection if there is one.

        Args:
            location: "host:port" of the holder.
            target: path of the blob.
            fields: header fields to send, each ended by a line end.
            digest: its SHA-256.
            length: its bytes.

        Raises:
            RemoteFault: see `BlobStream.get`.
            OSError: nobody listens there.
        """
        request = f"GET {target} HTTP/1.1\r\nHost: {location}\r\n{fields}\r\n".encode("ascii")
        while True:
            stream = self._take(location)
            kept = stream is not None
            if stream is None:
                stream = await self._dial(location)
            self._busy.add(stream)
            try:
                blob = await stream.get(request, digest, length, self._executor)
            except RemoteFault:
                if kept and not stream.answered and not self._closed:
                    continue  # it had been closed as idle meanwhile
                if not stream.answered:
                    self._outward.failed(location)
                raise
            finally:
                self._busy.discard(stream)
            self._outward.answered(location)
            self._keep(location, stream)
            return blob

    def forget(self, location: str) -> None:
        """Close what is idle to this address."""
        for stream, (where, _) in list(self._idle.items()):
            if where == location:
                self._drop(stream)

    def close(self) -> None:
        """Close all; what is being got fails."""
        self._closed = True
        for stream in list(self._idle):
            self._drop(stream)
        for stream in list(self._busy):
            stream.close()

    def _keep(self, location: str, stream: BlobStream) -> None:
        """Keep it for the next blob; the oldest to this location, or of all, may have to go for it."""
        if self._closed:
            stream.close()
            return
        here = [kept for kept, (where, _) in self._idle.items() if where == location]
        if len(here) >= self._limits.idle_streams_each:
            self._drop(here[0])
        elif len(self._idle) >= self._limits.idle_streams:
            self._drop(next(iter(self._idle)))
        timer = asyncio.get_running_loop().call_later(self._limits.idle, self._drop, stream)
        self._idle[stream] = location, timer

    def _drop(self, stream: BlobStream) -> None:
        _, timer = self._idle.pop(stream)
        timer.cancel()
        stream.close()

    def _take(self, location: str) -> BlobStream | None:
        """The idle stream to this location that was used last."""
        for stream, (where, timer) in reversed(list(self._idle.items())):
            if where == location:
                del self._idle[stream]
                timer.cancel()
                if stream.open:
                    return stream
        return None

    async def _dial(self, location: str) -> BlobStream:
        await self._outward.turn(location)
        address = Address.parse(location)
        try:
            async with asyncio.timeout(self._limits.connect):
                _, stream = await asyncio.get_running_loop().create_connection(BlobStream, address.host, address.port)
        except TimeoutError:
            self._outward.failed(location)
            raise RemoteFault(Drop.UNREACHABLE, f"nobody answers at {location}") from None
        except OSError:
            self._outward.failed(location)
            raise
        return stream
