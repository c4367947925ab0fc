"""The handshake: who completes it is who it says, here, now, and meant us."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from gossip.protocol.codec import HELLO, decode_hello, encode_hello
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.handshake import Greeting, Handshake
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Hello
from identity.envelope import open_envelope, seal
from identity.keys import PeerId, SigningKey

NETWORK, SCHEMA = bytes([1]) * 32, bytes([2]) * 32
ALICE, BOB, MALLORY = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))


def side(key: SigningKey, dialled: bool, nonce: int, expect: PeerId | None = None, **changes: Any) -> Handshake:
    greeting = replace(Greeting(NETWORK, SCHEMA, "host:1", 4, 9), **changes)
    return Handshake(key, greeting, hashlib.sha256(bytes([nonce])).digest(), dialled, expect)


def talk(dialler: Handshake, listener: Handshake) -> None:
    message = dialler.first()
    speaker, hearer = dialler, listener
    while message is not None:
        message = hearer.receive(message)
        speaker, hearer = hearer, speaker


def changed(envelope: bytes, key: SigningKey, **fields: Any) -> bytes:
    hello = decode_hello(open_envelope(envelope, HELLO).body, Limits())
    return seal(key, HELLO, encode_hello(replace(hello, **fields)))


def test_both_sides_learn_who_the_other_is_and_share_a_session() -> None:
    dialler, listener = side(ALICE, True, 1, BOB.peer), side(BOB, False, 2)
    talk(dialler, listener)
    assert dialler.party is not None
    assert listener.party is not None
    assert (dialler.party.peer, listener.party.peer) == (BOB.peer, ALICE.peer)
    assert dialler.party.session == listener.party.session
    assert (listener.party.hello.sequence, listener.party.hello.round) == (4, 9)
    again, other = side(ALICE, True, 3), side(BOB, False, 4)
    talk(again, other)
    assert again.party is not None
    assert again.party.session != dialler.party.session


def test_the_listener_speaks_second() -> None:
    assert side(BOB, False, 1).first() is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"network": bytes(32)}, Drop.WRONG_NETWORK),
        ({"schema": bytes(32)}, Drop.SCHEMA),
        ({"allow": frozenset({MALLORY.peer})}, Drop.NOT_ALLOWED),
        ({"distrusted": frozenset({ALICE.peer})}, Drop.DISTRUSTED),
        ({"allow": frozenset({ALICE.peer}), "distrusted": frozenset({ALICE.peer})}, Drop.DISTRUSTED),
    ],
)
def test_a_peer_of_another_network_or_model_or_not_allowed_or_distrusted_is_refused(
    changes: dict[str, Any], reason: Drop
) -> None:
    listener = side(BOB, False, 2, **changes)
    with pytest.raises(RemoteFault) as fault:
        talk(side(ALICE, True, 1), listener)
    assert fault.value.reason is reason
    assert listener.party is None


def test_an_allowed_peer_is_let_in() -> None:
    listener = side(BOB, False, 2, allow=frozenset({ALICE.peer}))
    talk(side(ALICE, True, 1), listener)
    assert listener.party is not None
    assert not listener.party.dialled


def test_somebody_else_at_the_address_is_refused() -> None:
    dialler = side(ALICE, True, 1, expect=BOB.peer)
    with pytest.raises(RemoteFault) as fault:
        talk(dialler, side(MALLORY, False, 2))
    assert fault.value.reason is Drop.UNEXPECTED_PEER


def test_our_own_hello_that_comes_back_is_refused() -> None:
    dialler = side(ALICE, True, 1)
    first = dialler.first()
    assert first is not None
    with pytest.raises(RemoteFault) as fault:
        dialler.receive(first)
    assert fault.value.reason is Drop.SELF


def test_hellos_of_an_earlier_connection_are_worthless() -> None:
    dialler, listener = side(ALICE, True, 1), side(BOB, False, 2)
    first = dialler.first()
    assert first is not None
    second = listener.receive(first)
    assert second is not None
    third = dialler.receive(second)
    assert third is not None
    listener.receive(third)
    with pytest.raises(RemoteFault, match="refused"):
        side(ALICE, True, 5).receive(second)
    later = side(BOB, False, 6)
    later.receive(first)
    with pytest.raises(RemoteFault, match="refused"):
        later.receive(third)
    with pytest.raises(RemoteFault, match="after the handshake"):
        listener.receive(third)


def test_a_peer_whom_somebody_dials_cannot_pass_for_that_somebody() -> None:
    # Lowe's attack: Alice dials Mallory, who uses her answers to shake hands with Bob as Alice
    alice, bob = side(ALICE, True, 1), side(BOB, False, 2)
    first = alice.first()
    assert first is not None
    from_bob = bob.receive(first)
    assert from_bob is not None
    nonce = decode_hello(open_envelope(from_bob, HELLO).body, Limits()).nonce
    forged = changed(from_bob, MALLORY, peer=MALLORY.peer, nonce=nonce)
    answer = alice.receive(forged)  # Alice talks to Mallory, and says so
    assert answer is not None
    with pytest.raises(RemoteFault) as fault:
        bob.receive(answer)
    assert fault.value.reason is Drop.REFUSED
    assert bob.party is None


def hello(**changes: Any) -> Hello:
    return replace(Hello(NETWORK, ALICE.peer, bytes([5]) * 32, bytes(32), bytes(32), SCHEMA, "", 0, 0), **changes)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", Drop.BAD_SIGNATURE),
        (bytes(609), Drop.OVERSIZE),
        (seal(ALICE, "update", encode_hello(hello())), Drop.BAD_SIGNATURE),
        (seal(ALICE, HELLO, b"\x90"), Drop.MALFORMED),
        (seal(MALLORY, HELLO, encode_hello(hello())), Drop.WRONG_AUTHOR),
        (seal(ALICE, HELLO, encode_hello(hello(version=2))), Drop.WRONG_VERSION),
        (seal(ALICE, HELLO, encode_hello(hello(echo=bytes([1]) * 32))), Drop.REFUSED),
        (seal(ALICE, HELLO, encode_hello(hello(to=BOB.peer))), Drop.REFUSED),
    ],
)
def test_a_bad_first_hello_is_refused(message: bytes, reason: Drop) -> None:
    with pytest.raises(RemoteFault) as fault:
        side(BOB, False, 2).receive(message)
    assert fault.value.reason is reason


@pytest.mark.parametrize("fields", [{"peer": MALLORY.peer}, {"nonce": bytes(32)}])
def test_the_second_hello_must_be_the_first_ones(fields: dict[str, Any]) -> None:
    dialler, listener = side(ALICE, True, 1), side(BOB, False, 2)
    first = dialler.first()
    assert first is not None
    second = listener.receive(first)
    assert second is not None
    third = dialler.receive(second)
    assert third is not None
    with pytest.raises(RemoteFault) as fault:
        listener.receive(changed(third, MALLORY if "peer" in fields else ALICE, **fields))
    assert fault.value.reason is Drop.REFUSED
    assert listener.party is None
