"""The promises of `gossip.transport.contract`, held to every transport in the table `TRANSPORTS`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from transport_rig import LIMITS, NETWORK, Recorder

from gossip.protocol.errors import Drop, LocalFault, RemoteFault
from gossip.protocol.handshake import Party
from gossip.protocol.limits import KIB, MIB, Limits
from gossip.transport.contract import Transport
from gossip.transport.executors import InlineExecutor
from gossip.transport.http import HttpTransport
from identity.keys import SigningKey, format_peer
from simulator.world.medium import Weather
from simulator.world.network import MemoryNetwork
from simulator.world.transport import MemoryTransport

MakeTransport = Callable[[SigningKey, Limits], Transport]
"""One transport of a network of its own; keys of a pair are made by the test."""

TRANSPORTS: dict[str, Callable[[], MakeTransport]] = {}
"""Name -> makes a network; the network makes a transport for each key. Append to it from a module of your own."""


def http_network() -> MakeTransport:
    return lambda key, limits: HttpTransport(key.peer, InlineExecutor(), limits=limits)


TRANSPORTS["http"] = http_network


def memory_network() -> MakeTransport:
    network = MemoryNetwork(weather=Weather(latency=0.001))
    return lambda key, limits: MemoryTransport(network, key.peer, format_peer(key.peer), limits)


TRANSPORTS["memory"] = memory_network


class Net:
    """Nodes of one network, closed at the end of the test."""

    def __init__(self, make: MakeTransport, stack: AsyncExitStack) -> None:
        self._make = make
        self._stack = stack
        self._made = 0

    async def node(self, limits: Limits = LIMITS, network: bytes = NETWORK) -> Recorder:
        self._made += 1
        key = SigningKey(bytes([self._made]) * 32)
        transport = self._make(key, limits)
        recorder = Recorder(key, transport, network)
        await transport.start(recorder)
        self._stack.push_async_callback(transport.close)
        return recorder


@pytest.fixture(params=sorted(TRANSPORTS))
async def net(request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    async with AsyncExitStack() as stack:
        yield Net(TRANSPORTS[request.param](), stack)


async def soon(queue: asyncio.Queue) -> object:
    return await asyncio.wait_for(queue.get(), 10)


async def pair(net: Net, limits: Limits = LIMITS) -> tuple[Recorder, Recorder]:
    one, other = await net.node(limits), await net.node(limits)
    assert await one.transport.dial(other.transport.address) == other.key.peer
    await soon(one.joins)
    await soon(other.joins)
    return one, other


async def test_both_sides_join_with_what_the_other_said(net: Net) -> None:
    one, other = await net.node(), await net.node()
    await one.transport.dial(other.transport.address, other.key.peer)
    seen, met = await soon(one.joins), await soon(other.joins)
    assert isinstance(seen, Party)
    assert isinstance(met, Party)
    assert (seen.peer, met.peer) == (other.key.peer, one.key.peer)
    assert seen.session == met.session
    assert seen.seen
    assert met.seen
    assert seen.seen in other.transport.address  # where it is, whatever it says
    assert met.seen in one.transport.address
    assert (met.hello.sequence, met.hello.round, met.hello.address) == (3, 7, one.transport.address)
    assert one.transport.connected() == (other.key.peer,)
    assert other.transport.connected() == (one.key.peer,)


async def test_frames_arrive_in_order_both_ways(net: Net) -> None:
    one, other = await pair(net)
    for number in range(50):
        assert one.transport.send(other.key.peer, b"to %d" % number)
        assert other.transport.send(one.key.peer, b"fro %d" % number)
    assert [await soon(other.frames) for _ in range(50)] == [(one.key.peer, b"to %d" % n) for n in range(50)]
    assert [await soon(one.frames) for _ in range(50)] == [(other.key.peer, b"fro %d" % n) for n in range(50)]


async def test_a_frame_to_a_stranger_is_not_queued(net: Net) -> None:
    one = await net.node()
    assert not one.transport.send(SigningKey(bytes(32)).peer, b"hello")


async def test_a_frame_at_the_limit_passes_and_a_longer_one_is_our_own_fault(net: Net) -> None:
    one, other = await pair(net)
    one.transport.send(other.key.peer, bytes(LIMITS.frame))
    assert await soon(other.frames) == (one.key.peer, bytes(LIMITS.frame))
    with pytest.raises(LocalFault):
        one.transport.send(other.key.peer, bytes(LIMITS.frame + 1))


async def test_a_newer_frame_takes_the_older_ones_place(net: Net) -> None:
    one, other = await pair(net)
    one.transport.send(other.key.peer, b"old", replaces=b"k")
    one.transport.send(other.key.peer, b"between")
    one.transport.send(other.key.peer, b"new", replaces=b"k")
    got = [await soon(other.frames) for _ in range(2)]
    assert got == [(one.key.peer, b"new"), (one.key.peer, b"between")]


async def test_a_full_queue_loses_its_oldest_frame_and_says_so(net: Net) -> None:
    one, other = await pair(net, replace(LIMITS, queue=4))
    for number in range(6):
        one.transport.send(other.key.peer, b"%d" % number)
    assert [await soon(one.drops) for _ in range(2)] == [Drop.QUEUE_FULL] * 2
    assert [await soon(other.frames) for _ in range(4)] == [(one.key.peer, b"%d" % n) for n in (2, 3, 4, 5)]


@pytest.mark.parametrize("length", [0, 1, 70_000, 4 * MIB + 3])
async def test_a_blob_is_fetched_by_its_digest(net: Net, length: int) -> None:
    one, other = await pair(net)
    blob = (b"hedgerow" * (length // 8 + 1))[:length]
    digest = hashlib.sha256(blob).digest()
    other.blobs[digest] = blob
    one.blobs[digest] = blob
    fetched = await one.transport.fetch(other.key.peer, digest, length)
    assert fetched.readonly
    assert fetched == blob
    assert await other.transport.fetch(one.key.peer, digest, length) == blob


async def test_a_blob_that_is_not_there_or_not_those_bytes_is_the_holders_fault(net: Net) -> None:
    one, other = await pair(net)
    digest = hashlib.sha256(b"right").digest()
    with pytest.raises(RemoteFault) as missing:
        await one.transport.fetch(other.key.peer, digest, 5)
    assert missing.value.reason is Drop.UNAVAILABLE
    other.blobs[digest] = b"wrong"
    with pytest.raises(RemoteFault) as wrong:
        await one.transport.fetch(other.key.peer, digest, 5)
    assert wrong.value.reason is Drop.DIGEST
    other.blobs[digest] = b"right and more"
    with pytest.raises(RemoteFault) as longer:
        await one.transport.fetch(other.key.peer, digest, 5)
    assert longer.value.reason is Drop.LENGTH
    with pytest.raises(RemoteFault) as stranger:
        await one.transport.fetch(SigningKey(bytes(32)).peer, digest, 5)
    assert stranger.value.reason is Drop.UNAVAILABLE


async def test_many_blobs_at_once_all_arrive(net: Net) -> None:
    one, other = await pair(net, replace(LIMITS, streams=16))
    blobs = {hashlib.sha256(bytes([n]) * 100_000).digest(): bytes([n]) * 100_000 for n in range(8)}
    other.blobs.update(blobs)
    got = await asyncio.gather(*(one.transport.fetch(other.key.peer, d, 100_000) for d in blobs))
    assert [bytes(one) for one in got] == list(blobs.values())


async def test_two_that_dial_each_other_keep_one_connection(net: Net) -> None:
    one, other = await net.node(), await net.node()
    await asyncio.gather(one.transport.dial(other.transport.address), other.transport.dial(one.transport.address))
    await asyncio.sleep(0.1)
    assert one.transport.connected() == (other.key.peer,)
    assert other.transport.connected() == (one.key.peer,)
    one.transport.send(other.key.peer, b"still there")
    other.transport.send(one.key.peer, b"me too")
    assert await soon(other.frames) == (one.key.peer, b"still there")
    assert await soon(one.frames) == (other.key.peer, b"me too")


async def test_a_redial_takes_the_place_of_the_old_connection(net: Net) -> None:
    one, other = await pair(net)
    assert await one.transport.dial(other.transport.address) == other.key.peer
    await asyncio.sleep(0.05)
    assert one.transport.connected() == (other.key.peer,)
    one.transport.send(other.key.peer, b"new")
    assert await soon(other.frames) == (one.key.peer, b"new")
    assert one.lefts.empty()
    assert other.lefts.empty()


async def test_an_unexpected_peer_a_foreign_network_and_ourselves_are_refused(net: Net) -> None:
    one, other, foreign = await net.node(), await net.node(), await net.node(network=bytes(32))
    with pytest.raises(RemoteFault) as unexpected:
        await one.transport.dial(other.transport.address, SigningKey(bytes(32)).peer)
    assert unexpected.value.reason is Drop.UNEXPECTED_PEER
    with pytest.raises(RemoteFault):
        await one.transport.dial(foreign.transport.address)
    assert await soon(foreign.drops) is Drop.WRONG_NETWORK
    with pytest.raises(RemoteFault):
        await one.transport.dial(one.transport.address)
    other.allow = frozenset()
    with pytest.raises(RemoteFault):
        await one.transport.dial(other.transport.address)
    for node in (one, other, foreign):
        assert node.transport.connected() == ()
        assert node.joins.empty()


async def test_nobody_at_an_address_is_unreachable(net: Net) -> None:
    one, other = await net.node(), await net.node()
    address = other.transport.address
    await other.transport.close()
    with pytest.raises(RemoteFault) as nobody:
        await one.transport.dial(address)
    assert nobody.value.reason is Drop.UNREACHABLE


async def test_dropping_a_peer_is_told_on_both_sides(net: Net) -> None:
    one, other = await pair(net)
    await one.transport.drop(other.key.peer, "enough")
    assert await soon(one.lefts) == (other.key.peer, "enough")
    assert (await soon(other.lefts))[0] == one.key.peer  # type: ignore[index]
    assert one.transport.connected() == other.transport.connected() == ()
    await one.transport.drop(other.key.peer, "again")


async def test_closing_flushes_what_is_queued_and_then_is_silent(net: Net) -> None:
    one, other = await pair(net)
    one.transport.send(other.key.peer, b"last words")
    await one.transport.close()
    await one.transport.close()
    assert await soon(other.frames) == (one.key.peer, b"last words")
    assert (await soon(other.lefts))[0] == one.key.peer  # type: ignore[index]
    assert one.transport.connected() == ()
    assert one.lefts.empty()
    assert not one.transport.send(other.key.peer, b"x" * KIB)
    with pytest.raises(RemoteFault):
        await one.transport.dial(other.transport.address)
