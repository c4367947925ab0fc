"""Blobs over kept connections: what a holder may answer, byte by byte, on every event loop that is installed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import MIB, Limits
from gossip.transport.outward import Outward
from gossip.transport.stream import BlobStreams, check_head

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
if importlib.util.find_spec("uvloop"):
    LOOPS.append(__import__("uvloop").new_event_loop)

LIMITS = Limits(connect=2.0, retry_first=0.0)
BLOB = bytes(range(256)) * (5 * MIB // 256) + b"odd"
DIGEST = hashlib.sha256(BLOB).digest()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
Serve = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


class Holder:
    """Answers each request by `serve(writer, number of the request on this connection)`."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.requests: list[bytes] = []
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                number += 1
                await self.serve(writer, number)
        writer.close()


@contextlib.asynccontextmanager
async def holding(serve: Serve) -> AsyncIterator[tuple[Holder, Callable[..., Awaitable[memoryview]], BlobStreams]]:
    holder = Holder(serve)
    server = await asyncio.start_server(holder.handle, "127.0.0.1", 0)
    location = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with ThreadPoolExecutor(2) as pool:
        streams = BlobStreams(LIMITS, pool, Outward(LIMITS))

        async def get(digest: bytes = DIGEST, length: int = len(BLOB)) -> memoryview:
            return await asyncio.wait_for(streams.get(location, "/blob", "X: y\r\n", digest, length), 10)

        yield holder, get, streams
        streams.close()
        server.close()
        await asyncio.sleep(0.02)


async def whole(writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(OK % len(BLOB) + BLOB)
    await writer.drain()


@pytest.fixture(params=LOOPS, ids=lambda make: make.__module__.partition(".")[0])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    def on_this_loop(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(work)

    return on_this_loop


def test_one_connection_serves_one_blob_after_the_other_and_several_at_once(run: Callable[..., None]) -> None:
    async def work() -> None:
        async with holding(whole) as (holder, get, _):
            for _ in range(3):
                blob = await get()
                assert blob == BLOB
                assert blob.readonly
            assert holder.connections == 1
            assert holder.requests[0].startswith(b"GET /blob HTTP/1.1\r\nHost: 127.0.0.1:")
            assert holder.requests[0].endswith(b"\r\nX: y\r\n\r\n")
            assert await asyncio.gather(*(get() for _ in range(4))) == [BLOB] * 4
            assert holder.connections == 4

    run(work())


def test_a_kept_connection_that_has_been_closed_is_replaced(run: Callable[..., None]) -> None:
    async def once(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            await whole(writer, number)
        else:
            writer.close()  # as if it had been idle for too long when the request was on its way

    async def work() -> None:
        async with holding(once) as (holder, get, streams):
            assert await get() == await get() == BLOB
            assert holder.connections == 2
            for location in list(streams._idle):
                streams.forget(location)
            assert await get() == BLOB
            assert holder.connections == 3

    run(work())


def test_an_answer_may_come_in_the_smallest_pieces(run: Callable[..., None]) -> None:
    async def drop_by_drop(writer: asyncio.StreamWriter, number: int) -> None:
        for byte in OK % 40 + bytes(40):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async def work() -> None:
        async with holding(drop_by_drop) as (_, get, _):
            assert await get(hashlib.sha256(bytes(40)).digest(), 40) == bytes(40)
            assert await get(hashlib.sha256(bytes(40)).digest(), 40) == bytes(40)

    run(work())


def test_a_byte_more_than_was_asked_for_ends_the_connection(run: Callable[..., None]) -> None:
    async def more(writer: asyncio.StreamWriter, number: int) -> None:
        await whole(writer, number)
        writer.write(b"more")
        await writer.drain()

    async def work() -> None:
        async with holding(more) as (holder, get, _):
            assert await get() == BLOB
            await asyncio.sleep(0.05)
            assert await get() == BLOB
            assert holder.connections == 2

    run(work())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK % len(BLOB) + BLOB[:-1] + b"x", Drop.DIGEST),
        (OK % len(BLOB) + BLOB[:-1], Drop.UNAVAILABLE),
        (OK % (len(BLOB) + 1) + BLOB, Drop.LENGTH),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, Drop.UNAVAILABLE),
        (b"HTTP/1.1 200 OK\r\n", Drop.UNAVAILABLE),
        (b"", Drop.UNAVAILABLE),
    ],
)
def test_a_bad_answer_ends_the_connection(run: Callable[..., None], answer: bytes, reason: Drop) -> None:
    async def bad(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def work() -> None:
        async with holding(bad) as (_, get, streams):
            with pytest.raises(RemoteFault) as fault:
                await get()
            assert fault.value.reason is reason
            assert not streams._idle
            assert not streams._busy

    run(work())


def test_a_few_connections_to_one_holder_are_kept_and_not_for_long(run: Callable[..., None]) -> None:
    small = b"blob"

    async def work() -> None:
        open_now, gone = set[asyncio.StreamWriter](), asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_now.add(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(OK % len(small) + small)
            writer.close()
            open_now.discard(writer)
            if not open_now:
                gone.set()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        digest = hashlib.sha256(small).digest()
        limits = Limits(idle_streams_each=2, idle_streams=3, idle=1.0)
        with ThreadPoolExecutor(1) as pool:
            streams = BlobStreams(limits, pool, Outward(limits))
            for host, kept in (("127.0.0.1", 2), ("localhost", 3)):
                got = [streams.get(f"{host}:{port}", "/blob", "", digest, 4) for _ in range(6)]
                assert [bytes(one) for one in await asyncio.gather(*got)] == [small] * 6
                assert len(streams._idle) == kept
            await asyncio.wait_for(gone.wait(), 10)  # nobody asks: none stays
            assert not streams._idle
            streams.close()
        server.close()

    run(work())


def test_giving_up_ends_the_connection(run: Callable[..., None]) -> None:
    async def silent(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(OK % len(BLOB) + BLOB[:1000])

    async def work() -> None:
        async with holding(silent) as (_, get, streams):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await get()
            assert not streams._idle
            assert not streams._busy

    run(work())


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", None),
        (b"HTTP/1.1 200\r\ncontent-length:\t5 \r\nX:", None),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5", Drop.UNAVAILABLE),
        (b"HTTP/1.1 20 OK\r\nContent-Length: 5", Drop.UNAVAILABLE),
        (b"HTTP/1.1 206 Part\r\nContent-Length: 5", Drop.UNAVAILABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nno field", Drop.UNAVAILABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n folded: x", Drop.UNAVAILABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 5", Drop.UNAVAILABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 05", Drop.LENGTH),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +5", Drop.LENGTH),
        (b"HTTP/1.1 200 OK", Drop.LENGTH),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", Drop.LENGTH),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", Drop.LENGTH),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: identity", Drop.ENCODING),
    ],
)
def test_heads_of_answers(head: bytes, reason: Drop | None) -> None:
    if reason is None:
        check_head(head, 5)
        return
    with pytest.raises(RemoteFault) as fault:
        check_head(head, 5)
    assert fault.value.reason is reason
