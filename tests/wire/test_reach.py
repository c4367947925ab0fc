"""Nodes that listen on every interface, or on IPv6, find each other over real sockets; who cannot be is not accused."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import numpy as np
import pytest
from wire_rig import LIMITS, NETWORK, SCHEMA

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.errors import Drop
from gossip.protocol.events import GossipEvent, PeerAdopted, PeerJoined, PeerLeft, UpdateVerified
from gossip.protocol.limits import Limits
from gossip.service import GossipService
from gossip.transport.executors import InlineExecutor
from gossip.transport.http import HttpTransport
from identity.keys import SigningKey
from node.trust.conduct import GUILT, remarks

VECTOR = np.arange(SCHEMA.elements, dtype="<f4")


class Node:
    """A service on a socket, and what it was told."""

    def __init__(
        self, number: int, host: str, join: str = "", advertise: str | None = None, limits: Limits = LIMITS
    ) -> None:
        self.key = SigningKey(bytes([number]) * 32)
        self.events: list[GossipEvent] = []
        self.happened = asyncio.Event()
        self.service = GossipService(
            self.key,
            NETWORK,
            SCHEMA,
            HttpTransport(self.key.peer, InlineExecutor(), host, 0, limits, advertise),
            MemoryLedger(),
            wants=lambda header, via, distance: True,
            on_event=self._tell,
            generator=np.random.default_rng(number),
            executor=InlineExecutor(),
            limits=replace(limits, settle=0.0),
            bootstrap=[join] if join else [],
        )

    def _tell(self, event: GossipEvent) -> None:
        self.events.append(event)
        self.happened.set()

    async def until(self, count: int, kind: type[GossipEvent] = UpdateVerified) -> None:
        async with asyncio.timeout(20):
            while sum(isinstance(event, kind) for event in self.events) < count:
                self.happened.clear()
                await self.happened.wait()

    async def linked(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.service.peers()) < count:
                self.happened.clear()
                await self.happened.wait()


@pytest.mark.parametrize(
    ("listens", "meets"), [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")]
)
async def test_three_nodes_find_each_other_and_fetch_from_each_other(listens: str, meets: str) -> None:
    async with AsyncExitStack() as stack:
        nodes = [Node(1, listens)]
        await nodes[0].service.start()
        stack.push_async_callback(nodes[0].service.close)
        port = nodes[0].service.address.rpartition(":")[2]
        for number in (2, 3):
            nodes.append(Node(number, listens, f"{meets}:{port}"))
            await nodes[-1].service.start()
            stack.push_async_callback(nodes[-1].service.close)
            await nodes[-1].linked(1)
        for node in nodes:
            await node.linked(2)
            assert node.service.address.rpartition(":")[0] == meets
        for node in nodes:
            await node.service.publish(0, VECTOR.tobytes())
        for node in nodes:
            await node.until(2)
            assert not node.service.counters.keys() & GUILT.keys()


@pytest.mark.parametrize("advertise", ["host:0", "127.0.0.1:1"])
async def test_a_peer_that_cannot_be_dialled_is_not_accused_of_withholding(advertise: str) -> None:
    async with AsyncExitStack() as stack:
        one = Node(1, "127.0.0.1")
        await one.service.start()
        stack.push_async_callback(one.service.close)
        other = Node(2, "127.0.0.1", one.service.address, advertise)
        await other.service.start()
        stack.push_async_callback(other.service.close)
        await one.linked(1)
        await other.service.publish(0, VECTOR.tobytes())
        async with asyncio.timeout(20):
            while one.service.counters[Drop.UNREACHABLE] <= LIMITS.retries:
                one.happened.clear()
                await one.happened.wait()
        assert one.service.counters[Drop.UNAVAILABLE] == 0
        (said,) = remarks(one.service.counters)
        assert "nobody answers at the address it states" in said


CHAIN = replace(LIMITS, degree=1)  # nobody looks for further neighbours


async def chain(stack: AsyncExitStack, count: int, limits: Limits = CHAIN) -> list[Node]:
    """Nodes, each of whom joined by the one before."""
    nodes: list[Node] = []
    for number in range(1, count + 1):
        node = Node(number, "127.0.0.1", nodes[-1].service.address if nodes else "", limits=limits)
        await node.service.start()
        stack.push_async_callback(node.service.close)
        if nodes:
            await node.linked(1)
        nodes.append(node)
    return nodes


def vouch(nodes: list[Node]) -> None:
    """Everybody knows the next ones, and has heard of all others."""
    peers = [node.key.peer for node in nodes]
    for place, node in enumerate(nodes):
        near = frozenset(peers[max(0, place - 1) : place + 2])
        node.service.vouched(near, frozenset(peers))


async def test_addresses_of_whom_people_vouch_for_travel_along_a_chain_and_who_is_wanted_is_dialled() -> None:
    async with AsyncExitStack() as stack:
        nodes = await chain(stack, 5)
        vouch(nodes)
        first, last = nodes[0], nodes[-1]
        assert first.service.peers() == (nodes[1].key.peer,)
        first.service.reach(frozenset([last.key.peer]))
        await first.until(2, PeerJoined)
        assert set(first.service.peers()) == {nodes[1].key.peer, last.key.peer}
        joined = {event.peer: event.afar for event in first.events if isinstance(event, PeerJoined)}
        assert joined == {nodes[1].key.peer: False, last.key.peer: True}
        assert not any(event.afar for event in last.events if isinstance(event, PeerJoined))
        await last.service.publish(0, VECTOR.tobytes())
        await first.until(1)


async def test_who_is_wanted_no_more_is_let_go_and_neighbours_stay() -> None:
    async with AsyncExitStack() as stack:
        nodes = await chain(stack, 3)
        vouch(nodes)
        first, middle, last = nodes
        first.service.reach(frozenset([middle.key.peer, last.key.peer]))
        await first.until(2, PeerJoined)
        first.service.reach(frozenset())
        await first.until(1, PeerLeft)
        assert first.service.peers() == (middle.key.peer,)


async def test_who_is_distrusted_is_not_dialled_however_wanted() -> None:
    async with AsyncExitStack() as stack:
        nodes = await chain(stack, 3)
        first, middle, last = nodes
        first.service.acquaint(frozenset(), frozenset([last.key.peer]))
        vouch(nodes)
        first.service.reach(frozenset([last.key.peer]))
        await last.service.publish(0, VECTOR.tobytes())
        await middle.until(1)
        await middle.service.publish(0, VECTOR.tobytes())
        await first.until(1)
        assert first.service.peers() == (middle.key.peer,)


async def test_a_link_from_afar_is_adopted_where_neighbours_are_lacking() -> None:
    async with AsyncExitStack() as stack:
        nodes = await chain(stack, 3)
        vouch(nodes)
        first, middle, last = nodes
        first.service.reach(frozenset([last.key.peer]))
        await first.until(2, PeerJoined)
        await middle.service.close()
        await first.until(1, PeerAdopted)
        first.service.reach(frozenset())
        await last.service.publish(0, VECTOR.tobytes())
        await first.until(1)
        assert first.service.peers() == (last.key.peer,)
