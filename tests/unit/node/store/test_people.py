"""The table of people: what a person says holds, beside another process and after a crash; it is bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import peer

from gossip.chain.ledger import Entry
from gossip.protocol.limits import Limits
from gossip.protocol.ticket import mark
from identity.keys import SigningKey, format_peer
from node.errors import ConfigError, StoreError
from node.store.invitations import KEPT, Invitations
from node.store.ledger import SqliteLedger
from node.store.people import ALIAS, ASKS, People, State, called, checked_alias

BOB, CAROL, DAVE = (SigningKey(bytes([number]) * 32).peer for number in (1, 2, 3))
ROOT = Path(__file__).parents[4]


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with People(tmp_path / "ledger.sqlite") as table:
        yield table


def states(people: People) -> dict[bytes, tuple[str, State]]:
    return {person.peer: (person.alias, person.state) for person in people.all()}


def test_a_name_stays_with_its_peer_whatever_else_is_said(people: People) -> None:
    people.say(BOB, State.KNOWN, "bob")
    people.say(BOB, State.DISTRUSTED)
    people.say(CAROL, State.DISTRUSTED)
    assert states(people) == {BOB: ("bob", State.DISTRUSTED), CAROL: ("", State.DISTRUSTED)}
    people.say(BOB, State.KNOWN, "robert")
    people.forget(CAROL)
    assert states(people) == {BOB: ("robert", State.KNOWN)}


def test_whom_a_person_means(people: People, tmp_path: Path) -> None:
    people.say(BOB, State.KNOWN, "bob")
    people.ask([CAROL], 3)
    assert people.find("bob") == people.find(format_peer(BOB)) == people.find(format_peer(BOB)[:8]) == BOB
    assert people.find(format_peer(CAROL)[:20].upper()) == CAROL
    assert people.find(format_peer(DAVE)) == DAVE  # a whole id is anybody's
    for text in (format_peer(DAVE)[:8], format_peer(BOB)[:7], "carol", "", "%", "a" * 60):
        with pytest.raises(ConfigError, match="nobody here"):
            people.find(text)
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    ledger.remember(Entry(DAVE, 1, 1, bytes(32), bytes(32), b"e"))
    ledger.close()
    assert people.find(format_peer(DAVE)[:8]) == DAVE


def test_letters_that_begin_two_peer_ids_are_nobodys(people: People) -> None:
    alike = [BOB[:8] + bytes([n]) * 24 for n in (1, 2)]
    for number, each in enumerate(alike):
        people.say(type(BOB)(each), State.KNOWN, f"twin {number}")
    with pytest.raises(ConfigError, match="begins 2 peer ids"):
        people.find(format_peer(BOB)[:8])


@pytest.mark.parametrize("name", ["", "  ", "x" * (ALIAS + 1), "a\nb", "\u202eevil", format_peer(BOB)])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        checked_alias(name)


def test_a_name_is_one_peers(people: People) -> None:
    people.say(BOB, State.KNOWN, "bob")
    with pytest.raises(ConfigError, match="already"):
        people.say(CAROL, State.KNOWN, " bob ")
    assert CAROL not in states(people)
    assert called(BOB, "bob").startswith("bob (")


def test_nobody_comes_back_from_distrust_but_by_a_person(people: People) -> None:
    people.say(BOB, State.DISTRUSTED)
    people.answered(BOB, "host:1")
    people.ask([BOB], 4)
    invitations = Invitations(people)
    assert not invitations.redeem(mark(invitations.give("bob")), BOB, 0)
    invitations.hold(BOB, bytes(16))
    invitations.taken(BOB)
    assert states(people) == {BOB: ("", State.DISTRUSTED)}


def test_one_stays_known_for_each_address_of_join(people: People) -> None:
    people.answered(BOB, "host:1")
    people.answered(CAROL, "host:2")
    people.answered(DAVE, "host:1")
    assert states(people) == {CAROL: ("", State.KNOWN), DAVE: ("", State.KNOWN)}
    people.say(DAVE, State.KNOWN, "dave")  # now a person said so
    people.answered(BOB, "host:1")
    assert set(states(people)) == {BOB, CAROL, DAVE}


def test_of_those_who_ask_the_newest_are_kept_and_nobody_else_goes(people: People) -> None:
    people.say(BOB, State.KNOWN)
    people.say(CAROL, State.DISTRUSTED)
    crowd = [peer(100 + number) for number in range(3 * ASKS)]
    for round, each in enumerate(crowd):
        people.ask([each, BOB, CAROL], round)
    asking = [person.peer for person in people.all() if person.state is State.ASKS]
    assert asking == crowd[-ASKS:]
    assert states(people)[BOB][1] is State.KNOWN
    people.ask([peer(1000 + number) for number in range(3 * ASKS)], 9)
    assert len(people.all()) == ASKS + 2
    people.say(crowd[-1], State.KNOWN)
    assert states(people)[crowd[-1]][1] is State.KNOWN


def test_too_many_people_are_refused_with_a_sentence(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.store.people.PEOPLE", 2)
    people.say(BOB, State.KNOWN)
    people.say(CAROL, State.DISTRUSTED)
    with pytest.raises(ConfigError, match="forget one"):
        people.say(DAVE, State.KNOWN)
    people.say(CAROL, State.KNOWN)
    assert len(people.all()) == 2


def test_the_round_of_a_word_is_the_nodes(people: People, tmp_path: Path) -> None:
    people.say(BOB, State.KNOWN)
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    ledger.append(Entry(peer(9), 1, 41, bytes(32), bytes(32), b"e"), b"p")
    people.say(CAROL, State.KNOWN)
    people.say(BOB, State.KNOWN, "bob")  # no news but the name
    assert [(person.peer, person.since) for person in people.all()] == [(BOB, 0), (CAROL, 41)]
    ledger.close()


def test_another_process_writes_while_the_node_has_it_open(people: People, tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    with People(tmp_path / "ledger.sqlite") as command:
        command.say(BOB, State.KNOWN, "bob")
    ledger.serve({CAROL: 3})
    assert people.find("bob") == BOB
    ledger.close()


def test_what_was_said_outlives_a_kill(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from identity.keys import PeerId
from node.store.invitations import Invitations
from node.store.people import People, State
people = People(Path(sys.argv[1]))
people.say(PeerId(bytes.fromhex(sys.argv[2])), State.DISTRUSTED, "bob")
sys.stdout.write(Invitations(people).give("carol").hex())
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "ledger.sqlite"), BOB.hex()],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    with People(tmp_path / "ledger.sqlite") as people:
        assert states(people) == {BOB: ("bob", State.DISTRUSTED)}
        assert Invitations(people).redeem(mark(bytes.fromhex(done.stdout.decode())), CAROL, 0)
    with People(tmp_path / "ledger.sqlite") as people:
        assert states(people)[CAROL] == ("carol", State.KNOWN)


def test_a_file_that_is_no_ledger_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(StoreError, match="cannot use"):
        People(tmp_path / "ledger.sqlite")


# invitations


def test_only_the_mark_of_an_invitation_is_kept(people: People, tmp_path: Path) -> None:
    secret = Invitations(people).give("bob")
    people.close()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert any(mark(secret) in content for content in files)
    assert not any(secret in content for content in files)


def test_names_of_invitations_and_of_people_do_not_meet(people: People) -> None:
    invitations = Invitations(people)
    people.say(BOB, State.KNOWN, "bob")
    with pytest.raises(ConfigError, match="already"):
        invitations.give("bob")
    invitations.give("carol")
    with pytest.raises(ConfigError, match="invited already"):
        invitations.give("carol")
    people.say(CAROL, State.KNOWN, "carol")  # meanwhile: then whoever redeems comes without a name
    assert invitations.redeem(invitations.all()[0].mark, DAVE, 0)
    assert states(people)[DAVE] == ("", State.KNOWN)


def test_revoking_is_for_those_that_nobody_redeemed(people: People) -> None:
    invitations = Invitations(people)
    first = invitations.give("bob")
    invitations.give()
    assert invitations.redeem(mark(first), BOB, 0)
    with pytest.raises(ConfigError, match="was redeemed"):
        invitations.revoke("bob")
    with pytest.raises(ConfigError, match="no invitation 7"):
        invitations.revoke("7")
    assert invitations.revoke("2").number == 2
    assert [one.describe(0) for one in invitations.all()] == ["redeemed"]


def test_open_invitations_are_few_and_closed_ones_are_forgotten(people: People) -> None:
    invitations = Invitations(people)
    for _ in range(Limits().invitations):
        invitations.give()
    with pytest.raises(ConfigError, match="cannot be more"):
        invitations.give()
    for number, one in enumerate(invitations.all()):
        assert invitations.redeem(one.mark, peer(100 + number), 0)
    assert Limits().invitations < KEPT
    with people.writing():
        for number in range(2 * KEPT):
            people.connection.execute(
                "INSERT INTO invitation (mark, alias, until, peer) VALUES (?, '', 1, ?)",
                (bytes([number % 256, number // 256]), BOB),
            )
    invitations.give("last")
    assert len(invitations.all()) <= KEPT + 1


def test_the_time_of_an_invitation_begins_in_the_first_round_that_sees_it(people: People) -> None:
    invitations = Invitations(people)
    invitations.give("bob")
    assert "begins" in invitations.all()[0].describe(10**6)
    invitations.begin(100)
    invitations.begin(200)
    (one,) = invitations.all()
    assert one.until == 100 + Limits().invited
    assert (one.open(one.until), one.open(one.until + 1)) == (True, False)
    assert one.describe(one.until + 1) == "expired"
