"""Our own chain: durable before it is sent, signed once a round, never begun anew by a node that forgot it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from wire_rig import LIMITS, SCHEMA, Author, Rig, author

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.codec import decode_frame, encode_frame
from gossip.protocol.errors import Drop, LocalFault
from gossip.protocol.events import Equivocated, HeadAhead
from gossip.protocol.messages import Announce, Peers, Relay, Schema, TensorSpec

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
        assert rig.service.blob(update.header.payload_digest) == update.payload
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
        assert rig.service.blob(first.header.payload_digest) == first.payload
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
