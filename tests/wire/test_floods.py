"""Floods: each peer has its rate, all strangers together one more; who is guilty too often is let go for a while."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import aiohttp
import numpy as np
import pytest
from wire_rig import LIMITS, NETWORK, SCHEMA, Author, Rig, author

from gossip.chain.ledger import MemoryLedger
from gossip.patience import GUILTY, Patience
from gossip.protocol.codec import RECORD, encode_frame, encode_record, schema_digest
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.events import GossipEvent, PeerJoined, PeerLeft
from gossip.protocol.handshake import Greeting, Handshake
from gossip.protocol.limits import Limits
from gossip.protocol.messages import HeaderRequest, PeerRecord, Peers
from gossip.service import GossipService
from gossip.transport.executors import InlineExecutor
from gossip.transport.http import HttpTransport
from identity.envelope import seal
from identity.keys import PeerId

PATIENT = replace(LIMITS, guilt=3, rate_guilt=5)
USUAL = Limits()
JUNK = b"\xc1" * 10


def record(who: Author, sequence: int = 1) -> bytes:
    return seal(who.key, RECORD, encode_record(PeerRecord(NETWORK, who.peer, f"host:{sequence}", sequence)))


def records(first: int, count: int) -> bytes:
    return encode_frame(Peers(tuple(record(author(number)) for number in range(first, first + count))))


# a price for everything


async def test_every_record_in_a_peers_frame_costs_a_token() -> None:
    async with Rig(limits=replace(LIMITS, peer_rate=0.0, peer_burst=10.0)) as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, records(10, 8))
        assert (len(rig.service._book), rig.count(Drop.PEER_RATE)) == (8, 0)
        await rig.take(who, records(20, 8))  # one token is there for the frame, none for seven of its records
        assert (len(rig.service._book), rig.count(Drop.PEER_RATE)) == (8, 1)
        await rig.take(who, encode_frame(HeaderRequest(rig.key.peer, 1, 1)))
        assert rig.count(Drop.PEER_RATE) == 1
        await rig.take(who, encode_frame(HeaderRequest(rig.key.peer, 1, 1)))
        assert rig.count(Drop.PEER_RATE) == 2


async def test_every_header_that_is_asked_for_costs_a_token() -> None:
    async with Rig(limits=replace(LIMITS, peer_rate=0.0, peer_burst=40.0)) as rig:
        who, other = author(1), author(2)
        rig.join(who)
        rig.join(other)
        await rig.take(other, *(other.announce(round) for round in range(2)))
        before = len(rig.desk.sent)
        for _ in range(5):
            await rig.take(who, encode_frame(HeaderRequest(other.peer, 1, 16)))
        assert len(rig.desk.sent) == before + 2 * 2  # two requests of sixteen were paid for, two headers are there
        assert rig.count(Drop.PEER_RATE) == 3


async def test_a_record_that_is_in_the_book_is_known_before_its_signature_is_looked_at() -> None:
    async with Rig() as rig:
        who, other = author(1), author(2)
        rig.join(who)
        good = record(other)
        forged = good[:40] + bytes([good[40] ^ 1]) + good[41:]
        await rig.take(who, encode_frame(Peers((forged,))))
        assert rig.count(Drop.BAD_SIGNATURE) == 1
        await rig.take(who, encode_frame(Peers((good,))), encode_frame(Peers((forged,) * 8)))
        assert rig.count(Drop.BAD_SIGNATURE) == 1
        assert rig.service._book.envelopes(who.peer, 8) == (good,)  # and what is told is what was verified


async def test_addresses_are_taken_at_a_join_and_then_seldom() -> None:
    async with Rig(limits=replace(LIMITS, peers_rate=USUAL.peers_rate)) as rig:
        who = author(1)
        rig.join(who)
        for turn in range(20):
            await rig.take(who, records(10 + turn, 1))
        assert len(rig.service._book) == 4
        assert rig.count(Drop.PEER_RATE) == 16


async def test_a_rate_is_a_peers_and_not_a_connections() -> None:
    async with Rig(limits=replace(LIMITS, peer_rate=0.0, peer_burst=2.0)) as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, who.announce(0), who.announce(1))
        await rig.desk.drop(who.peer, "gone")
        rig.join(who)
        await rig.take(who, who.announce(2))
        assert (len(rig.verified), rig.count(Drop.PEER_RATE)) == (2, 1)


async def test_strangers_share_one_budget_and_known_peers_owe_nothing() -> None:
    friend = author(1)
    limits = replace(LIMITS, strangers_rate=10.0, strangers_burst=20.0)
    async with Rig(limits=limits, known=lambda peer: peer == friend.peer) as rig:
        crowd = [author(number) for number in range(10, 14)]
        for who in [friend, *crowd]:
            rig.join(who)
        request = encode_frame(HeaderRequest(rig.key.peer, 1, 1))
        waits = [rig.service.frame(who.peer, request) for _ in range(6) for who in crowd]
        assert waits[:20] == [0.0] * 20
        assert all(wait > 0.0 for wait in waits[20:])
        assert sorted(waits[20:]) == waits[20:]  # each waits a little longer than the one before
        assert [rig.service.frame(friend.peer, request) for _ in range(50)] == [0.0] * 50
        assert rig.service.counters.total() == 0  # and nothing was dropped


# an end to patience


@pytest.mark.parametrize("known", [False, True])
async def test_after_three_guilty_things_a_peer_is_let_go_and_refused(known: bool) -> None:
    async with Rig(limits=PATIENT, known=lambda peer: known) as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, JUNK, JUNK)
        assert not rig.desk.dropped
        await rig.take(who, JUNK)
        assert rig.desk.dropped == [(who.peer, "it misbehaved")]
        assert rig.desk.refused == [(who.peer, 0.0 if known else PATIENT.refusal)]
        assert isinstance(rig.events[-1], PeerLeft)
        with pytest.raises(RemoteFault) as fault:
            greet(rig.service, who)
        assert fault.value.reason is Drop.REFUSED
        greet(rig.service, author(2))


def greet(service: GossipService, who: Author) -> bytes | None:
    """What the service's side of a handshake answers to a first hello."""
    hello = Handshake(who.key, Greeting(NETWORK, schema_digest(SCHEMA), "", 0, 0), bytes([9]) * 32, True).first()
    assert hello is not None
    return service.handshake(False).receive(hello)


async def test_beyond_its_rate_a_peer_is_not_read_from_and_at_last_let_go() -> None:
    async with Rig(limits=replace(PATIENT, peer_rate=100.0, peer_burst=2.0)) as rig:
        who = author(1)
        rig.join(who)
        request = encode_frame(HeaderRequest(rig.key.peer, 1, 1))
        waits = [rig.service.frame(who.peer, request) for _ in range(2 + PATIENT.rate_guilt)]
        assert waits[:2] == [0.0, 0.0]
        assert all(0.0 < wait <= 0.01 for wait in waits[2:])
        await rig.settle()
        assert rig.desk.dropped == [(who.peer, "it misbehaved")]


async def test_who_is_refused_is_not_dialled() -> None:
    async with Rig(limits=PATIENT) as rig:
        who, teller = author(1), author(2)
        rig.join(who)
        rig.join(teller)
        await rig.take(who, JUNK, JUNK, JUNK)
        await rig.take(teller, encode_frame(Peers((record(who), record(author(3))))))
        for _ in range(20):
            await rig.settle()
        assert {peer for _, peer in rig.desk.dialled} == {author(3).peer}


def test_patience_comes_back_with_time_and_its_table_is_bounded() -> None:
    patience, who = Patience(replace(PATIENT, authors=3)), author(1).peer
    for reason in sorted(GUILTY):
        tired = patience.tires(who, reason, 5.0)
    assert tired
    assert patience.refuses(who, 5.0 + PATIENT.refusal - 1.0)
    assert not patience.refuses(who, 5.0 + PATIENT.refusal)
    other = author(2).peer
    assert [patience.tires(other, Drop.MALFORMED, now) for now in (0.0, 1.0, 700.0, 701.0)] == [False] * 4
    assert patience.tires(other, Drop.MALFORMED, 702.0)
    assert not any(patience.tires(other, reason, 800.0) for reason in (Drop.STALE, Drop.UNAVAILABLE, Drop.DUPLICATE))
    for number in range(10, 20):
        patience.take(author(number).peer, 0.0)
        patience.validate()


# over real sockets


class Live:
    """A gossip service behind a real port, and what it said."""

    def __init__(self, limits: Limits) -> None:
        self.key = author(250).key
        self.events: list[GossipEvent] = []
        self.happened = asyncio.Event()
        self.transport = HttpTransport(self.key.peer, InlineExecutor(), limits=limits)
        self.service = GossipService(
            self.key,
            NETWORK,
            SCHEMA,
            self.transport,
            MemoryLedger(),
            wants=lambda header, via, distance: True,
            on_event=self._tell,
            generator=np.random.default_rng(1),
            executor=InlineExecutor(),
            limits=limits,
            known=lambda peer: False,
        )

    def _tell(self, event: GossipEvent) -> None:
        self.events.append(event)
        self.happened.set()

    async def saw(self, kind: type[GossipEvent], peer: PeerId) -> None:
        async with asyncio.timeout(20):
            while not any(isinstance(event, kind) and event.peer == peer for event in self.events):
                self.happened.clear()
                await self.happened.wait()


@asynccontextmanager
async def live(**changes: Any) -> AsyncIterator[Live]:
    one = Live(replace(USUAL, **changes))
    await one.service.start()
    try:
        yield one
    finally:
        await one.service.close()


async def linked(stack: AsyncExitStack, one: Live, who: Author) -> aiohttp.ClientWebSocketResponse:
    http = await stack.enter_async_context(aiohttp.ClientSession())
    socket = await http.ws_connect(f"http://{one.service.address}/v1/gossip", autoping=False)
    stack.push_async_callback(socket.close)
    machine = Handshake(
        who.key, Greeting(NETWORK, schema_digest(SCHEMA), "", 0, 0), hashlib.sha256(who.peer).digest(), True
    )
    first = machine.first()
    assert first is not None
    await socket.send_bytes(first)
    answer = await socket.receive()
    if answer.type is not aiohttp.WSMsgType.BINARY:
        raise ConnectionRefusedError
    last = machine.receive(answer.data)
    assert last is not None
    await socket.send_bytes(last)
    await one.saw(PeerJoined, who.peer)
    return socket


async def test_junk_over_a_socket_ends_the_link_and_closes_the_door_for_its_key() -> None:
    async with live() as one, AsyncExitStack() as stack:
        who = author(1)
        socket = await linked(stack, one, who)
        with suppress(ConnectionError):
            for _ in range(5000):
                await socket.send_bytes(JUNK)
        await one.saw(PeerLeft, who.peer)
        assert one.service.counters[Drop.MALFORMED] == USUAL.guilt
        with pytest.raises(ConnectionRefusedError):
            await linked(stack, one, who)
        await linked(stack, one, author(2))


async def test_what_comes_beyond_the_rate_is_left_in_the_socket_until_the_link_is_cut() -> None:
    async with live(rate_guilt=20, peer_burst=50.0, peer_rate=200.0) as one, AsyncExitStack() as stack:
        who = author(1)
        socket = await linked(stack, one, who)
        request = encode_frame(HeaderRequest(one.key.peer, 1, 1))
        with suppress(ConnectionError):
            for _ in range(5000):
                await socket.send_bytes(request)
        await one.saw(PeerLeft, who.peer)
        assert one.service.counters[Drop.PEER_RATE] == 20


@pytest.mark.parametrize("kind", ["pings", "pongs", "empty fragments"])
async def test_frames_without_a_message_are_counted_too(kind: str) -> None:
    async with live(socket_burst=64 * 1024.0) as one, AsyncExitStack() as stack:
        who = author(1)
        socket = await linked(stack, one, who)
        with suppress(ConnectionError):
            for _ in range(20_000):
                if kind == "empty fragments":
                    below = socket._writer.transport
                    below.write((b"\x02\x80" if not socket.closed else b"") + bytes(4) + (b"\x00\x80" + bytes(4)) * 50)
                    await asyncio.sleep(0)
                    if below.is_closing():
                        break
                else:
                    await (socket.ping() if kind == "pings" else socket.pong())
        await one.saw(PeerLeft, who.peer)
        assert one.service.counters[Drop.PEER_RATE] + one.service.counters[Drop.MALFORMED] == 1
