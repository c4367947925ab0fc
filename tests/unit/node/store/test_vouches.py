"""Statements on disk: what was told to be kept is there after kill -9, and a restart goes on from it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gossip.protocol.codec import VOUCH, encode_vouch
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Vouch
from gossip.vouching import Statement
from identity.envelope import digest_of, seal
from identity.keys import SigningKey
from node.alarms import Alarms
from node.errors import StoreError
from node.store.people import People, State
from node.store.vouches import VouchTable
from node.voucher import Voucher

NETWORK, OTHER = bytes([1]) * 32, bytes([2]) * 32
ME, BOB, CAROL = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))


def said(issuer: SigningKey, subject: SigningKey, sequence: int = 1, network: bytes = NETWORK) -> Statement:
    vouch = Vouch(network, issuer.peer, subject.peer, sequence, 60_000)
    body = encode_vouch(vouch)
    return Statement.of(vouch, digest_of(VOUCH, body), seal(issuer, VOUCH, body))


def test_what_is_kept_comes_back_as_it_went_and_what_went_is_gone(tmp_path: Path) -> None:
    with People(tmp_path / "ledger.sqlite") as people:
        table = VouchTable(people, NETWORK)
        first, second, newer = said(ME, BOB), said(BOB, ME), said(ME, BOB, 2)
        table.keep({each.pair: each for each in (first, second)}, ME.peer)
        assert sorted(table.all(), key=lambda each: each.pair) == sorted([first, second], key=lambda each: each.pair)
        table.keep({newer.pair: newer, second.pair: None}, ME.peer)
        assert table.all() == [newer]


def test_statements_of_another_network_or_version_are_passed_over(tmp_path: Path) -> None:
    with People(tmp_path / "ledger.sqlite") as people:
        other = said(ME, BOB, network=OTHER)
        VouchTable(people, OTHER).keep({other.pair: other}, ME.peer)
        people.connection.execute("INSERT INTO vouch VALUES (?, ?, ?)", (BOB.peer, ME.peer, bytes(120)))
        people.connection.execute("INSERT INTO vouch VALUES (?, ?, ?)", (CAROL.peer, ME.peer, b"short"))
        assert VouchTable(people, NETWORK).all() == []
        assert VouchTable(people, OTHER).all() == [other]


def test_a_ledger_of_before_gets_the_table(tmp_path: Path) -> None:
    with People(tmp_path / "ledger.sqlite") as people:
        people.say(BOB.peer, State.KNOWN, "bob")
    with sqlite3.connect(tmp_path / "ledger.sqlite") as old:
        old.execute("DROP TABLE vouch")
    old.close()
    with People(tmp_path / "ledger.sqlite") as people:
        assert VouchTable(people, NETWORK).all() == []
        assert people.all()[0].alias == "bob"


def test_a_disk_that_refuses_writes_nothing_of_it(tmp_path: Path) -> None:
    with People(tmp_path / "ledger.sqlite") as people:
        table, first = VouchTable(people, NETWORK), said(ME, BOB)
        table.keep({first.pair: first}, ME.peer)
        people.connection.execute("PRAGMA query_only = 1")
        second = said(BOB, ME)
        with pytest.raises(StoreError, match="make it writable"):
            table.keep({second.pair: second, first.pair: None}, ME.peer)
        assert table.all() == [first]


def test_only_ones_own_words_wait_for_the_disk(tmp_path: Path) -> None:
    with People(tmp_path / "ledger.sqlite") as people:
        table, modes = VouchTable(people, NETWORK), []
        for statement in (said(BOB, ME), said(ME, BOB), said(CAROL, ME)):
            table.keep({statement.pair: statement}, ME.peer)
            modes.append(people.connection.execute("PRAGMA synchronous").fetchone()[0])
        assert modes == [1, 2, 1]  # normal, full, normal
        people.say(BOB.peer, State.KNOWN)
        assert people.connection.execute("PRAGMA synchronous").fetchone()[0] == 2


WRITER = """
import sys
from pathlib import Path
from gossip.protocol.codec import VOUCH, encode_vouch
from gossip.protocol.messages import Vouch
from gossip.vouching import Statement
from identity.envelope import digest_of, seal
from identity.keys import SigningKey
from node.store.people import People
from node.store.vouches import VouchTable

me, bob, network = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32), bytes([1]) * 32
with People(Path(sys.argv[1])) as people:
    table, sequence = VouchTable(people, network), 0
    while True:
        sequence += 1
        changed = {}
        for issuer, subject in ((me, bob), (bob, me)):
            vouch = Vouch(network, issuer.peer, subject.peer, sequence, 60_000)
            body = encode_vouch(vouch)
            statement = Statement.of(vouch, digest_of(VOUCH, body), seal(issuer, VOUCH, body))
            changed[statement.pair] = statement
        table.keep(changed, me.peer)
        print(sequence, flush=True)
"""


def test_what_was_kept_is_there_after_kill_9_and_the_next_word_is_newer(tmp_path: Path) -> None:
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "ledger.sqlite")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        told = 0
        for line in writer.stdout:
            told = int(line)
            if told == 50:
                os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with People(tmp_path / "ledger.sqlite") as people:
            kept = VouchTable(people, NETWORK).all()
            assert {each.pair for each in kept} == {(ME.peer, BOB.peer), (BOB.peer, ME.peer)}
            assert {each.sequence for each in kept} <= {told, told + 1}
            assert len({each.sequence for each in kept}) == 1  # both or none
    with People(tmp_path / "ledger.sqlite") as people:
        voucher = Voucher(ME, NETWORK, VouchTable(people, NETWORK), Alarms())
        before = voucher.sums()
        voucher.acquainted(people.all())  # nobody is known
        voucher.advance(7)
        assert set(voucher.standing) == set()
        assert before != voucher.sums()
        assert len(voucher.fresh()) == 1
        back = VouchTable(people, NETWORK).all()
        mine = next(each for each in back if each.issuer == ME.peer)
        assert (mine.until, mine.sequence > told) == (0, True)


def test_a_restart_holds_what_was_held_and_stands_as_it_stood(tmp_path: Path) -> None:
    with People(tmp_path / "ledger.sqlite") as people:
        people.say(BOB.peer, State.KNOWN)
        first = Voucher(ME, NETWORK, VouchTable(people, NETWORK), Alarms())
        first.acquainted(people.all())
        first.advance(3)
        for statement in (said(BOB, ME), said(BOB, CAROL), said(CAROL, BOB)):
            first.admit(statement)
        first.fresh()
        first.advance(4)
        again = Voucher(ME, NETWORK, VouchTable(people, NETWORK), Alarms(), limits=Limits())
        again.acquainted(people.all())
        again.advance(4)
        assert set(again.standing) == {BOB.peer, CAROL.peer}
        assert again.standing == first.standing
        assert again.sums() == first.sums()
        assert again.fresh() == ()  # and says nothing anew
