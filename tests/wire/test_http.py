"""Gossip over HTTP: what a hostile or broken peer can do to a socket, and what it costs us."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from transport_rig import LIMITS, NETWORK, SCHEMA, Recorder

from gossip.protocol.errors import Drop, LocalFault, RemoteFault
from gossip.protocol.handshake import Greeting, Handshake
from gossip.protocol.limits import MIB, Limits
from gossip.transport.executors import InlineExecutor
from gossip.transport.http import SESSION, HttpTransport
from identity.keys import SigningKey

ALICE, BOB = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)
STRANGERS = [SigningKey(bytes([number]) * 32) for number in range(10, 16)]
FRIENDS = [SigningKey(bytes([number]) * 32) for number in range(20, 24)]
QUICK = replace(LIMITS, hello=0.3, connect=0.5, blob=0.3, goodbye=0.3, heartbeat=0.4)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def node(stack: AsyncExitStack, key: SigningKey, limits: Limits = LIMITS, **options: str) -> Recorder:
    transport = HttpTransport(key.peer, InlineExecutor(), limits=limits, **options)
    recorder = Recorder(key, transport)
    await transport.start(recorder)
    stack.push_async_callback(transport.close)
    return recorder


async def soon(queue: asyncio.Queue) -> object:
    return await asyncio.wait_for(queue.get(), 10)


async def raw(address: str, request: bytes, wait: float = 5.0) -> bytes:
    """Send bytes, read to the end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), wait)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_a_port_in_use_is_one_clear_fault(stack: AsyncExitStack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        transport = HttpTransport(BOB.peer, InlineExecutor(), port=port)
        with pytest.raises(LocalFault, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            await transport.start(Recorder(BOB, transport))
        await transport.close()


def test_what_is_advertised_is_what_others_can_reach() -> None:
    assert HttpTransport(BOB.peer, InlineExecutor(), port=7).address == "127.0.0.1:7"
    assert HttpTransport(BOB.peer, InlineExecutor(), host="0.0.0.0", port=7).address == ":7"
    assert HttpTransport(BOB.peer, InlineExecutor(), advertise="me.example:7").address == "me.example:7"


async def test_a_blob_is_fetched_from_a_peer_that_dialled_us_at_the_address_we_see(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE), await node(stack, BOB, host="0.0.0.0")
    blob = b"blob" * 1000
    digest = hashlib.sha256(blob).digest()
    other.blobs[digest] = blob
    await other.transport.dial(one.transport.address)
    await soon(one.joins)
    assert await one.transport.fetch(BOB.peer, digest, len(blob)) == blob


async def test_a_peer_without_an_address_serves_nothing(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE), await node(stack, BOB, advertise="nowhere")
    await other.transport.dial(one.transport.address)
    await soon(one.joins)
    with pytest.raises(RemoteFault) as fault:
        await one.transport.fetch(BOB.peer, bytes(32), 1)
    assert fault.value.reason is Drop.UNREACHABLE


@pytest.mark.parametrize("address", ["nowhere", "http://x:1", "a:b", "user@host:1", "host:1/path", "", "host:123456"])
async def test_what_is_no_address_is_not_dialled(stack: AsyncExitStack, address: str) -> None:
    one = await node(stack, ALICE)
    with pytest.raises(RemoteFault) as fault:
        await one.transport.dial(address)
    assert fault.value.reason is Drop.UNREACHABLE


# requests that nobody honest makes


async def test_twenty_gzip_bombs_are_refused_unread(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE)
    bomb = gzip.compress(bytes(64 * MIB), 9)  # 64 KB that would be 64 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n in range(20):
        verb = b"POST" if n % 2 else b"GET"
        path = (b"/v1/gossip", b"/v1/blob/" + b"0" * 64, b"/elsewhere")[n % 3]
        head = verb + b" " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        try:
            answer = await raw(one.transport.address, head % len(bomb) + bomb)
        except ConnectionError:
            answer = b"HTTP/1.1 415"  # it hung up before we had sent it all
        assert answer.startswith(b"HTTP/1.1 415")
        assert await soon(one.drops) is Drop.ENCODING
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 8 * MIB


async def test_a_body_is_refused_and_only_get_is_served(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE)
    body = b"GET /v1/gossip HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    assert (await raw(one.transport.address, body)).startswith(b"HTTP/1.1 413")
    assert await soon(one.drops) is Drop.OVERSIZE
    for request, status in (
        (b"POST /v1/gossip", b"405"),
        (b"PUT /v1/blob/" + b"0" * 64, b"405"),
        (b"GET /v1/blob/xyz", b"404"),
        (b"GET /v1/gossip", b"400"),
    ):
        answer = await raw(one.transport.address, request + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.split(b" ")[1] == status, request


async def test_a_web_page_in_a_browser_is_refused(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"http://{one.transport.address}/v1/gossip", origin="https://elsewhere.example")
    assert refused.value.status == 403
    assert await soon(one.drops) is Drop.REFUSED


async def test_blobs_are_for_joined_peers_only_and_a_few_at_a_time(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE, replace(LIMITS, streams=0)), await node(stack, BOB)
    blob = b"x"
    digest = hashlib.sha256(blob).digest()
    one.blobs[digest] = blob
    async with aiohttp.ClientSession() as http:
        url = f"http://{one.transport.address}/v1/blob/{digest.hex()}"
        for headers in ({}, {SESSION: "00" * 32}):
            async with http.get(url, headers=headers) as answer:
                assert answer.status == 403
                assert await soon(one.drops) is Drop.STRANGER
    await other.transport.dial(one.transport.address)
    with pytest.raises(RemoteFault) as fault:
        await other.transport.fetch(ALICE.peer, digest, 1)
    assert fault.value.reason is Drop.UNAVAILABLE
    assert await soon(one.drops) is Drop.CONNECTIONS


async def test_sockets_that_say_nothing_are_closed(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, QUICK)
    assert await raw(one.transport.address, b"GET /v1/goss", wait=5.0) == b""
    assert await soon(one.drops) is Drop.TIMEOUT


async def test_inbound_connections_are_capped(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE, replace(LIMITS, inbound=0)), await node(stack, BOB)
    with pytest.raises(RemoteFault) as fault:
        await other.transport.dial(one.transport.address)
    assert fault.value.reason is Drop.REFUSED
    assert await soon(one.drops) is Drop.CONNECTIONS
    assert one.joins.empty()
    full = await node(stack, SigningKey(bytes([3]) * 32), replace(LIMITS, connections=0))
    with pytest.raises(RemoteFault) as capped:
        await full.transport.dial(one.transport.address)
    assert capped.value.reason is Drop.CONNECTIONS


async def test_a_known_peer_takes_a_strangers_place_and_a_stranger_nobodys(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, replace(LIMITS, inbound=6, inbound_known=2))
    one.strangers = {key.peer for key in STRANGERS}
    crowd = [await node(stack, key) for key in STRANGERS]
    for stranger in crowd[:4]:
        await stranger.transport.dial(one.transport.address)
    for stranger in crowd[4:]:
        with pytest.raises(RemoteFault) as fault:
            await stranger.transport.dial(one.transport.address)
        assert fault.value.reason is Drop.REFUSED
    friends = [await node(stack, key) for key in FRIENDS]
    for friend in friends:
        await friend.transport.dial(one.transport.address)
    left = [await soon(one.lefts) for _ in range(2)]  # the two that came last
    assert [peer for peer, _ in left] == [crowd[3].key.peer, crowd[2].key.peer]
    assert one.transport.connected() == tuple(sorted(each.key.peer for each in [*crowd[:2], *friends]))
    with pytest.raises(RemoteFault):
        await crowd[5].transport.dial(one.transport.address)
    assert len(one.transport.connected()) == 6


async def test_half_open_handshakes_keep_nobody_out(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE, replace(LIMITS, handshakes=3)), await node(stack, BOB)
    async with AsyncExitStack() as held:
        silent = [await held.enter_async_context(web_socket(one)) for _ in range(8)]
        await other.transport.dial(one.transport.address)
        assert (await soon(one.joins)).peer == BOB.peer
        ended = [await silent[n].receive() for n in range(5)]
        assert {message.type for message in ended} <= {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE}


async def test_inbound_links_leave_places_for_those_that_we_dial(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, replace(LIMITS, connections=4, inbound=3))
    crowd = [await node(stack, key) for key in STRANGERS[:4]]
    for stranger in crowd[:3]:
        await stranger.transport.dial(one.transport.address)
        await soon(one.joins)
    assert await one.transport.dial(crowd[3].transport.address) == crowd[3].key.peer
    other = await node(stack, BOB)
    with pytest.raises(RemoteFault) as fault:
        await one.transport.dial(other.transport.address)
    assert fault.value.reason is Drop.CONNECTIONS


# handshakes that go wrong


@asynccontextmanager
async def web_socket(one: Recorder) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"http://{one.transport.address}/v1/gossip", max_msg_size=0) as peer,
    ):
        yield peer


async def shake(peer: aiohttp.ClientWebSocketResponse, address: str = "", key: SigningKey = BOB) -> Handshake:
    machine = Handshake(key, Greeting(NETWORK, SCHEMA, address, 0, 0), bytes([9]) * 32, dialled=True)
    first = machine.first()
    assert first is not None
    await peer.send_bytes(first)
    answer = machine.receive(await peer.receive_bytes())
    assert answer is not None
    await peer.send_bytes(answer)
    return machine


async def test_a_silent_garbled_or_hasty_handshake_is_refused(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, QUICK)
    async with web_socket(one) as peer:  # says nothing
        assert await soon(one.drops) is Drop.TIMEOUT
        assert (await peer.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
    async with web_socket(one) as peer:
        await peer.send_bytes(b"garbage")
        assert await soon(one.drops) is Drop.BAD_SIGNATURE
    async with web_socket(one) as peer:
        await peer.send_str("hello")
        assert await soon(one.drops) is Drop.MALFORMED
    async with web_socket(one) as peer:
        await peer.close()
        assert await soon(one.drops) is Drop.REFUSED
    assert one.joins.empty()


async def test_oversize_and_text_messages_end_the_connection(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, QUICK)
    for send, reason in (
        (lambda peer: peer.send_bytes(bytes(QUICK.frame + 1)), Drop.OVERSIZE),
        (lambda peer: peer.send_bytes(bytes(8 * MIB)), Drop.OVERSIZE),
        (lambda peer: peer.send_str("text"), Drop.MALFORMED),
    ):
        async with web_socket(one) as peer:
            await shake(peer)
            await soon(one.joins)
            with contextlib.suppress(ConnectionError):  # it hangs up while we still send
                await send(peer)
            assert await soon(one.drops) is reason
            left = await soon(one.lefts)
            assert isinstance(left, tuple)
            assert left[0] == BOB.peer
    assert one.frames.empty()


# peers that serve badly


@asynccontextmanager
async def bad_holder(
    one: Recorder, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[None]:
    """Bob is connected to `one`, and his blobs are served by `serve`."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with web_socket(one) as peer:
        await shake(peer, f"127.0.0.1:{port}")
        await soon(one.joins)
        yield
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_nobody_makes_us_dial_somebody_else_again_and_again(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE)
    dialled = 0

    async def third(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        writer.close()

    server = await asyncio.start_server(third, "127.0.0.9", 0)
    port = server.sockets[0].getsockname()[1]
    for key in STRANGERS:
        async with web_socket(one) as peer:
            await shake(peer, f"127.0.0.9:{port}", key)
            await soon(one.joins)
            for _ in range(20):
                with pytest.raises(RemoteFault):
                    await one.transport.fetch(key.peer, bytes(32), 1)
    await one.transport.close()
    server.close()
    assert dialled <= 2  # once, and once more after a while


async def test_a_peer_that_listens_elsewhere_than_it_dials_from_is_found_there(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE, replace(LIMITS, retry_first=0.0)), await node(stack, BOB, host="127.0.0.2")
    blob = b"blob"
    digest = hashlib.sha256(blob).digest()
    other.blobs[digest] = blob
    await other.transport.dial(one.transport.address)
    assert (await soon(one.joins)).seen == "127.0.0.1"
    assert await soon(other.drops) is Drop.REFUSED  # who dialled back had heard enough
    for _ in range(100):
        with contextlib.suppress(RemoteFault):
            assert await one.transport.fetch(BOB.peer, digest, 4) == blob
            break
        await asyncio.sleep(0)
    else:
        pytest.fail("it was never asked where it listens")
    assert one.transport.connected() == (BOB.peer,)
    assert other.lefts.empty()


async def test_a_link_that_is_replaced_takes_its_idle_connections_along(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE)
    blob = b"right"
    served: list[asyncio.StreamReader] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(reader)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + blob)
        writer.close()
        ended.set()

    async with AsyncExitStack() as links:
        for turn in range(5):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            stack.callback(server.close)
            peer = await links.enter_async_context(web_socket(one))
            await shake(peer, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await soon(one.joins)
            if turn:
                await asyncio.wait_for(ended.wait(), 10)
                ended.clear()
            assert await one.transport.fetch(BOB.peer, hashlib.sha256(blob).digest(), 5) == blob
            assert len(one.transport._streams._idle) == 1
    assert len(served) == 5


def answering(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return serve


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nright", Drop.ENCODING),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nright!", Drop.LENGTH),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n", Drop.LENGTH),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", Drop.DIGEST),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nrig", Drop.UNAVAILABLE),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", Drop.UNAVAILABLE),
        (b"SMTP ready\r\n\r\n", Drop.UNAVAILABLE),
        (b"", Drop.UNAVAILABLE),
    ],
)
async def test_a_bad_answer_is_the_holders_fault(stack: AsyncExitStack, answer: bytes, reason: Drop) -> None:
    one = await node(stack, ALICE, QUICK)
    async with bad_holder(one, answering(answer)):
        with pytest.raises(RemoteFault) as fault:
            await one.transport.fetch(BOB.peer, hashlib.sha256(b"right").digest(), 5)
        assert fault.value.reason is reason


async def test_a_body_that_drips_meets_its_deadline(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, QUICK)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with bad_holder(one, drip):
        began = asyncio.get_running_loop().time()
        with pytest.raises(RemoteFault) as fault:
            await one.transport.fetch(BOB.peer, bytes(32), 1000)
        assert fault.value.reason is Drop.TIMEOUT
        assert asyncio.get_running_loop().time() - began < QUICK.blob_seconds(1000) + 2


async def test_a_redirect_of_the_connection_is_not_followed(stack: AsyncExitStack) -> None:
    one, other = await node(stack, ALICE), await node(stack, BOB)
    location = f"http://{other.transport.address}/v1/gossip"
    answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(RemoteFault) as fault:
        await one.transport.dial(f"127.0.0.1:{port}")
    assert fault.value.reason is Drop.UNREACHABLE
    assert other.joins.empty()
    server.close()


async def test_a_listener_that_never_answers_is_a_timeout(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, replace(QUICK, connect=0.1, hello=0.1))
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: held.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(RemoteFault) as fault:
        await one.transport.dial(f"127.0.0.1:{port}")
    assert fault.value.reason is Drop.TIMEOUT
    for writer in held:
        writer.close()
    server.close()


async def test_a_reader_of_blobs_that_stops_reading_is_cut_off(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, replace(QUICK, blob_rate=1e9))
    blob = bytes(16 * MIB)
    digest = hashlib.sha256(blob).digest()
    one.blobs[digest] = blob
    async with web_socket(one) as peer:
        machine = await shake(peer)
        party = machine.party
        assert party is not None
        await soon(one.joins)
        host, _, port = one.transport.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        ticket = f"{SESSION}: {party.session.hex()}\r\n"
        writer.write(f"GET /v1/blob/{digest.hex()} HTTP/1.1\r\nHost: x\r\n{ticket}\r\n".encode())
        assert await soon(one.drops) is Drop.TIMEOUT
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_a_dead_peer_is_noticed_by_the_heartbeat_and_never_blocks_a_sender(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE, QUICK)
    async with aiohttp.ClientSession() as http:
        url = f"http://{one.transport.address}/v1/gossip"
        peer = await http.ws_connect(url, autoping=False)
        await shake(peer)
        await soon(one.joins)
        began = asyncio.get_running_loop().time()
        for n in range(5000):  # nobody reads them
            one.transport.send(BOB.peer, bytes(QUICK.frame) + b"" if n else b"x")
        assert asyncio.get_running_loop().time() - began < 5
        left = await soon(one.lefts)
        assert isinstance(left, tuple)
        assert left[0] == BOB.peer
        assert one.transport.connected() == ()
        await peer.close()


async def test_a_later_connection_from_the_same_dialler_replaces_a_half_open_one(stack: AsyncExitStack) -> None:
    one = await node(stack, ALICE)
    async with web_socket(one) as old:
        await shake(old)
        await soon(one.joins)
        async with web_socket(one) as new:
            await shake(new)
            await soon(one.joins)
            await new.send_bytes(b"frame")
            assert await soon(one.frames) == (BOB.peer, b"frame")
            assert one.transport.connected() == (BOB.peer,)
            assert one.lefts.empty()


async def test_closing_twice_or_before_starting_is_quiet(stack: AsyncExitStack) -> None:
    transport = HttpTransport(ALICE.peer, InlineExecutor())
    assert not transport.send(BOB.peer, b"x")
    with pytest.raises(RemoteFault):
        await transport.dial("127.0.0.1:1")
    with pytest.raises(RemoteFault):
        await transport.fetch(BOB.peer, bytes(32), 1)
    await transport.drop(BOB.peer, "not there")
    await transport.close()
    await transport.close()
    assert json.dumps(transport.connected()) == "[]"
