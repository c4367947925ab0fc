"""Statements among several nodes over an in-memory network: they reach everybody, are taken back, survive a cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
from wire_rig import NETWORK, SCHEMA

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.limits import Limits
from gossip.service import GossipService
from gossip.transport.executors import InlineExecutor
from identity.keys import PeerId, SigningKey
from node.alarms import Alarms
from node.store.people import People, State
from node.store.vouches import VouchTable
from node.voucher import Voucher
from simulator.world.clock import run
from simulator.world.medium import Weather
from simulator.world.network import MemoryNetwork
from simulator.world.transport import MemoryTransport


class Node:
    """Gossip and statements of one node, its table on disk."""

    def __init__(self, network: MemoryNetwork, folder: Path, number: int, dials: tuple[int, ...]) -> None:
        self.key = SigningKey(bytes([number]) * 32)
        self.people = People(folder / f"{number}.sqlite")
        self.voucher = Voucher(self.key, NETWORK, VouchTable(self.people, NETWORK), Alarms())
        self.gossip = GossipService(
            self.key,
            NETWORK,
            SCHEMA,
            MemoryTransport(network, self.key.peer, f"node-{number}:1"),
            MemoryLedger(),
            wants=lambda header, via, distance: False,
            on_event=lambda event: None,
            generator=np.random.default_rng(number),
            executor=InlineExecutor(),
            limits=Limits(degree=1, dial=0),
            bootstrap=[f"node-{other}:1" for other in dials],
            vouching=self.voucher,
        )

    def knows(self, *others: Node) -> None:
        for other in others:
            self.people.say(other.peer, State.KNOWN)

    @property
    def peer(self) -> PeerId:
        return self.key.peer

    @property
    def standing(self) -> set[PeerId]:
        return set(self.voucher.standing)


class Village:
    """Nodes in a chain, the rounds of which go on together."""

    def __init__(self, folder: Path, count: int, stack: AsyncExitStack) -> None:
        self.network = MemoryNetwork(1, Weather(latency=0.01))
        self.nodes = [Node(self.network, folder, n + 1, (n,) if n else ()) for n in range(count)]
        self.round = 0
        self._stack = stack

    async def start(self) -> None:
        for node in self.nodes:
            await node.gossip.start()
            self._stack.push_async_callback(node.gossip.close)
        await self.until(lambda: all(node.gossip.peers() for node in self.nodes), 60)

    async def rounds(self, count: int) -> None:
        for _ in range(count):
            self.round += 1
            for node in self.nodes:
                node.voucher.acquainted(node.people.all())
                node.gossip.advance(self.round)
            await asyncio.sleep(1)

    async def until(self, what: Callable[[], bool], rounds: int) -> int:
        """Rounds that passed until something was true; at most so many."""
        for passed in range(rounds):
            if what():
                return passed
            await self.rounds(1)
        assert what()
        return rounds

    def chain(self) -> None:
        """Each knows its neighbours."""
        for one, other in zip(self.nodes, self.nodes[1:], strict=False):
            one.knows(other)
            other.knows(one)

    def agree(self) -> bool:
        return len({node.voucher.sums() for node in self.nodes}) == 1

    def all_known(self) -> bool:
        everybody = {node.peer for node in self.nodes}
        return all(node.standing == everybody - {node.peer} for node in self.nodes)


def played(play: Callable[[Village], Awaitable[None]], folder: Path, count: int) -> None:
    async def whole() -> None:
        async with AsyncExitStack() as stack:
            village = Village(folder, count, stack)
            await village.start()
            await play(village)

    run(whole())


@pytest.mark.parametrize("count", [3, 9])
def test_a_chain_comes_to_know_one_another_and_a_vouch_that_is_taken_back_is_forgotten_within_ten_rounds(
    tmp_path: Path, count: int
) -> None:
    async def play(village: Village) -> None:
        village.chain()
        assert await village.until(village.all_known, 10) <= 10
        assert village.agree()
        first, second, *others = village.nodes
        first.people.forget(second.peer)
        gone = {first.peer}

        def forgotten() -> bool:
            return all(gone.isdisjoint(node.standing) for node in (second, *others)) and not first.standing

        assert await village.until(forgotten, 10) <= 10
        await village.rounds(3)
        assert forgotten()

    played(play, tmp_path, count)


def test_two_sides_that_were_apart_repair(tmp_path: Path) -> None:
    async def play(village: Village) -> None:
        village.chain()
        await village.until(village.all_known, 10)
        left, right = village.nodes[:2], village.nodes[2:]
        village.network.cut({node.peer: int(node in right) for node in village.nodes})
        await village.rounds(60)  # heartbeats are missed
        left[0].knows(right[-1])
        right[-1].knows(left[0])
        right[0].people.forget(right[1].peer)
        await village.rounds(5)
        assert not village.agree()
        village.network.heal()
        await village.until(lambda: village.agree() and right[-1].peer in left[0].standing, 90)
        back = left[0].voucher._statements.get(right[0].peer, right[1].peer)
        assert back is not None
        assert back.until == 0
        for node in village.nodes:
            node.voucher._statements.validate()

    played(play, tmp_path, 4)


def test_frames_that_are_lost_on_a_link_that_stands_are_made_good(tmp_path: Path) -> None:
    async def play(village: Village) -> None:
        village.chain()
        lost = village.nodes[1].gossip
        send, lost._grapevine._send = lost._grapevine._send, lambda peer, frame: None
        await village.rounds(5)
        assert not village.all_known()
        lost._grapevine._send = send
        await village.until(lambda: village.all_known() and village.agree(), 10)

    played(play, tmp_path, 3)


def test_a_restored_backup_says_what_its_operator_means_and_never_goes_back(tmp_path: Path) -> None:
    async def play(village: Village) -> None:
        village.chain()
        await village.until(village.all_known, 10)
        first, second, third = village.nodes
        village.round = 500
        first.people.forget(second.peer)
        await village.rounds(5)
        said = third.voucher._statements.get(first.peer, second.peer)
        assert said is not None
        assert (said.until, said.sequence) == (0, 501)
        # the backup: an older table, an older round, the same key
        with People(tmp_path / "backup.sqlite") as people:
            people.say(second.peer, State.KNOWN)
            old = Voucher(first.key, NETWORK, VouchTable(people, NETWORK), Alarms())
            first.voucher = first.gossip._grapevine._vouching = old
            first.people = people
            village.round = 20
            for node in (second, third):
                node.voucher.advance(505)
            await village.rounds(10)
            now = third.voucher._statements.get(first.peer, second.peer)
            assert now is not None
            assert now.until > 0
            assert now.sequence > 501
            assert village.agree()

    played(play, tmp_path, 3)
