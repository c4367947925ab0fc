"""Our own chain: durable before it is sent, signed once a round, never begun anew by a node that forgot it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from wire_rig import LIMITS, SCHEMA, Author, Rig, author

from gossip.chain.admission import entry_of
from gossip.chain.ledger import Entry, MemoryLedger
from gossip.protocol.codec import decode_frame, encode_frame
from gossip.protocol.errors import DiskFault, Drop, LocalFault
from gossip.protocol.events import Broken, Equivocated, HeadAhead, KeyElsewhere
from gossip.protocol.messages import Announce, HeaderRequest, Peers, Relay, Schema, TensorSpec
from identity.keys import SigningKey

VECTOR = np.arange(SCHEMA.elements, dtype="<f4")


def said(rig: Rig, to: Author) -> list[object]:
    return [decode_frame(data, LIMITS) for peer, data in rig.desk.sent if peer == to.peer]


async def test_what_is_published_is_durable_sent_and_served() -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        update = await rig.service.publish(0, VECTOR.tobytes(), base=bytes([1]) * 32, classes=b"\x01")
        assert said(rig, who)[-1] == Announce(update.envelope)
        head = rig.ledger.head()
        assert head is not None
        assert (head.sequence, head.digest) == (1, update.digest)
        assert rig.service.blob(update.header.payload_digest, who.peer) == update.payload
        np.testing.assert_array_equal(update.vector, VECTOR)
        later = await rig.service.publish(4, VECTOR.tobytes())
        assert (later.header.sequence, later.header.previous) == (2, update.digest)


async def test_a_published_round_is_sent_again_but_never_signed_again_also_after_a_crash() -> None:
    ledger = MemoryLedger()
    async with Rig(ledger) as rig:
        first = await rig.service.publish(5, VECTOR.tobytes())
    async with Rig(ledger) as rig:
        who = author(1)
        rig.join(who)
        assert said(rig, who)[0] == Announce(first.envelope)
        again = await rig.service.publish(5, (VECTOR + 1).tobytes())
        assert (again.envelope, bytes(again.payload)) == (first.envelope, bytes(first.payload))
        assert rig.service.blob(first.header.payload_digest, who.peer) == first.payload
        with pytest.raises(LocalFault, match="cannot be signed again"):
            await rig.service.publish(4, VECTOR.tobytes())


async def test_what_cannot_be_published_is_our_own_fault() -> None:
    async with Rig() as rig:
        for round, vector, options in (
            (0, VECTOR.tobytes()[:-1], {}),
            (0, (VECTOR * np.nan).tobytes(), {}),
            (-1, VECTOR.tobytes(), {}),
            (0, VECTOR.tobytes(), {"classes": bytes(257)}),
            (0, VECTOR.tobytes(), {"base": b"short"}),
        ):
            with pytest.raises(LocalFault):
                await rig.service.publish(round, vector, **options)
        assert rig.ledger.head() is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"schema": Schema((TensorSpec("w", (1,), "f8"),))}, "not f8"),
        ({"schema": Schema((TensorSpec("w", (2**30,)),))}, "exceed the limit"),
    ],
)
def test_an_unusable_schema_is_our_own_fault(options: dict[str, Schema], says: str) -> None:
    with pytest.raises(LocalFault, match=says):
        Rig(**options)


async def test_a_backup_that_was_restored_adopts_its_own_newer_head() -> None:
    async with Rig() as rig:
        old = Author(rig.key)
        other = author(1)
        rig.join(other)
        envelopes = [old.seal(old.header(round)) for round in range(3)]
        await rig.take(other, encode_frame(Relay(1, envelopes[2])))
        assert HeadAhead(3, 2, other.peer) in rig.events
        await rig.take(other, encode_frame(Relay(1, envelopes[1])))
        assert rig.count(Drop.REPLAY) == 1
        with pytest.raises(LocalFault):
            await rig.service.publish(2, VECTOR.tobytes())
        update = await rig.service.publish(3, VECTOR.tobytes())
        assert (update.header.sequence, update.header.previous) == (4, old.previous)


async def test_somebody_else_with_our_key_is_noticed() -> None:
    async with Rig() as rig:
        other = author(1)
        rig.join(other)
        mine = await rig.service.publish(0, VECTOR.tobytes())
        await rig.take(other, Author(rig.key).relay(0, base=bytes([1]) * 32))
        assert rig.count(Drop.EQUIVOCATION) == 1
        assert [event.first for event in rig.events if isinstance(event, Equivocated)] == [mine.envelope]
        await rig.take(other, encode_frame(Relay(1, mine.envelope)))
        assert rig.count(Drop.REPLAY) == 1


async def test_a_peer_that_lost_its_head_is_shown_it_when_it_joins() -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        await rig.take(who, who.announce(0))
        rig.desk.sent.clear()
        rig.join(who, sequence=0)
        assert Relay(1, rig.verified[0].update.envelope) in said(rig, who)
        rig.desk.sent.clear()
        rig.join(who, sequence=1)
        assert not [frame for frame in said(rig, who) if isinstance(frame, Relay)]


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_first_publish_waits_until_joined_peers_have_told_what_they_know_of_our_key(leaves: bool) -> None:
    async with Rig(limits=replace(LIMITS, settle=60.0)) as rig:
        old, teller, other = Author(rig.key), author(1), author(2)
        lost = old.seal(old.header(0))
        rig.join(teller)
        rig.join(other)
        publishing = asyncio.create_task(rig.service.publish(1, VECTOR.tobytes()))
        await rig.settle()
        assert not publishing.done()
        await rig.take(teller, encode_frame(Relay(1, lost)), encode_frame(Peers(())))
        assert not publishing.done()
        assert HeadAhead(1, 0, teller.peer) in rig.events
        if leaves:
            await rig.desk.drop(other.peer, "gone")
        else:
            await rig.take(other, encode_frame(Peers(())))
        update = await asyncio.wait_for(publishing, 5)
        assert (update.header.sequence, update.header.previous) == (2, old.previous)


async def test_a_silent_peer_holds_up_the_first_publish_for_a_moment_only() -> None:
    async with Rig() as rig:
        rig.join(author(1))
        first = await asyncio.wait_for(rig.service.publish(0, VECTOR.tobytes()), 5)
        assert first.header.sequence == 1


async def test_a_restored_backup_hears_out_those_who_knew_it_before_it_signs_anything_new() -> None:
    ledger = MemoryLedger()
    knew, other = author(1), author(2)
    async with Rig(ledger) as rig:
        old = Author(rig.key)
        await rig.service.publish(0, VECTOR.tobytes())
    known = ledger.head()
    assert known is not None
    old.sequence, old.previous = known.sequence, known.digest
    lost = old.seal(old.header(1))
    async with Rig(ledger, replace(LIMITS, recall=60.0), recall=frozenset({knew.peer})) as rig:
        again = await rig.service.publish(0, VECTOR.tobytes())  # signed before: it waits for nobody
        assert again.digest == known.digest
        publishing = asyncio.create_task(rig.service.publish(2, VECTOR.tobytes()))
        rig.join(other)
        await rig.take(other, encode_frame(Peers(())))
        assert not publishing.done()
        rig.join(knew)
        await rig.take(knew, encode_frame(Relay(1, lost)), encode_frame(Peers(())))
        update = await asyncio.wait_for(publishing, 5)
        assert (update.header.sequence, update.header.previous) == (3, old.previous)
        assert not [event for event in rig.events if isinstance(event, KeyElsewhere)]


async def test_who_knew_us_and_stays_away_holds_up_one_signature_only() -> None:
    async with Rig(limits=replace(LIMITS, recall=0.05), recall=frozenset({author(1).peer})) as rig:
        for round in range(3):
            update = await asyncio.wait_for(rig.service.publish(round, VECTOR.tobytes()), 5)
        assert update.header.sequence == 3


async def test_of_two_processes_with_one_key_the_one_that_began_later_stops() -> None:
    async with Rig() as first, Rig() as second:
        who = author(1)
        one = await first.service.publish(0, VECTOR.tobytes())
        second.join(who)
        await second.take(who, encode_frame(Relay(1, one.envelope)))
        assert not [event for event in second.events if isinstance(event, KeyElsewhere)]  # it may be a backup
        two = await second.service.publish(1, VECTOR.tobytes())
        assert two.header.previous == one.digest
        first.join(who)
        await first.take(who, encode_frame(Relay(1, two.envelope)))
        assert [event for event in first.events if isinstance(event, KeyElsewhere)] == [KeyElsewhere(2, False, False)]
        three = await first.service.publish(2, VECTOR.tobytes())
        await second.take(who, encode_frame(Relay(1, three.envelope)))
        assert [event for event in second.events if isinstance(event, KeyElsewhere)] == [KeyElsewhere(3, False, True)]


async def test_a_copy_that_sees_the_chain_grow_by_itself_stops_before_it_signs() -> None:
    async with Rig() as rig:
        who, original = author(1), Author(rig.key)
        rig.join(who)
        for round in range(2):
            await rig.take(who, original.relay(round))
        assert [event for event in rig.events if isinstance(event, KeyElsewhere)] == [KeyElsewhere(2, False, True)]


async def test_who_is_refused_for_good_is_shown_why_and_of_the_two_with_its_key_one_stops() -> None:
    async with Rig() as one, Rig() as other:
        updates = [
            await rig.service.publish(0, vector.tobytes()) for rig, vector in ((one, VECTOR), (other, VECTOR + 1))
        ]
    ledger = MemoryLedger()
    async with Rig(ledger) as judge:
        guilty = Author(SigningKey(bytes(31) + b"\x07"))
        first, second = (
            guilty.header(0),
            replace(guilty.header(0), sequence=1, previous=bytes(32), base=bytes([1]) * 32),
        )
        pair = [guilty.seal(first), guilty.seal(second)]
        judge.join(guilty)
        await judge.take(guilty, *(encode_frame(Announce(envelope)) for envelope in pair))
        assert [frame for frame in said(judge, guilty) if isinstance(frame, Relay)] == [Relay(1, e) for e in pair]
        judge.desk.sent.clear()
        judge.join(guilty)
        assert [frame for frame in said(judge, guilty) if isinstance(frame, Relay)][:2] == [Relay(1, e) for e in pair]
    yields = []
    for mine, theirs in (updates, updates[::-1]):
        ledger = MemoryLedger()
        async with Rig(ledger) as rig:
            ledger.append(entry_of(mine.header, mine.digest, mine.envelope), mine.payload)
            who = author(1)
            rig.join(who)
            await rig.take(who, encode_frame(Relay(1, mine.envelope)), encode_frame(Relay(1, theirs.envelope)))
            (found,) = (event for event in rig.events if isinstance(event, KeyElsewhere))
            assert found.conflict
            yields.append(found.yields)
    assert sorted(yields) == [False, True]


async def test_a_disk_that_is_full_costs_what_came_and_a_broken_one_ends_the_node() -> None:
    class Disk(MemoryLedger):
        fault: LocalFault | None = None

        def remember(self, entry: Entry) -> None:
            if self.fault is not None:
                raise self.fault
            super().remember(entry)

    ledger = Disk()
    async with Rig(ledger) as rig:
        who = author(1)
        rig.join(who)
        ledger.fault = DiskFault("full")
        announce = who.announce(0)
        await rig.take(who, announce)
        assert (rig.count(Drop.DISK), rig.verified) == (1, [])
        ledger.fault = None
        await rig.take(who, announce)  # as if it had not come
        assert len(rig.verified) == 1
        ledger.fault = broken = LocalFault("damaged")
        await rig.take(who, who.announce(1))
        assert rig.events[-1] == Broken(broken)


async def test_headers_of_the_model_before_are_not_shown_to_who_asks_for_the_chain() -> None:
    async with Rig() as rig:
        who, before = author(1), Author(rig.key, schema=Schema((TensorSpec("old", (2,)),)))
        header = before.header(0)
        rig.ledger.append(entry_of(header, before.previous, before.seal(header)), b"payload")
        update = await rig.service.publish(1, VECTOR.tobytes())
        rig.join(who)
        rig.desk.sent.clear()
        await rig.take(who, encode_frame(HeaderRequest(rig.key.peer, 1, 2)))
        assert said(rig, who) == [Announce(update.envelope)]
