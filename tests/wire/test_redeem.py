"""Invitations on the wire: they count once, for one key, on one link; whoever an allow-list does not name shows one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from wire_rig import LIMITS, NETWORK, Author, Rig, author

from gossip.protocol.codec import decode_frame, encode_frame
from gossip.protocol.errors import Drop
from gossip.protocol.events import PeerJoined, PeerLeft, PeerRedeemed
from gossip.protocol.handshake import Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Announce, Hello, Redeem
from gossip.protocol.ticket import acceptance, mark, redemption
from identity.keys import PeerId
from node.alarms import Alarms
from node.circle import Circle
from node.store.invitations import Invitations
from node.store.people import People, State

BOB, CAROL, DAVE = author(2), author(3), author(4)
SESSIONS = {BOB.peer: bytes([2]) * 32, CAROL.peer: bytes([3]) * 32, DAVE.peer: bytes([4]) * 32}


@dataclass
class Alice:
    """A node that invites: its gossip on a desk, its people on disk."""

    rig: Rig
    people: People
    circle: Circle
    invitations: Invitations

    def join(self, who: Author, session: bytes | None = None) -> None:
        self.rig.desk.blobs[who.peer] = who.payloads
        hello = Hello(NETWORK, who.peer, bytes(32), bytes(32), bytes(32), bytes(32), "", 0, 0)
        self.rig.service.joined(Party(who.peer, hello, session or SESSIONS[who.peer], dialled=False))

    async def show(self, who: Author, invitation: bytes, session: bytes | None = None) -> None:
        frame = Redeem(redemption(mark(invitation), session or SESSIONS[who.peer]))
        await self.rig.take(who, encode_frame(frame))

    @property
    def redeemed(self) -> list[PeerId]:
        return [event.peer for event in self.rig.events if isinstance(event, PeerRedeemed)]

    @property
    def joined(self) -> list[PeerId]:
        return [event.peer for event in self.rig.events if isinstance(event, PeerJoined)]

    def known(self) -> dict[PeerId, str]:
        return {person.peer: person.alias for person in self.people.all() if person.state is State.KNOWN}

    def heard(self, who: Author) -> list[bytes]:
        frames = [decode_frame(data, Limits()) for peer, data in self.rig.desk.sent if peer == who.peer]
        return [frame.proof for frame in frames if isinstance(frame, Redeem)]


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with People(tmp_path / "ledger.sqlite") as table:
        yield table


@asynccontextmanager
async def node(people: People, allow: frozenset[PeerId] | None = None, limits: Limits = LIMITS) -> AsyncIterator[Alice]:
    circle = Circle(people, Alarms(), lambda line: None)
    rig = Rig(allow=allow, invitations=circle, limits=limits)
    async with rig:
        yield Alice(rig, people, circle, Invitations(people))
        rig.service._lobby.validate()


async def test_an_invitation_counts_once_for_one_key_and_its_inviter_answers(people: People) -> None:
    async with node(people) as alice:
        secret = alice.invitations.give("bob")
        for who in (BOB, CAROL):
            alice.join(who)
        await alice.show(BOB, secret)
        assert alice.redeemed == [BOB.peer]
        assert alice.known() == {BOB.peer: "bob"}
        assert alice.heard(BOB) == [acceptance(mark(secret), SESSIONS[BOB.peer])]
        await alice.show(CAROL, secret)
        assert alice.rig.count(Drop.INVITATION) == 1
        assert alice.known() == {BOB.peer: "bob"}
        assert alice.heard(CAROL) == []


async def test_whoever_missed_the_answer_asks_again_on_the_next_link(people: People) -> None:
    async with node(people) as alice:
        secret = alice.invitations.give("bob")
        for session in (bytes([7]) * 32, bytes([8]) * 32):
            alice.join(BOB, session)
            await alice.show(BOB, secret, session)
        assert alice.heard(BOB) == [acceptance(mark(secret), bytes([n]) * 32) for n in (7, 8)]
        assert len(alice.known()) == 1


async def test_a_proof_that_was_overheard_is_nothing_on_another_link(people: People) -> None:
    async with node(people) as alice:
        secret = alice.invitations.give("bob")
        for who in (BOB, CAROL):
            alice.join(who)
        await alice.show(CAROL, secret, SESSIONS[BOB.peer])
        alice.join(BOB, bytes([9]) * 32)
        await alice.show(BOB, secret, SESSIONS[BOB.peer])
        assert alice.rig.count(Drop.INVITATION) == 2
        assert alice.redeemed == []
        await alice.show(BOB, secret, bytes([9]) * 32)
        assert alice.redeemed == [BOB.peer]


async def test_an_invitation_ends_with_its_rounds_and_when_it_is_revoked(people: People) -> None:
    async with node(people) as alice:
        first, second = alice.invitations.give("bob"), alice.invitations.give("carol")
        alice.circle.after(10, ())
        alice.circle.after(10 + Limits().invited, ())
        assert len(alice.circle.marks()) == 2
        alice.invitations.revoke("carol")
        alice.join(CAROL)
        await alice.show(CAROL, second)
        alice.circle.after(11 + Limits().invited, ())
        alice.join(BOB)
        await alice.show(BOB, first)
        assert alice.rig.count(Drop.INVITATION) == 2
        assert alice.known() == {}


async def test_more_than_a_few_tries_a_link_are_beyond_the_rate(people: People) -> None:
    async with node(people) as alice:
        secret = alice.invitations.give()
        alice.join(BOB)
        for _ in range(5):
            await alice.show(BOB, bytes(16))
        await alice.show(BOB, secret)
        assert alice.rig.count(Drop.INVITATION) == 2
        assert alice.rig.count(Drop.PEER_RATE) == 4
        assert alice.redeemed == []


async def test_without_invitations_a_redeem_frame_is_dropped() -> None:
    async with Rig() as rig:
        rig.join(BOB)
        await rig.take(BOB, encode_frame(Redeem(bytes(32))))
        assert rig.count(Drop.INVITATION) == 1


async def test_who_is_distrusted_is_not_made_known_by_an_invitation(people: People) -> None:
    async with node(people) as alice:
        secret = alice.invitations.give("bob")
        alice.join(BOB)
        people.say(BOB.peer, State.DISTRUSTED)
        await alice.show(BOB, secret)
        assert alice.rig.count(Drop.INVITATION) == 1
        assert alice.known() == {}


# the other side


async def test_who_holds_a_ticket_shows_it_first_to_its_inviter_only_until_it_was_taken(people: People) -> None:
    async with node(people) as bob:
        secret = bytes(range(16))
        bob.invitations.hold(CAROL.peer, secret)
        for who in (DAVE, CAROL):
            bob.join(who)
        assert bob.heard(DAVE) == []
        assert bob.heard(CAROL) == [redemption(mark(secret), SESSIONS[CAROL.peer])]
        first = next(data for peer, data in bob.rig.desk.sent if peer == CAROL.peer)
        assert isinstance(decode_frame(first, Limits()), Redeem)
        answer = encode_frame(Redeem(acceptance(mark(secret), SESSIONS[CAROL.peer])))
        await bob.rig.take(DAVE, answer)
        assert bob.rig.count(Drop.INVITATION) == 1
        await bob.rig.take(CAROL, encode_frame(Redeem(bob.heard(CAROL)[0])))  # sent back, it is no answer
        assert bob.rig.count(Drop.INVITATION) == 2
        await bob.rig.take(CAROL, answer)
        assert bob.rig.events[-1] == PeerRedeemed(CAROL.peer, False)
        assert list(bob.known()) == [CAROL.peer]
        bob.join(CAROL, bytes([9]) * 32)
        assert len(bob.heard(CAROL)) == 1


# an allow-list


async def test_an_allow_list_hears_out_whoever_redeems_and_the_node_is_told_only_then(people: People) -> None:
    async with node(people, frozenset({DAVE.peer})) as alice:
        assert alice.rig.service._lobby.allow(dialled=False) == {DAVE.peer}
        secret = alice.invitations.give("bob")
        assert alice.rig.service._lobby.allow(dialled=False) is None
        assert alice.rig.service._lobby.allow(dialled=True) == {DAVE.peer}
        alice.join(BOB)
        await alice.rig.service.publish(0, bytes(64))
        assert (alice.joined, alice.rig.desk.sent, alice.rig.service.peers()) == ([], [], ())
        await alice.show(BOB, secret)
        assert alice.joined == alice.redeemed == [BOB.peer]
        assert alice.rig.service.peers() == (BOB.peer,)
        assert alice.rig.service._lobby.allows(BOB.peer)
        assert alice.heard(BOB) == [acceptance(mark(secret), SESSIONS[BOB.peer])]
        await alice.rig.take(BOB, BOB.announce(0))
        assert len(alice.rig.verified) == 1


async def test_the_first_frame_must_redeem_or_the_link_ends(people: People) -> None:
    async with node(people, frozenset({DAVE.peer})) as alice:
        secret = alice.invitations.give("bob")
        alice.join(CAROL)
        await alice.rig.take(CAROL, CAROL.announce(0), encode_frame(Redeem(bytes(32))))
        alice.join(BOB)
        await alice.show(BOB, bytes(16))
        await alice.show(BOB, secret)  # too late: it has had its word
        assert {peer for peer, _ in alice.rig.desk.dropped} == {BOB.peer, CAROL.peer}
        assert alice.rig.count(Drop.NOT_ALLOWED) == 1
        assert alice.rig.count(Drop.INVITATION) == 1
        assert not [event for event in alice.rig.events if isinstance(event, PeerJoined | PeerLeft)]
        assert alice.rig.verified == []


async def test_a_link_that_does_not_redeem_in_time_ends_and_few_wait_at_a_time(people: People) -> None:
    limits = replace(LIMITS, redeem=0.01, uninvited=1)
    async with node(people, frozenset({DAVE.peer}), limits) as alice:
        alice.invitations.give("bob")
        alice.join(BOB)
        assert alice.rig.service._lobby.allow(dialled=False) == {DAVE.peer}  # no room for another
        alice.join(CAROL)  # which had shaken hands meanwhile
        async with asyncio.timeout(30):
            await asyncio.gather(*(alice.rig.desk.gone[who.peer].wait() for who in (BOB, CAROL)))
        assert alice.rig.count(Drop.NOT_ALLOWED) == 2
        assert alice.joined == []


async def test_whoever_the_operator_comes_to_know_is_on_the_allow_list_and_whom_he_distrusts_goes(
    people: People,
) -> None:
    async with node(people, frozenset({DAVE.peer})) as alice:
        alice.join(DAVE)
        alice.rig.service.acquaint(frozenset({BOB.peer}), frozenset({DAVE.peer}))
        await alice.rig.settle()
        assert [peer for peer, _ in alice.rig.desk.dropped] == [DAVE.peer]
        lobby = alice.rig.service._lobby
        assert (lobby.allows(BOB.peer), lobby.allows(DAVE.peer)) == (True, False)
        assert lobby.distrusted == {DAVE.peer}


async def test_who_is_let_in_no_more_and_dials_again_has_left(people: People) -> None:
    async with node(people, frozenset({DAVE.peer})) as alice:
        alice.rig.service.acquaint(frozenset({BOB.peer}), frozenset())
        alice.join(BOB)
        alice.rig.service.acquaint(frozenset(), frozenset())
        alice.invitations.give("carol")
        alice.join(BOB, bytes([9]) * 32)
        assert [type(event) for event in alice.rig.events] == [PeerJoined, PeerLeft]
        await alice.rig.desk.drop(BOB.peer, "it went")
        assert [type(event) for event in alice.rig.events] == [PeerJoined, PeerLeft]


async def test_an_announce_is_sent_to_nobody_who_waits(people: People) -> None:
    async with node(people, frozenset({DAVE.peer})) as alice:
        alice.invitations.give("bob")
        for who in (BOB, DAVE):
            alice.join(who)
        await alice.rig.service.publish(0, bytes(64))
        told = {peer for peer, data in alice.rig.desk.sent if isinstance(decode_frame(data, Limits()), Announce)}
        assert told == {DAVE.peer}
