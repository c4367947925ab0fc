"""Of whom people vouch for addresses are told first and forgotten last; each is told once a link, in its time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip.protocol.codec import RECORD, encode_record
from gossip.protocol.limits import Limits
from gossip.protocol.messages import PeerRecord, Peers
from gossip.reach.book import AddressBook
from gossip.reach.trickle import SPARE, Trickle
from identity.envelope import seal
from identity.keys import PeerId, SigningKey

NETWORK = bytes(32)
ME, TELLER, ASKER = (SigningKey(bytes([number]) * 32).peer for number in (201, 202, 203))
LIMITS = Limits(records=6, introduced=6, peers_in_frame=2)
KEYS = [SigningKey(bytes([number]) * 32) for number in range(1, 10)]


def record(key: SigningKey, sequence: int = 1) -> bytes:
    body = encode_record(PeerRecord(NETWORK, key.peer, f"host{key.peer[0]}:1", sequence))
    return seal(key, RECORD, body)


def book(count: int, favoured: frozenset[PeerId] = frozenset()) -> AddressBook:
    made = AddressBook(ME, NETWORK, LIMITS)
    made.favoured = favoured
    for key in KEYS[:count]:
        made.learn(record(key), TELLER)
    return made


def test_a_full_book_keeps_those_with_standing() -> None:
    first = frozenset(key.peer for key in KEYS[:2])
    full = book(9, first)
    assert len(full) == LIMITS.records
    assert first <= {peer for peer, _ in full.candidates()}
    assert first.isdisjoint(peer for peer, _ in book(9).candidates())


def test_those_with_standing_are_told_first() -> None:
    favoured = book(5, frozenset([KEYS[0].peer]))
    assert favoured.envelopes(ASKER, 2) == (record(KEYS[0]), record(KEYS[4]))
    assert book(5).envelopes(ASKER, 2) == (record(KEYS[4]), record(KEYS[3]))


def test_where_a_peer_listens_is_what_it_said_last() -> None:
    made = book(1)
    assert made.address(KEYS[0].peer).startswith("host")
    assert made.address(KEYS[1].peer) == ""


class Told:
    """A trickle to whoever is linked, and what it sent."""

    def __init__(self, book: AddressBook, limits: Limits = LIMITS) -> None:
        self.sent: list[tuple[PeerId, tuple[bytes, ...]]] = []
        self.linked: tuple[PeerId, ...] = (TELLER, ASKER)
        self.trickle = Trickle(lambda: self.linked, book, limits, self._send)

    def _send(self, to: PeerId, frame: Peers) -> None:
        self.sent.append((to, frame.envelopes))


def test_each_record_is_told_once_and_never_to_who_told_it() -> None:
    made = book(3, frozenset(key.peer for key in KEYS[:3]))
    told = Told(made)
    period = 1 / (SPARE * LIMITS.peers_rate)
    assert told.trickle.tell(0.0) == pytest.approx(period)
    assert told.trickle.tell(period) == pytest.approx(period)  # what came meanwhile would wait as long
    assert told.trickle.tell(2 * period) is None
    assert [to for to, _ in told.sent] == [ASKER, ASKER]
    assert [one for _, some in told.sent for one in some] == [record(key) for key in KEYS[:3]]


def test_who_comes_back_is_told_again_but_no_sooner() -> None:
    made = book(1, frozenset([KEYS[0].peer]))
    told = Told(made)
    told.trickle.tell(0.0)
    told.linked = ()
    assert told.trickle.tell(1.0) is None
    told.linked = (ASKER,)
    due = told.trickle.tell(2.0)
    assert due is not None
    assert len(told.sent) == 1
    told.trickle.tell(2.0 + due)
    assert len(told.sent) == 2


def test_nobody_is_told_of_peers_without_standing() -> None:
    told = Told(book(5))
    assert told.trickle.tell(0.0) is None
    assert told.sent == []


def test_honest_nodes_stay_within_what_a_peer_is_allowed() -> None:
    """Three joins in a second and a trickle for an hour: the peer's own bucket is never empty."""
    from gossip.patience import Patience

    patience = Patience(replace(LIMITS))
    made = book(6, frozenset(key.peer for key in KEYS))
    told = Told(made)
    assert all(patience.tells(ME, now) for now in (0.0, 0.5, 1.0))
    now = 1.0
    for turn in range(200):
        for key in KEYS[:6]:
            made.learn(record(key, 2 + turn), TELLER)
        before = len(told.sent)
        due = told.trickle.tell(now)
        assert all(patience.tells(ME, now) for _ in told.sent[before:])
        now += 1.0 if due is None else due
