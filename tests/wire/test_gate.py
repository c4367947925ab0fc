"""Sockets of people who may say nothing: so many and no more, each with a time to ask, and those who ask get in."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from transport_rig import LIMITS, Recorder

from gossip.protocol.errors import Drop
from gossip.protocol.limits import Limits
from gossip.transport.executors import InlineExecutor
from gossip.transport.files import allowed_files, raise_limit, scarce
from gossip.transport.gate import Gate
from gossip.transport.http import HttpTransport
from gossip.transport.listener import SESSION
from identity.keys import SigningKey

ALICE, BOB = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)
FEW = replace(LIMITS, sockets=12, sockets_known=4)
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def node(stack: AsyncExitStack, key: SigningKey, limits: Limits = LIMITS) -> Recorder:
    transport = HttpTransport(key.peer, InlineExecutor(), limits=limits)
    recorder = Recorder(key, transport)
    await transport.start(recorder)
    stack.push_async_callback(transport.close)
    return recorder


async def opened(stack: AsyncExitStack, address: str) -> Opened:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    stack.callback(writer.close)
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side hangs up."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 10)
    return b""


def inside(one: Recorder) -> int:
    gate = one.transport._listener._gate
    assert gate is not None
    return len(gate)


async def test_silent_sockets_are_never_more_than_there_are_places_and_whoever_asks_gets_in(
    stack: AsyncExitStack,
) -> None:
    one, other = await node(stack, ALICE, FEW), await node(stack, BOB)
    one.strangers = {BOB.peer}
    sockets = []
    for _ in range(100):
        sockets.append(await opened(stack, one.transport.address))
        assert inside(one) <= FEW.sockets - FEW.sockets_known
    await other.transport.dial(one.transport.address)
    sockets += [await opened(stack, one.transport.address) for _ in range(20)]
    blob = b"blob"
    one.blobs[hashlib.sha256(blob).digest()] = blob
    assert await other.transport.fetch(ALICE.peer, hashlib.sha256(blob).digest(), 4) == blob
    assert one.transport.connected() == (BOB.peer,)
    first = [await ended(reader) for reader, _ in sockets[: 100 - FEW.sockets]]
    assert first == [b""] * len(first)
    counted = [one.drops.get_nowait() for _ in range(one.drops.qsize())]
    assert set(counted) == {Drop.CONNECTIONS}
    assert len(counted) >= len(first)


async def test_a_known_peers_address_has_places_that_strangers_do_not(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE, FEW), await node(stack, BOB)
    await other.transport.dial(one.transport.address)
    await asyncio.wait_for(one.joins.get(), 10)
    for _ in range(30):
        await opened(stack, one.transport.address)
    await asyncio.wait_for(one.drops.get(), 10)
    assert inside(one) == FEW.sockets


async def test_every_answer_but_a_blob_ends_its_socket(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE)
    for path in (b"/x", b"/v1/gossip", b"/v1/blob/" + b"0" * 64):
        reader, writer = await opened(stack, one.transport.address)
        writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await ended(reader)).startswith(b"HTTP/1.1 4")
    assert inside(one) == 0


async def test_a_next_request_that_drips_is_cut_and_one_that_comes_is_answered(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE, replace(LIMITS, heartbeat=0.3)), await node(stack, BOB)
    blob = b"blob"
    digest = hashlib.sha256(blob).digest()
    one.blobs[digest] = blob
    await other.transport.dial(one.transport.address)
    party = await asyncio.wait_for(one.joins.get(), 10)
    request = f"GET /v1/blob/{digest.hex()} HTTP/1.1\r\nHost: a\r\n{SESSION}: {party.session.hex()}\r\n\r\n".encode()
    reader, writer = await opened(stack, one.transport.address)
    for _ in range(2):
        writer.write(request)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\nblob"), 10)
    writer.write(request[:-2])  # and never the end

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"X")
                await asyncio.sleep(0.02)

    dripping = asyncio.ensure_future(drip())
    assert await ended(reader) == b""
    assert await asyncio.wait_for(one.drops.get(), 10) is Drop.TIMEOUT
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)


class Line(asyncio.Transport):
    """A connected socket from some address, as a gate sees it."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})
        self.cut = False

    def abort(self) -> None:
        self.cut = True


def comes(gate: Gate, address: str) -> bool:
    line = Line(address)
    gate.enter().connection_made(line)
    return not line.cut


async def test_one_public_network_has_a_few_of_the_sockets_and_a_rate_of_new_ones() -> None:
    gate = Gate(asyncio.Protocol, Limits(origin_sockets=16, origin_rate=20.0))
    assert [comes(gate, f"8.8.8.{n}") for n in range(20)] == [True] * 16 + [False] * 4
    assert comes(gate, "8.8.9.1")
    assert all(comes(gate, "10.0.0.1") for _ in range(40))
    gate.close()
    assert len(gate) == 0
    assert [comes(gate, f"8.8.8.{n}") for n in range(8)] == [True] * 4 + [False] * 4  # of 20 in this second
    gate.close()
    friendly = Gate(asyncio.Protocol, Limits(origin_sockets=1), friend=lambda address: address == "8.8.8.8")
    assert [comes(friendly, "8.8.8.1"), comes(friendly, "8.8.8.2"), comes(friendly, "8.8.8.8")] == [True, False, True]
    friendly.close()


async def test_a_refused_address_has_no_socket_but_where_a_known_peer_is() -> None:
    gate = Gate(asyncio.Protocol, Limits(), friend=lambda address: address == "8.8.8.9")
    for address in ("8.8.8.8", "8.8.8.9", "127.0.0.1"):
        gate.refuse(address, 600.0)
    assert [comes(gate, one) for one in ("8.8.8.8", "8.8.8.7", "8.8.8.9", "127.0.0.1")] == [False, True, True, True]
    gate.refuse("8.8.8.8", 0.0)
    assert comes(gate, "8.8.8.8")
    gate.close()


async def test_the_last_files_are_given_to_no_socket(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, replace(LIMITS, files=allowed_files()))
    reader, _ = await opened(stack, one.transport.address)
    assert await ended(reader) == b""
    assert await asyncio.wait_for(one.drops.get(), 10) is Drop.CONNECTIONS
    assert inside(one) == 0


def test_the_soft_limit_of_files_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 256), before[1]))
        assert scarce(200, 64)
        assert not scarce(191, 64)
        assert raise_limit() == allowed_files() == before[1]
        assert not scarce(200, 64)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
