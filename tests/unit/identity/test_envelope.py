"""Envelopes: exact bytes, one purpose, one key."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.envelope import OVERHEAD_BYTES, digest_of, domain, open_envelope, seal, split
from identity.errors import ForgedEnvelope
from identity.keys import SigningKey

KEY = SigningKey(bytes(range(32)))


@given(st.binary(max_size=600))
def test_what_is_sealed_opens_to_the_same_bytes(body: bytes) -> None:
    envelope = seal(KEY, "update", body)
    assert len(envelope) == len(body) + OVERHEAD_BYTES
    opened = open_envelope(envelope, "update")
    assert (opened.author, opened.body) == (KEY.peer, body)
    assert opened.digest == hashlib.sha256(b"hedgerow/update/1\0" + body).digest()
    assert split(envelope).signature == KEY.sign(opened.digest)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_one_flipped_bit_anywhere_is_noticed(body: bytes, data: st.DataObject) -> None:
    envelope = bytearray(seal(KEY, "update", body))
    bit = data.draw(st.integers(0, 8 * len(envelope) - 1))
    envelope[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ForgedEnvelope):
        open_envelope(bytes(envelope), "update")


def test_an_envelope_for_one_purpose_opens_for_no_other() -> None:
    with pytest.raises(ForgedEnvelope, match="does not hold for a hello"):
        open_envelope(seal(KEY, "update", b"body"), "hello")


def test_domains_cannot_run_into_bodies() -> None:
    assert domain("update") == b"hedgerow/update/1\0"
    assert digest_of("a", b"b") != digest_of("ab", b"")


@pytest.mark.parametrize("length", [0, 1, OVERHEAD_BYTES - 1])
def test_a_short_envelope_is_forged(length: int) -> None:
    with pytest.raises(ForgedEnvelope, match="at least 96 bytes"):
        open_envelope(bytes(length), "update")
