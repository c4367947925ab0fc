"""Attacks on the wire: what each sends is exactly as broken as it says, whatever it is sent after."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_rig import NETWORK, SCHEMA, author

from gossip.protocol.codec import (
    decode_frame,
    decode_header,
    decode_record,
    digest_payload,
    payload_bytes,
    schema_digest,
)
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Announce, HeaderRequest, Peers, UpdateHeader
from identity.envelope import open_envelope, split
from simulator.attacks.attack import Stage
from simulator.attacks.frame_fault import Broken, FaultView
from simulator.attacks.registry import ATTACKS
from simulator.attacks.spelling import build_attack

LIMITS = Limits()
WHO = author(7)
ROUNDS = st.integers(0, 10_000)
SEEDS = st.integers(0, 2**32 - 1)


def acts(name: str, round: int, seed: int, turns: int = 1) -> list[Broken]:
    """What a fault sends in so many rounds, one after the other."""
    (fault,) = build_attack(name).faults
    sent: list[bytes] = []
    said = []
    for turn in range(turns):
        draw = np.random.default_rng([seed, turn])
        vector = draw.normal(size=SCHEMA.elements).astype("<f4").tobytes()
        view = FaultView(WHO.key, NETWORK, SCHEMA, LIMITS, round + turn, vector, (), tuple(sent), draw)
        said.append(fault.act(view))  # type: ignore[attr-defined]
        if fault.instead and said[-1].frames:  # type: ignore[attr-defined]
            sent.append(said[-1].frames[-1])
    return said


def header(frame: bytes) -> UpdateHeader:
    """The header in a frame that is well formed and properly signed by its author."""
    message = decode_frame(frame, LIMITS)
    assert isinstance(message, Announce)
    opened = open_envelope(message.envelope, "update")
    found = decode_header(opened.body, LIMITS)
    assert found.author == opened.author == WHO.key.peer
    return found


@given(round=ROUNDS, seed=SEEDS)
def test_equivocation_is_two_sound_updates_for_one_place(round: int, seed: int) -> None:
    for place, broken in enumerate(acts("equivocate", round, seed, 3), start=1):
        one, two = (header(frame) for frame in broken.frames)
        assert one.sequence == two.sequence == place
        assert one.payload_digest != two.payload_digest
        assert broken.blobs is not None
        for each in (one, two):
            payload = broken.blobs[each.payload_digest]
            assert digest_payload(payload) == each.payload_digest
            assert len(payload) == payload_bytes(SCHEMA) == each.payload_length


@pytest.mark.parametrize("name", ["withhold", "drip"])
@given(round=ROUNDS, seed=SEEDS)
def test_what_is_withheld_is_announced_as_it_should_be(name: str, round: int, seed: int) -> None:
    first, second = acts(name, round, seed, 2)
    assert not first.blobs
    for place, broken in enumerate((first, second), start=1):
        (found,) = (header(frame) for frame in broken.frames)
        assert (found.sequence, found.payload_length) == (place, payload_bytes(SCHEMA))
        assert found.schema == schema_digest(SCHEMA)


@settings(max_examples=5)
@given(round=ROUNDS, seed=SEEDS)
def test_a_flood_is_more_than_both_buckets_hold(round: int, seed: int) -> None:
    (broken,) = acts("flood", round, seed)
    assert len(broken.frames) > LIMITS.peer_burst
    signed = broken.frames[: int(LIMITS.author_burst) + 1]
    assert len({header(frame).base for frame in signed}) == len(signed)  # none is a duplicate


@settings(max_examples=5)
@given(round=ROUNDS, seed=SEEDS)
def test_whoever_pesters_says_nothing_wrong_but_too_often(round: int, seed: int) -> None:
    (broken,) = acts("pester", round, seed)
    assert len(broken.frames) > LIMITS.peer_burst + LIMITS.rate_guilt
    assert all(isinstance(decode_frame(frame, LIMITS), HeaderRequest) for frame in broken.frames)


@settings(max_examples=5)
@given(round=ROUNDS, seed=SEEDS)
def test_whoever_tells_tells_of_somebody_new_each_time_and_leads_nobody_anywhere(round: int, seed: int) -> None:
    (broken,) = acts("tell", round, seed)
    told = [decode_frame(frame, LIMITS) for frame in broken.frames]
    records = [split(one).body for frame in told if isinstance(frame, Peers) for one in frame.envelopes]
    assert len(set(records)) == len(records) == len(told) * LIMITS.peers_in_frame
    assert {decode_record(body, LIMITS).address for body in records} == {""}


@given(round=ROUNDS, seed=SEEDS)
def test_a_chain_that_breaks_begins_with_a_predecessor(round: int, seed: int) -> None:
    found = [header(broken.frames[0]) for broken in acts("broken-chain", round, seed, 3)]
    assert {each.sequence for each in found} == {1}
    assert len({each.previous for each in found} - {bytes(32)}) == 3


@given(round=ROUNDS, seed=SEEDS)
def test_ahead_is_beyond_what_any_node_admits(round: int, seed: int) -> None:
    for turn, broken in enumerate(acts("ahead", round, seed, 2)):
        assert header(broken.frames[0]).round == round + turn + 1000 > round + turn + LIMITS.ahead


@given(round=ROUNDS, seed=SEEDS)
def test_another_encoding_says_the_same_and_is_refused(round: int, seed: int) -> None:
    (broken,) = acts("other-encoding", round, seed)
    for frame in broken.frames:
        with pytest.raises(RemoteFault) as fault:
            decode_frame(frame, LIMITS)
        assert fault.value.reason is Drop.MALFORMED
        assert "not the canonical encoding" in str(fault.value)


@given(round=ROUNDS, seed=SEEDS)
def test_a_wrong_length_is_wrong_in_both_directions(round: int, seed: int) -> None:
    short, long = (header(broken.frames[0]).payload_length for broken in acts("wrong-length", round, seed, 2))
    assert short < payload_bytes(SCHEMA) < long


@given(round=ROUNDS, seed=SEEDS)
def test_a_wrong_schema_has_the_right_length(round: int, seed: int) -> None:
    (broken,) = acts("wrong-schema", round, seed)
    found = header(broken.frames[0])
    assert found.schema != schema_digest(SCHEMA)
    assert found.payload_length == payload_bytes(SCHEMA)


@pytest.mark.parametrize("name", sorted(name for name, spec in ATTACKS.items() if spec.stage is Stage.WIRE))
def test_the_same_view_gives_the_same_bytes(name: str) -> None:
    assert acts(name, 5, 1, 3) == acts(name, 5, 1, 3)
