"""The gossip service: what is published arrives once, verified; every reason to drop has a counter."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from wire_rig import LIMITS, NETWORK, PAYLOAD_BYTES, SCHEMA, Author, Rig, author

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.codec import RECORD, decode_frame, encode_frame, encode_record, schema_digest
from gossip.protocol.errors import Drop
from gossip.protocol.events import (
    Dropped,
    Equivocated,
    PeerAhead,
    PeerJoined,
    PeerLeft,
    UpdateHeard,
    UpdateVerified,
)
from gossip.protocol.messages import (
    Announce,
    Goodbye,
    HeaderRequest,
    PeerRecord,
    Peers,
    Relay,
)
from identity.envelope import seal

VECTOR = np.arange(SCHEMA.elements, dtype="<f4")


def said(rig: Rig, to: Author) -> list[object]:
    return [decode_frame(data, LIMITS) for peer, data in rig.desk.sent if peer == to.peer]


async def test_an_announced_update_is_fetched_and_verified_once() -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who, round=3, address="a:1")
        frame = who.announce(0)
        await rig.take(who, frame, frame)
        assert rig.events[0] == PeerJoined(who.peer, 3, 0, "a:1")
        (event,) = rig.verified
        assert (event.via, event.distance) == (who.peer, 1)
        assert event.update.header.author == who.peer
        np.testing.assert_array_equal(event.update.vector, np.zeros(SCHEMA.elements))
        assert rig.count(Drop.DUPLICATE) == 1
        assert len(rig.desk.asked) == 1


async def test_a_relayed_update_is_fetched_from_whoever_relays_it() -> None:
    async with Rig() as rig:
        who, one, two, three = author(1), author(2), author(3), author(4)
        frame = who.relay(0, distance=2)
        two.payloads, three.payloads = who.payloads, who.payloads
        for peer in (one, two, three):
            rig.join(peer)
        await rig.take(one, frame)  # has it not
        assert not rig.verified
        assert (rig.count(Drop.UNAVAILABLE), len(rig.desk.asked)) == (LIMITS.retries + 1, LIMITS.retries)
        await rig.take(two, frame)
        (event,) = rig.verified
        assert (event.via, event.distance) == (two.peer, 3)
        await rig.take(three, encode_frame(Relay(16, event.update.envelope)))
        assert rig.events[-1] == UpdateHeard(event.update.header, event.update.digest, three.peer, 16)


async def test_a_second_holder_helps_while_the_first_one_fails() -> None:
    async with Rig() as rig:
        who, liar, honest = author(1), author(2), author(3)
        frame = who.relay(0)
        digest = next(iter(who.payloads))
        liar.payloads[digest] = bytes(PAYLOAD_BYTES)
        honest.payloads = who.payloads
        rig.join(liar)
        rig.join(honest)
        rig.service.frame(liar.peer, frame)
        await rig.take(honest, frame)
        assert [event.via for event in rig.verified] == [liar.peer]
        assert rig.count(Drop.DIGEST) == 1
        assert isinstance(rig.events[-1], UpdateHeard)


async def test_relaying_serves_the_payload_and_claims_our_distance() -> None:
    async with Rig() as rig:
        who, other = author(1), author(2)
        rig.join(who)
        rig.join(other)
        await rig.take(who, who.announce(0))
        update = rig.verified[0].update
        assert await rig.service.relay(other.peer, update, 1)
        assert said(rig, other)[-1] == Relay(1, update.envelope)
        assert await rig.service.relay(other.peer, update, 99)
        assert said(rig, other)[-1] == Relay(16, update.envelope)
        assert rig.service.blob(update.header.payload_digest, who.peer) == update.payload
        assert not await rig.service.relay(author(7).peer, update, 1)
        assert rig.service.peers() == tuple(sorted((who.peer, other.peer)))


# every reason to drop


async def test_oversize_and_malformed_frames() -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, bytes(5000), b"", encode_frame(Announce(bytes(100)))[:-1])
        assert (rig.count(Drop.OVERSIZE), rig.count(Drop.MALFORMED)) == (1, 2)
        await rig.take(who, encode_frame(Announce(seal(who.key, "update", b"\x90"))))
        assert rig.count(Drop.MALFORMED) == 3
        with pytest.raises(Exception, match="oversize"):
            rig.service._intake.take(bytes(96 + 513), who.peer, 1, 0.0)
        assert Dropped(Drop.OVERSIZE, who.peer) in rig.events


async def test_forged_foreign_and_misattributed_headers() -> None:
    async with Rig() as rig:
        who, other = author(1), author(2)
        rig.join(who)
        rig.join(other)
        good = bytearray(who.announce(0))
        good[60] ^= 1
        await rig.take(who, bytes(good))
        assert rig.count(Drop.BAD_SIGNATURE) == 1
        await rig.take(who, author(1, network=bytes(32)).announce(0))
        assert rig.count(Drop.WRONG_NETWORK) == 1
        await rig.take(who, author(1).announce(0, author=other.peer))
        await rig.take(other, author(1).announce(0))
        assert rig.count(Drop.WRONG_AUTHOR) == 2
        await rig.take(who, author(1).announce(0, version=2))
        assert rig.count(Drop.WRONG_VERSION) == 1
        assert not rig.verified
        frame = author(1).announce(0, payload=who.payload())
        await rig.take(who, frame)
        await rig.take(other, frame)  # known by now, and still not the other's own
        assert rig.count(Drop.WRONG_AUTHOR) == 3


async def test_rates_of_a_connection_and_of_an_author() -> None:
    slow = replace(LIMITS, peer_rate=0.0, peer_burst=3.0, author_rate=0.0, author_burst=2.0, authors=1)
    async with Rig(limits=slow) as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, *(who.announce(round) for round in range(5)))
        assert (rig.count(Drop.AUTHOR_RATE), rig.count(Drop.PEER_RATE)) == (1, 2)
        other = author(2)
        rig.join(other)
        await rig.take(other, other.announce(0))
        assert len(rig.verified) == 3
        rig.service._intake.validate()


async def test_forgeries_in_an_authors_name_do_not_empty_its_bucket() -> None:
    async with Rig(limits=replace(LIMITS, author_rate=0.0, author_burst=1.0)) as rig:
        who, forger = author(1), author(2)
        rig.join(who)
        rig.join(forger)
        twin = author(1)
        for round in range(20):
            frame = bytearray(twin.relay(round))
            frame[50] ^= 1
            await rig.take(forger, bytes(frame))
        assert rig.count(Drop.BAD_SIGNATURE) == 20
        await rig.take(who, who.announce(0))
        assert len(rig.verified) == 1


async def test_replayed_stale_and_early_headers() -> None:
    ledger = MemoryLedger()
    who = author(1)
    async with Rig(ledger, replace(LIMITS, window=8), round=10) as rig:
        rig.join(who)
        frame = who.announce(10)
        await rig.take(who, frame, who.announce(13))
        assert (rig.count(Drop.STALE), rig.count(Drop.EARLY)) == (0, 1)
        await rig.take(who, author(2).relay(1))
        assert rig.count(Drop.STALE) == 1
        assert PeerAhead(who.peer, 13) in rig.events
        assert len(rig.verified) == 1
    async with Rig(ledger, round=10) as rig:
        rig.join(who)
        await rig.take(who, frame)
        assert (rig.count(Drop.REPLAY), len(rig.verified)) == (1, 0)


async def test_an_early_header_is_judged_again_when_its_round_comes() -> None:
    async with Rig(limits=replace(LIMITS, early=2)) as rig:
        people = [author(n) for n in (1, 2, 3)]
        for who in people:
            rig.join(who)
            await rig.take(who, who.announce(4))
        assert rig.count(Drop.EARLY) == 3
        rig.service.advance(1)
        assert rig.count(Drop.EARLY) == 5  # the first one had to go
        rig.service.advance(2)
        await rig.settle()
        assert [event.via for event in rig.verified] == [people[1].peer, people[2].peer]


async def test_a_restarted_node_may_reopen_its_unfinished_round_once() -> None:
    ledger, who = MemoryLedger(), author(1)
    async with Rig(ledger, round=1) as rig:
        rig.join(who)
        frames = [who.announce(0), who.announce(1)]
        await rig.take(who, *frames)
        assert len(rig.verified) == 2
    async with Rig(ledger, round=1, reopen=1) as rig:
        rig.join(who)
        await rig.take(who, *frames, *frames)
        assert [event.update.header.round for event in rig.verified] == [1]
        assert (rig.count(Drop.REPLAY), rig.count(Drop.DUPLICATE)) == (2, 1)
        twin = author(1)
        await rig.take(who, twin.announce(0), twin.announce(1, base=bytes([1]) * 32))
        assert len(rig.verified) == 1


async def test_contradictions_are_refused_with_evidence_kept() -> None:
    for second, reason in (
        ({"base": bytes([1]) * 32}, Drop.EQUIVOCATION),
        ({"sequence": 2, "round": 1}, Drop.BROKEN_CHAIN),
        ({"sequence": 3, "round": 0}, Drop.ROUND_ORDER),
    ):
        async with Rig(round=1) as rig:
            who = author(1)
            rig.join(who)
            one = who.header(0)
            two = author(1).header(**{"round": 0, **second})
            await rig.take(who, encode_frame(Announce(who.seal(one))), encode_frame(Announce(who.seal(two))))
            assert rig.count(reason) == 1
            assert Equivocated(who.peer, who.seal(one), who.seal(two)) in rig.events
            proof = rig.ledger.proof(who.peer)
            assert proof is not None
            assert (proof.first, proof.second) == (who.seal(one), who.seal(two))
            assert rig.count(Drop.CONVICTED) == 1  # the payload that was on its way when the proof came
            await rig.take(who, who.announce(2))
            assert rig.count(Drop.CONVICTED) == 2
            assert rig.verified == []


async def test_a_first_header_with_a_predecessor_is_refused_without_a_proof() -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, who.announce(0, previous=bytes([1]) * 32))
        assert rig.count(Drop.BROKEN_CHAIN) == 1
        assert rig.ledger.proof(who.peer) is None


async def test_another_schema_or_length_is_refused_before_anything_is_fetched() -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, author(1).announce(0, schema=bytes(32)))
        await rig.take(who, author(1).announce(0, payload_length=PAYLOAD_BYTES + 1))
        assert (rig.count(Drop.SCHEMA), rig.count(Drop.LENGTH)) == (1, 1)
        assert not rig.desk.asked


async def test_what_is_not_wanted_is_not_fetched_and_leaves_no_trace() -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        rig.wanted = False
        frame = who.announce(0)
        await rig.take(who, frame)
        assert (rig.count(Drop.UNWANTED), rig.desk.asked) == (1, [])
        rig.wanted = True
        await rig.take(who, frame)
        assert len(rig.verified) == 1


async def test_a_payload_that_failed_may_be_unwanted_later() -> None:
    async with Rig() as rig:
        who, other = author(1), author(2)
        rig.join(who)
        rig.join(other)
        frame = who.relay(0)
        await rig.take(other, frame)
        rig.wanted = False
        await rig.take(other, frame)
        assert (rig.count(Drop.UNAVAILABLE) > 0, rig.count(Drop.UNWANTED)) == (True, 1)


async def test_payloads_that_are_not_finite_or_misshapen_are_signed_guilt() -> None:
    clean = author(1).payload()
    nan = clean[:-4] + np.float32(np.nan).tobytes()
    other_schema = clean[:3] + bytes(32) + clean[35:]
    for payload, reason in ((nan, Drop.NOT_FINITE), (other_schema, Drop.MALFORMED)):
        async with Rig() as rig:
            who, relayer = author(1), author(2)
            relayer.payloads = who.payloads
            rig.join(who)
            rig.join(relayer)
            header = who.header(0, payload)
            await rig.take(who, encode_frame(Announce(who.seal(header))))
            assert rig.count(reason) == 1
            await rig.take(relayer, encode_frame(Relay(1, who.seal(header))))  # not fetched again
            assert (rig.count(Drop.DUPLICATE), len(rig.desk.asked)) == (1, 1)
            assert not rig.verified


async def test_frames_of_strangers_and_after_closing_are_ignored() -> None:
    async with Rig() as rig:
        rig.service.frame(author(1).peer, author(1).announce(0))
        rig.join(author(2))
        await rig.service.close()
        rig.service.frame(author(2).peer, author(2).announce(0))
        await rig.settle()
        assert not rig.verified
        assert not rig.service.counters


async def test_what_the_transport_drops_is_counted() -> None:
    async with Rig() as rig:
        rig.service.dropped(Drop.QUEUE_FULL, None)
        assert rig.count(Drop.QUEUE_FULL) == 1


# gaps, addresses, goodbyes


async def test_a_gap_is_asked_for_and_filled() -> None:
    async with Rig(round=3) as rig:
        who = author(1)
        rig.join(who)
        frames = [who.announce(round) for round in range(4)]
        await rig.take(who, frames[0], frames[3])
        assert said(rig, who)[-1] == HeaderRequest(who.peer, 2, 3)
        await rig.take(who, frames[2], frames[1])
        assert [event.update.header.round for event in rig.verified] == [0, 3, 2, 1]


async def test_headers_are_shown_on_request_own_and_others() -> None:
    async with Rig() as rig:
        who, asking = author(1), author(2)
        rig.join(who)
        rig.join(asking)
        own = [await rig.service.publish(round, VECTOR.tobytes()) for round in range(3)]
        await rig.take(who, who.announce(0), who.announce(1))
        rig.desk.sent.clear()
        await rig.take(asking, encode_frame(HeaderRequest(rig.key.peer, 2, 9)))
        assert said(rig, asking) == [Announce(update.envelope) for update in own[1:]]
        rig.desk.sent.clear()
        await rig.take(asking, encode_frame(HeaderRequest(who.peer, 2, 9)))
        assert said(rig, asking) == [Relay(1, rig.verified[1].update.envelope)]


async def test_the_newest_header_is_shown_on_request_own_and_others() -> None:
    async with Rig() as rig:
        who, asking, nobody = author(1), author(2), author(3)
        rig.join(who)
        rig.join(asking)
        rig.desk.sent.clear()
        await rig.take(asking, encode_frame(HeaderRequest(rig.key.peer, 0, 0)))
        assert said(rig, asking) == []  # there is none yet
        own = [await rig.service.publish(round, VECTOR.tobytes()) for round in range(3)]
        await rig.take(who, who.announce(0), who.announce(1))
        for asked, shown in ((rig.key.peer, [Announce(own[2].envelope)]), (nobody.peer, [])):
            rig.desk.sent.clear()
            await rig.take(asking, encode_frame(HeaderRequest(asked, 0, 0)))
            assert said(rig, asking) == shown
        rig.desk.sent.clear()
        await rig.take(asking, encode_frame(HeaderRequest(who.peer, 0, 0)))
        assert said(rig, asking) == [Relay(1, rig.verified[1].update.envelope)]
        rig.desk.sent.clear()
        rig.service.ask(who.peer, asking.peer)
        assert said(rig, asking) == [HeaderRequest(who.peer, 0, 0)]


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 15), (1, 0)])
async def test_a_request_for_what_is_no_range_is_malformed(first: int, last: int) -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, encode_frame(HeaderRequest(who.peer, first, last)))
        assert rig.count(Drop.MALFORMED) == 1


async def test_signed_addresses_are_learned_told_and_dialled() -> None:
    async with Rig() as rig:
        who, far, other = author(1), author(2), author(3)
        record = seal(far.key, RECORD, encode_record(PeerRecord(NETWORK, far.peer, "far:1", 1)))
        rig.join(who)
        await rig.take(who, encode_frame(Peers((record, record[:-1] + b"\0"))))
        await asyncio.sleep(0.01)
        assert rig.count(Drop.BAD_SIGNATURE) == 1
        assert ("far:1", far.peer) in rig.desk.dialled
        assert rig.count(Drop.UNREACHABLE) > 0
        rig.join(other)
        (told,) = [frame for frame in said(rig, other) if isinstance(frame, Peers)]
        assert record in told.envelopes


async def test_a_goodbye_ends_the_connection_and_closing_says_one() -> None:
    async with Rig() as rig:
        who, other = author(1), author(2)
        rig.join(who)
        rig.join(other)
        await rig.take(who, encode_frame(Goodbye("enough")))
        assert rig.events[-1] == PeerLeft(who.peer, "said goodbye")
        await rig.service.close()
        await rig.service.close()
        assert said(rig, other)[-1] == Goodbye("closing")


async def test_closing_gives_up_what_is_on_its_way() -> None:
    rig = Rig()
    await rig.service.start()
    who = author(1)
    rig.join(who)
    rig.service.frame(who.peer, who.announce(0))
    await rig.service.close()
    assert not rig.verified
    assert schema_digest(SCHEMA) == who.header(1).schema
    await Rig().service.close()


async def test_the_tables_stay_bounded() -> None:
    small = replace(LIMITS, heard=4, authors=2, records=2)
    async with Rig(limits=small) as rig:
        for number in range(1, 9):
            who = author(number)
            rig.join(who)
            await rig.take(who, who.announce(0))
            rig.service._intake.validate()
        assert len(rig.verified) == 8
        first = author(1)
        await rig.take(first, first.announce(0))
        assert rig.count(Drop.REPLAY) == 1


async def test_of_those_who_show_one_header_a_bounded_number_is_remembered() -> None:
    async with Rig(limits=replace(LIMITS, vias=4)) as rig:
        who = author(1)
        rig.join(who)
        envelope = who.seal(who.header(0))
        await rig.take(who, encode_frame(Announce(envelope)))
        for number in range(2, 12):
            other = author(number)
            rig.join(other)
            await rig.take(other, encode_frame(Relay(1, envelope)))
        assert sum(isinstance(event, UpdateHeard) for event in rig.events) == 3
        assert rig.count(Drop.DUPLICATE) == 7
        (known,) = rig.service._intake._known.values()
        assert len(known.vias) == 4


async def test_an_update_is_compared_by_identity_and_named_by_its_header() -> None:
    async with Rig() as rig:
        update = await rig.service.publish(0, VECTOR.tobytes())
        assert update.header.payload_digest == hashlib.sha256(update.payload).digest()
        assert isinstance(update.payload, memoryview)
        assert update.payload.readonly
        assert not isinstance(update, UpdateVerified)


async def test_payloads_go_to_those_only_who_are_to_have_them() -> None:
    friend, other = author(1), author(2)
    async with Rig(serves=lambda peer: peer == friend.peer) as rig:
        rig.join(friend)
        rig.join(other)
        update = await rig.service.publish(0, np.zeros(SCHEMA.elements, "<f4").tobytes())
        assert rig.service.blob(update.header.payload_digest, friend.peer) == update.payload
        assert rig.service.blob(update.header.payload_digest, other.peer) is None
