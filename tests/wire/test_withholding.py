"""Strangers who announce and never deliver: known peers' payloads come as if they were not there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from wire_rig import LIMITS, Author, Desk, Rig, author

from gossip.promises import Promises
from gossip.protocol.errors import Drop
from gossip.protocol.limits import Limits
from gossip.transfers import Transfers
from identity.keys import PeerId

FRIENDS = [author(1), author(2)]
KNOWN = {who.peer for who in FRIENDS}
SILENT = [author(n) for n in range(10, 60)]
ROUNDS = 60


class Holding(Desk):
    """A desk on which some holders never answer, until a transfer is given up."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: set[PeerId] = set()
        self.waiting: list[PeerId] = []
        self.most = 0

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        if peer not in self.silent:
            return await super().fetch(peer, digest, length)
        self.waiting.append(peer)
        self.most = max(self.most, len(self.waiting))
        self.asked.append((peer, digest))
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting.remove(peer)
        raise AssertionError


def rig(known: set[PeerId], limits: Limits = LIMITS, **options: Any) -> tuple[Rig, Holding]:
    desk = Holding()
    return Rig(limits=limits, desk=desk, known=lambda peer: peer in known, **options), desk


def heard(made: Rig, who: Author) -> int:
    return sum(event.via == who.peer for event in made.verified)


async def test_fifty_silent_holders_keep_no_payload_of_known_peers_away() -> None:
    made, desk = rig(KNOWN)
    desk.silent = {who.peer for who in SILENT}
    async with made:
        for who in [*FRIENDS, *SILENT]:
            made.join(who)
        for round in range(ROUNDS):
            made.service.advance(round)
            for who in SILENT:
                made.service.frame(who.peer, who.announce(round))
            for who in FRIENDS:
                await made.take(who, who.announce(round))
            made.service._fetcher.validate()
            assert [heard(made, who) for who in FRIENDS] == [round + 1] * 2
        assert desk.most <= LIMITS.fetches - LIMITS.fetches_known
        asked = [peer for peer, _ in desk.asked if peer in desk.silent]
        assert max(asked.count(who.peer) for who in SILENT) <= 1 + ROUNDS // LIMITS.distrust + LIMITS.promises


async def test_a_stranger_that_delivers_gets_its_turn_beside_silent_ones() -> None:
    made, desk = rig(KNOWN)
    few = LIMITS.fetches - LIMITS.fetches_known
    desk.silent = {who.peer for who in SILENT[:few]}
    good = author(99)
    async with made:
        for who in [*SILENT[:few], good]:
            made.join(who)
        for round in range(8):
            made.service.advance(round)
            for who in SILENT[:few]:
                made.service.frame(who.peer, who.announce(round))
            await made.take(good, good.announce(round))
        assert heard(made, good) >= 8 - LIMITS.promises  # while nobody knew better they held all places


async def test_one_stranger_holds_one_place_at_most() -> None:
    made, desk = rig(set())
    who = SILENT[0]
    desk.silent = {who.peer}
    async with made:
        made.join(who)
        await made.take(who, *(who.announce(round) for round in range(3)))
        assert desk.waiting == [who.peer]


async def test_what_a_stranger_owes_is_given_up_when_its_round_is_over_and_what_a_known_peer_owes_is_waited_for() -> (
    None
):
    made, desk = rig({FRIENDS[0].peer})
    friend, stranger = FRIENDS[0], SILENT[0]
    friend_twin, other = author(1), SILENT[1]
    desk.silent = {friend.peer, stranger.peer, other.peer}
    async with made:
        for who in (friend, stranger, other):
            made.join(who)
        await made.take(stranger, stranger.announce(0))
        await made.take(friend, friend_twin.announce(0))
        await made.take(other, author(77).relay(0))
        made.service.advance(1)
        await made.settle()
        assert sorted(desk.waiting) == sorted([friend.peer, other.peer])  # a relayed one is of use for a window
        assert made.count(Drop.TIMEOUT) == 1
        made.service.advance(LIMITS.window + 1)
        await made.settle()
        assert desk.waiting == [friend.peer]


async def test_after_two_broken_promises_a_stranger_is_not_asked_for_some_rounds_and_then_again() -> None:
    made, desk = rig(set())
    who = SILENT[0]
    async with made:
        made.join(who)
        desk.blobs[who.peer] = {}  # answers that it has nothing
        for round in range(LIMITS.promises):
            made.service.advance(round)
            await made.take(who, who.announce(round))
        asked = len(desk.asked)
        assert asked == LIMITS.promises * LIMITS.retries
        last = LIMITS.promises - 1
        for round in range(last + 1, last + 1 + LIMITS.distrust):
            made.service.advance(round)
            frame = who.announce(round)
            await made.take(who, frame, frame, frame)
            assert len(desk.asked) == asked
        made.service.advance(last + 1 + LIMITS.distrust)
        desk.blobs[who.peer] = who.payloads
        await made.take(who, who.announce(last + 1 + LIMITS.distrust))
        assert heard(made, who) == 1


def test_a_broken_promise_counts_for_a_strangers_network_and_never_for_a_known_peers() -> None:
    liar, neighbour, friend = (author(n).peer for n in (1, 2, 3))
    promises = Promises(Limits(authors=2), lambda peer: peer == friend)
    promises.broke(friend, "8.8.8.0/24")
    promises.broke(friend, "8.8.8.0/24")
    assert promises.trusts(neighbour, "8.8.8.0/24")
    assert not promises.trusts(friend, "8.8.8.0/24")
    promises.kept(friend)
    assert promises.trusts(friend, "8.8.8.0/24")
    promises.broke(liar, "8.8.8.0/24")
    promises.broke(liar, "8.8.8.0/24")
    assert not promises.trusts(neighbour, "8.8.8.0/24")
    assert promises.trusts(friend, "8.8.8.0/24")
    assert promises.trusts(neighbour, "9.9.9.0/24")
    promises.round = Limits().distrust + 1
    assert promises.trusts(liar, "8.8.8.0/24")
    for number in range(10, 20):
        promises.broke(author(number).peer, "")
        promises.validate()


async def holding(places: Transfers, holder: PeerId, stranger: bool, go: asyncio.Event, log: list[PeerId]) -> None:
    async with places.place(holder, stranger):
        log.append(holder)
        await go.wait()


@pytest.mark.parametrize("ends", ["let go", "given up"])
async def test_places_are_handed_on_in_order_to_those_who_may_have_them(ends: str) -> None:
    places, go = Transfers(Limits(fetches=3, fetches_known=2)), asyncio.Event()
    one, two, friend = (author(n).peer for n in (1, 2, 3))
    log: list[PeerId] = []
    tasks = [
        asyncio.ensure_future(holding(places, peer, peer != friend, go, log))
        for peer in (one, one, two, friend, friend, friend)
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    assert log == [one, friend, friend]
    places.validate()
    if ends == "given up":
        tasks[1].cancel()  # waits
        tasks[0].cancel()  # holds
        await asyncio.gather(*tasks[:2], return_exceptions=True)
        await asyncio.sleep(0)
        assert log == [one, friend, friend, two]
    go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(log) == (5 if ends == "given up" else 6)
    places.validate()
    async with places.place(one, True):
        places.validate()
