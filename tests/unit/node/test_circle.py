"""Whom a running node knows: who dials and stays asks, who answers is known, a broken table costs no round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import peer

from gossip.protocol.codec import VOUCH, encode_vouch
from gossip.protocol.events import PeerJoined, PeerLeft, PeerNamed, PeerRedeemed
from gossip.protocol.messages import Vouch
from gossip.vouching import Statement
from identity.envelope import digest_of, seal
from identity.keys import SigningKey
from node.alarms import Alarms
from node.circle import FADED, Circle
from node.core.events import Acquainted
from node.store.invitations import Invitations
from node.store.people import People, State
from node.store.vouches import VouchTable
from node.voucher import Voucher

BOB, CAROL, DAVE = peer(1), peer(2), peer(3)


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with People(tmp_path / "ledger.sqlite") as table:
        yield table


def asking(people: People) -> dict[bytes, int]:
    return {person.peer: person.since for person in people.all() if person.state is State.ASKS}


def test_whoever_dials_and_stays_for_a_round_asks_and_nobody_else(people: People) -> None:
    circle = Circle(people, Alarms(), lambda line: None)
    circle.note(PeerJoined(BOB, 0, 0, "", dialled=False))
    circle.note(PeerJoined(CAROL, 0, 0, "", dialled=True))
    circle.after(4, ())
    circle.note(PeerJoined(DAVE, 0, 0, "", dialled=False))
    assert asking(people) == {}
    circle.after(5, ())
    circle.note(PeerLeft(DAVE, ""))
    circle.after(6, ())
    assert asking(people) == {BOB: 5}
    assert circle.said() == Acquainted(frozenset(), frozenset())  # to ask gives nothing


def test_who_asked_and_has_been_gone_for_long_is_forgotten_and_may_ask_again(people: People) -> None:
    circle = Circle(people, Alarms(), lambda line: None)
    for each in (BOB, CAROL, DAVE):
        circle.note(PeerJoined(each, 0, 0, "", dialled=False))
    circle.after(0, ())
    circle.after(1, ())
    circle.said()
    circle.note(PeerLeft(BOB, ""))
    circle.note(PeerLeft(DAVE, ""))
    people.say(DAVE, State.KNOWN)
    circle.after(2, ())
    circle.after(1 + FADED, ())
    assert asking(people) == {BOB: 1, CAROL: 1}
    circle.after(2 + FADED, ())
    assert asking(people) == {CAROL: 1}  # who is still here stays
    assert circle.said().known == {DAVE}
    circle.note(PeerJoined(BOB, 0, 0, "", dialled=False))
    circle.after(3 + FADED, ())
    circle.after(4 + FADED, ())
    assert asking(people) == {CAROL: 1, BOB: 4 + FADED}


def test_who_is_known_by_name_does_not_ask(people: People) -> None:
    circle = Circle(people, Alarms(), lambda line: None)
    for each in (BOB, CAROL):
        circle.note(PeerJoined(each, 0, 0, "", dialled=False))
    people.say(CAROL, State.DISTRUSTED)
    for round in range(3):
        circle.after(round, [BOB])
    assert asking(people) == {}


def test_whoever_answers_at_an_address_of_join_is_known_after_a_restart(people: People) -> None:
    Circle(people, Alarms(), lambda line: None).note(PeerNamed(BOB, "host:1"))
    again = Circle(people, Alarms(), lambda line: None)
    assert again.said() == Acquainted(frozenset({BOB}), frozenset())


def test_a_word_from_another_process_is_read_and_names_are_used(people: People, tmp_path: Path) -> None:
    said: list[str] = []
    circle = Circle(people, Alarms(), said.append)
    with People(tmp_path / "ledger.sqlite") as command:
        command.say(BOB, State.KNOWN, "bob")
        command.say(CAROL, State.DISTRUSTED)
    assert circle.said() == Acquainted(frozenset({BOB}), frozenset({CAROL}))
    circle.note(PeerRedeemed(BOB, True))
    circle.note(PeerRedeemed(DAVE, False))
    assert said[0].startswith("bob (")
    assert "redeemed its invitation" in said[0]
    assert "took our invitation" in said[1]


def test_a_table_that_cannot_be_used_is_one_alarm_and_what_was_read_holds(people: People) -> None:
    said: list[str] = []
    alarms = Alarms(said.append)
    circle = Circle(people, alarms, said.append)
    people.say(BOB, State.KNOWN, "bob")
    known = circle.said()
    people.close()
    assert circle.said() == known
    circle.note(PeerNamed(CAROL, "host:1"))
    circle.after(3, ())
    assert (list(circle.marks()), circle.redeem(bytes(32), CAROL), circle.held(CAROL)) == ([], False, None)
    assert len(said) == 1
    assert "who is known stays as it was" in said[0]
    assert len(alarms.now()) == 1


def test_a_ticket_that_the_inviter_does_not_take_is_told_until_it_is_taken(people: People) -> None:
    alarms = Alarms()
    circle = Circle(people, alarms, lambda line: None)
    Invitations(people).hold(BOB, bytes(16))
    circle.after(1, ())
    assert alarms.sentence("ticket") is None  # the inviter is not here
    circle.note(PeerJoined(BOB, 0, 0, "", dialled=True))
    circle.after(2, ())
    circle.after(3, ())
    told = alarms.sentence("ticket")
    assert told is not None
    assert "used by another key, revoked, or is too old" in told
    circle.taken(BOB)
    circle.after(4, ())
    assert alarms.sentence("ticket") is None


def test_standing_is_the_vouchers_and_nobodys_without_one(people: People) -> None:
    key, network = SigningKey(bytes([1]) * 32), bytes(32)
    bob = SigningKey(bytes([2]) * 32)
    assert dict(Circle(people, Alarms(), lambda line: None).standing()) == {}
    voucher = Voucher(key, network, VouchTable(people, network), Alarms())
    circle = Circle(people, Alarms(), lambda line: None, voucher)
    people.say(bob.peer, State.KNOWN)
    circle.said()
    voucher.advance(1)
    vouch = Vouch(network, bob.peer, key.peer, 1, 60_000)
    body = encode_vouch(vouch)
    voucher.admit(Statement.of(vouch, digest_of(VOUCH, body), seal(bob, VOUCH, body)))
    voucher.advance(2)
    first = circle.standing()
    assert set(first) == {bob.peer}
    voucher.advance(3)
    assert circle.standing() is first
    people.say(bob.peer, State.DISTRUSTED)
    circle.said()
    voucher.advance(4)
    assert dict(circle.standing()) == {}
