"""What the wire tells of where peers are and who named them; models that nobody wants stay unread."""

from __future__ import annotations

import pytest
from wire_rig import NETWORK, Rig, author

from gossip.protocol.codec import RECORD, encode_frame, encode_record
from gossip.protocol.errors import Drop
from gossip.protocol.events import PeerJoined, PeerNamed
from gossip.protocol.handshake import Party
from gossip.protocol.messages import Hello, PeerRecord, Peers
from identity.envelope import seal


@pytest.mark.parametrize(
    ("seen", "group"),
    [
        ("8.8.4.4", "8.8.4.0/24"),
        ("2600:1:2:3::4", "2600:1:2::/48"),
        ("::ffff:8.8.4.4", "8.8.4.0/24"),
        ("127.0.0.1", ""),
        ("192.168.1.9", ""),
        ("node-1", ""),
        ("", ""),
    ],
)
async def test_a_peer_is_told_with_the_network_it_is_seen_in_not_the_one_it_claims(seen: str, group: str) -> None:
    who = author(2)
    hello = Hello(author(1).network, who.peer, bytes(32), bytes(32), bytes(32), bytes(32), "9.9.9.9:1", 0, 0)
    async with Rig() as rig:
        rig.service.joined(Party(who.peer, hello, bytes(32), seen))
        (joined,) = (event for event in rig.events if isinstance(event, PeerJoined))
        assert joined.group == group


@pytest.mark.parametrize(("seen", "dialled"), [("8.8.4.4", {"host:1"}), ("192.168.1.9", {"host:1", "192.168.1.1:80"})])
async def test_the_book_judges_a_record_by_where_its_teller_is_seen(seen: str, dialled: set[str]) -> None:
    teller = author(2)
    told = {"host:1": author(3), "192.168.1.1:80": author(4)}
    records = (
        seal(who.key, RECORD, encode_record(PeerRecord(NETWORK, who.peer, address, 1))) for address, who in told.items()
    )
    async with Rig() as rig:
        rig.join(teller, seen=seen)
        await rig.take(teller, encode_frame(Peers(tuple(records))))
        for _ in range(20):
            await rig.settle()
        assert set(rig.desk.dialled) == {(address, told[address].peer) for address in dialled}


async def test_who_answers_where_the_operator_said_is_told() -> None:
    who = author(2)
    rig = Rig(bootstrap=["host:1"])
    rig.desk.answer = lambda address: who.peer if address == "host:1" else None
    async with rig:
        await rig.settle()
        assert [event for event in rig.events if isinstance(event, PeerNamed)] == [PeerNamed(who.peer, "host:1")]


async def test_a_model_that_the_node_does_not_want_is_never_asked_for_and_the_next_one_may_be() -> None:
    who = author(2)
    async with Rig() as rig:
        rig.join(who)
        rig.wanted = False
        await rig.take(who, *(who.announce(round) for round in range(2)))
        assert rig.count(Drop.UNWANTED) == 2
        assert not rig.desk.asked
        rig.wanted = True
        await rig.take(who, who.announce(2))
        assert [event.update.header.round for event in rig.verified] == [2]
