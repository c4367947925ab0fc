"""Statements on the wire: what is forged, replayed, ended or of oneself never counts; what is new goes on, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from wire_rig import ENDLESS, LIMITS, NETWORK, Author, Rig, author

from gossip.protocol.codec import VOUCH, decode_frame, decode_vouch, encode_frame, encode_vouch
from gossip.protocol.errors import Drop
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Vouch, Vouches
from gossip.vouching import Statement, sum_of
from identity.envelope import digest_of, seal, split
from identity.keys import PeerId, SigningKey
from node.alarms import Alarms
from node.store.people import People, State
from node.store.vouches import VouchTable
from node.voucher import Voucher

BOB, CAROL, DAVE, EVE = (author(number) for number in range(2, 6))
OWN = SigningKey(bytes(31) + b"\xff")
OPEN = replace(LIMITS, vouches_rate=1e9, vouches_burst=1e9)
MANY = 10_000


def vouch(
    issuer: Author, subject: Author | PeerId, sequence: int = 1, until: int = 60_000, network: bytes = NETWORK
) -> bytes:
    about = subject.peer if isinstance(subject, Author) else subject
    return seal(issuer.key, VOUCH, encode_vouch(Vouch(network, issuer.peer, about, sequence, until)))


def read(envelope: bytes) -> Vouch:
    return decode_vouch(split(envelope).body, Limits())


def statement(envelope: bytes) -> Statement:
    return Statement.of(read(envelope), digest_of(VOUCH, split(envelope).body), envelope)


@dataclass
class Node:
    """A node that holds statements: its gossip on a desk, the rest on disk."""

    rig: Rig
    voucher: Voucher
    people: People

    async def tell(self, via: Author, *envelopes: bytes) -> None:
        size = Limits().vouches_in_frame
        for start in range(0, len(envelopes), size):
            await self.rig.take(via, encode_frame(Vouches((), envelopes[start : start + size])))

    async def advance(self, round: int) -> None:
        self.voucher.acquainted(self.people.all())
        self.rig.service.advance(round)
        await self.rig.settle()

    def told(self, who: Author) -> list[Vouches]:
        """Frames of statements that somebody was sent, since it was asked last."""
        frames = [decode_frame(data, Limits()) for peer, data in self.rig.desk.sent if peer == who.peer]
        self.rig.desk.sent = [(peer, data) for peer, data in self.rig.desk.sent if peer != who.peer]
        return [frame for frame in frames if isinstance(frame, Vouches)]

    def passed(self, who: Author) -> list[bytes]:
        return [envelope for frame in self.told(who) for envelope in frame.envelopes]

    @property
    def held(self) -> set[bytes]:
        return {envelope for number in range(16) for envelope in self.voucher.held(number)}


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with People(tmp_path / "ledger.sqlite") as table:
        yield table


@asynccontextmanager
async def node(people: People, limits: Limits = OPEN, open: bool = True) -> AsyncIterator[Node]:
    """It knows Bob by name; Bob, Carol and Dave are linked with it."""
    people.say(BOB.peer, State.KNOWN, "bob")
    voucher = Voucher(OWN, NETWORK, VouchTable(people, NETWORK), Alarms(), open, limits)
    async with Rig(limits=limits, vouching=voucher) as rig:
        for who in (BOB, CAROL, DAVE):
            rig.join(who)
        made = Node(rig, voucher, people)
        await made.advance(1)
        for who in (BOB, CAROL, DAVE):
            made.told(who)
        yield made
        voucher._statements.validate()


async def test_what_is_new_goes_to_everybody_but_its_teller_once_and_is_on_disk_before(people: People) -> None:
    async with node(people) as here:
        said = vouch(BOB, CAROL)
        await here.tell(DAVE, said)
        assert here.passed(BOB) == here.passed(CAROL) == [said]
        assert here.passed(DAVE) == []
        assert said in [statement.envelope for statement in VouchTable(people, NETWORK).all()]
        for who in (BOB, DAVE, DAVE):
            await here.tell(who, said)
        assert here.passed(CAROL) == []
        assert sum(here.rig.service.counters.values()) == 0  # to tell what is known is no misconduct


def forged(number: int) -> bytes:
    said = bytearray(vouch(BOB, author(1000 + number)))
    said[40] ^= 1  # of the signature
    return bytes(said)


def in_anothers_name(number: int) -> bytes:
    body = encode_vouch(Vouch(NETWORK, BOB.peer, author(1000 + number).peer, 1, 60_000))
    return seal(EVE.key, VOUCH, body)


def for_another_purpose(number: int) -> bytes:
    body = encode_vouch(Vouch(NETWORK, BOB.peer, author(1000 + number).peer, 1, 60_000))
    return seal(BOB.key, "record", body)


BAD: dict[str, tuple[Callable[[int], bytes], Drop]] = {
    "forged": (forged, Drop.BAD_SIGNATURE),
    "another's": (in_anothers_name, Drop.WRONG_AUTHOR),
    "another purpose": (for_another_purpose, Drop.BAD_SIGNATURE),
    "ended": (lambda number: vouch(BOB, EVE, 2 + number, 1), Drop.STALE),
    "too far ahead": (lambda number: vouch(BOB, EVE, 2 + number, 2**39), Drop.EARLY),
    "of oneself": (lambda number: vouch(BOB, BOB, 2 + number), Drop.VOUCH),
    "replayed": (lambda number: vouch(BOB, CAROL, 1, 50_000 + number), Drop.REPLAY),
    "another network": (lambda number: vouch(BOB, EVE, 1 + number, network=bytes(32)), Drop.WRONG_NETWORK),
}


@pytest.mark.parametrize("kind", BAD)
async def test_none_of_ten_thousand_bad_statements_counts(people: People, kind: str) -> None:
    make, reason = BAD[kind]
    limits = replace(OPEN, guilt=ENDLESS, strangers_rate=1e9, strangers_burst=1e9)
    async with node(people, limits) as here:
        for said in (vouch(BOB, OWN.peer, 1), vouch(BOB, CAROL, 2)):
            await here.tell(DAVE, said)
        await here.advance(2)
        held, standing, ranked = here.held, here.voucher.standing, here.voucher._statements.rankings
        for who in (BOB, CAROL, DAVE):
            here.told(who)
        await here.tell(DAVE, *(make(number) for number in range(MANY)))
        await here.advance(3)
        assert here.rig.count(reason) == MANY
        assert sum(here.rig.service.counters.values()) == MANY
        assert here.held == held
        assert here.voucher.standing is standing
        assert here.voucher._statements.rankings == ranked
        assert here.passed(BOB) == here.passed(CAROL) == []
        assert {each.pair[0] for each in VouchTable(people, NETWORK).all()} == {OWN.peer, BOB.peer}


async def test_bytes_that_are_no_statement_are_the_tellers_guilt(people: People) -> None:
    async with node(people) as here:
        await here.tell(DAVE, seal(BOB.key, VOUCH, b"\x93\x01\x02\x03"))
        assert here.rig.count(Drop.MALFORMED) == 1


async def test_the_digest_is_looked_up_before_the_signature(people: People) -> None:
    async with node(people) as here:
        said = vouch(BOB, CAROL)
        await here.tell(DAVE, said)
        await here.tell(DAVE, said[:32] + bytes(64) + said[96:])  # the same body under no signature at all
        assert here.rig.count(Drop.BAD_SIGNATURE) == 0
        assert said in here.held


async def test_a_new_link_is_told_sums_and_each_round_one_peer_in_turn(people: People) -> None:
    async with node(people) as here:
        here.rig.join(EVE)
        (frame,) = here.told(EVE)
        (own,) = here.held
        assert frame.envelopes == ()
        assert len(frame.sums) == 16
        assert [each != sum_of([]) for each in frame.sums].count(True) == 1
        assert frame.sums == here.voucher.sums()
        turns = []
        for round in range(2, 10):
            await here.advance(round)
            turns.append([who for who in (BOB, CAROL, DAVE, EVE) if any(each.sums for each in here.told(who))])
        assert all(len(turn) == 1 for turn in turns)
        assert {turn[0].peer for turn in turns} == {BOB.peer, CAROL.peer, DAVE.peer, EVE.peer}
        assert read(own).subject == BOB.peer


async def test_whoever_holds_something_else_is_sent_what_it_lacks_and_nothing_more(people: People) -> None:
    async with node(people) as here:
        said = [vouch(BOB, author(1000 + number)) for number in range(40)]
        await here.tell(DAVE, *said)
        here.told(CAROL)
        ours = here.voucher.sums()
        await here.rig.take(CAROL, encode_frame(Vouches(ours)))
        assert here.told(CAROL) == []
        number = BOB.peer[0] >> 4
        theirs = tuple(bytes(8) if each == number else sum for each, sum in enumerate(ours))
        await here.rig.take(CAROL, encode_frame(Vouches(theirs)))
        sent = here.told(CAROL)
        assert {envelope for frame in sent for envelope in frame.envelopes} == set(here.voucher.held(number))
        assert all(len(frame.envelopes) <= 16 and not frame.sums for frame in sent)


async def test_nobody_is_sent_more_than_half_of_what_is_taken_and_the_rest_follows(people: People) -> None:
    limits = replace(OPEN, vouches_rate=1e-9, vouches_burst=64.0, peer_burst=1e9)
    async with node(people, limits) as here:
        for number in range(40):
            here.voucher.admit(statement(vouch(BOB, author(1000 + number))))
        here.voucher.fresh()
        here.rig.join(EVE)
        here.told(EVE)
        await here.rig.take(EVE, encode_frame(Vouches((bytes(8),) * 16)))
        assert len(here.passed(EVE)) == 32
        for pace in here.rig.service._grapevine._paces.values():
            pace.tokens = 32.0
        await here.advance(2)
        assert len(here.passed(EVE)) == 41 - 32


async def test_statements_beyond_their_bucket_are_a_flood(people: People) -> None:
    limits = replace(Limits(), vouches_rate=1e-9, peer_burst=1e9, rate_guilt=20, settle=0.05, rival=0.0)
    async with node(people, limits) as here:
        said = [vouch(BOB, author(2000 + number)) for number in range(60)]
        await here.tell(DAVE, *said[:48])
        assert here.rig.count(Drop.PEER_RATE) == 0
        for _ in range(13):
            await here.tell(DAVE, *said[:16])
        assert here.rig.count(Drop.PEER_RATE) == 0  # 16 frames of 16
        await here.tell(DAVE, *said[48:])
        assert here.rig.count(Drop.PEER_RATE) == 1
        assert not here.held & set(said[48:])
        for _ in range(20):
            await here.tell(DAVE, *said[:16])
        assert DAVE.peer in [peer for peer, _ in here.rig.desk.dropped]  # as after any other flood


async def test_nothing_is_told_to_whom_one_distrusts_or_taken_from_him(people: People) -> None:
    async with node(people) as here:
        people.say(DAVE.peer, State.DISTRUSTED)
        here.rig.service.acquaint(frozenset({BOB.peer}), frozenset({DAVE.peer}))  # he is not gone yet
        here.rig.service.frame(DAVE.peer, encode_frame(Vouches((), (vouch(BOB, CAROL),))))
        here.rig.service.frame(CAROL.peer, encode_frame(Vouches((), (vouch(BOB, EVE),))))
        assert here.rig.count(Drop.DISTRUSTED) == 1
        assert here.told(DAVE) == []
        assert len(here.passed(BOB)) == 1


async def test_a_node_that_holds_none_sends_none_and_drops_what_comes() -> None:
    async with Rig() as rig:
        rig.join(BOB)
        await rig.take(BOB, encode_frame(Vouches((), (vouch(BOB, CAROL),))))
        rig.service.advance(1)
        assert rig.count(Drop.UNWANTED) == 1
        assert not [data for _, data in rig.desk.sent if isinstance(decode_frame(data, Limits()), Vouches)]


async def test_a_full_disk_passes_nothing_on_and_all_of_it_when_there_is_room(people: People, tmp_path: Path) -> None:
    async with node(people) as here:
        people.connection.execute("PRAGMA query_only = 1")
        await here.tell(DAVE, vouch(BOB, CAROL))
        assert here.passed(CAROL) == []
        assert vouch(BOB, CAROL) not in here.held  # nor to whoever asks
        people.connection.execute("PRAGMA query_only = 0")
        await here.tell(DAVE, vouch(BOB, EVE))
        assert set(here.passed(CAROL)) == {vouch(BOB, CAROL), vouch(BOB, EVE)}


async def test_only_whom_a_person_named_is_vouched_for(people: People) -> None:
    async with node(people) as here:
        people.answered(CAROL.peer, "host:1")
        people.ask([DAVE.peer], 1)
        await here.advance(2)
        assert [read(each).subject for each in here.held] == [BOB.peer]
        people.say(CAROL.peer, State.KNOWN)
        people.say(BOB.peer, State.DISTRUSTED)
        await here.advance(3)
        said = {(one.subject, one.until > 0) for one in (read(each) for each in here.held)}
        assert said == {(BOB.peer, False), (CAROL.peer, True)}
        people.forget(CAROL.peer)
        await here.advance(4)
        assert not [each for each in here.held if read(each).until]


async def test_names_stay_private_where_the_operator_says_so(people: People) -> None:
    async with node(people, open=False) as here:
        assert here.held == set()
        await here.tell(DAVE, vouch(BOB, CAROL), vouch(BOB, OWN.peer))
        await here.advance(2)
        assert (here.held, dict(here.voucher.standing)) == (set(), {})


async def test_whoever_turns_it_off_takes_back_what_was_said(people: People) -> None:
    async with node(people) as here:
        assert len(here.held) == 1
    async with node(people, open=False) as here:
        (back,) = (read(each) for each in here.held)
        assert (back.subject, back.until, back.sequence > 1) == (BOB.peer, 0, True)


async def test_own_words_from_after_a_backup_are_adopted_and_answered_by_newer_ones(people: People) -> None:
    async with node(people) as here:
        me = Author(OWN)
        await here.tell(DAVE, vouch(me, BOB, 500, 0), vouch(me, CAROL, 600))
        assert {vouch(me, BOB, 500, 0), vouch(me, CAROL, 600)} <= set(here.passed(CAROL))
        await here.advance(2)
        said = {one.subject: one for one in map(read, here.held)}
        assert (said[BOB.peer].sequence, said[BOB.peer].until) == (501, 2 + Limits().term)  # he is known here
        assert (said[CAROL.peer].sequence, said[CAROL.peer].until) == (601, 0)  # and she is not
        await here.tell(DAVE, vouch(me, BOB, 499))
        assert here.rig.count(Drop.REPLAY) == 1


async def test_a_newcomer_to_an_old_network_takes_what_lies_too_far_ahead_when_it_has_caught_up(people: People) -> None:
    async with node(people) as here:
        said = vouch(BOB, CAROL, until=10**6 + 60_000)
        await here.tell(DAVE, said)
        assert here.rig.count(Drop.EARLY) == 1
        await here.advance(10**6)
        assert any(frame.sums for who in (BOB, CAROL, DAVE) for frame in here.told(who))  # it asks again by itself
        await here.tell(DAVE, said)
        assert said in here.held
        own = [read(each) for each in here.held if read(each).issuer == OWN.peer]
        assert [(each.sequence, each.until) for each in own] == [(10**6, 10**6 + Limits().term)]
