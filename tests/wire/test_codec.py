"""The codec: garbage parses or raises RemoteFault; what is accepted re-encodes to itself; golden vectors hold."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_rig import NETWORK, SCHEMA, author

from gossip.protocol.codec import (
    HELLO,
    MAX_ROUND,
    RECORD,
    UPDATE,
    VOUCH,
    decode_frame,
    decode_header,
    decode_hello,
    decode_record,
    decode_ticket,
    decode_vouch,
    digest_payload,
    encode_frame,
    encode_header,
    encode_hello,
    encode_record,
    encode_schema,
    encode_ticket,
    encode_vouch,
    payload_bytes,
    schema_digest,
)
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import MIB, Limits
from gossip.protocol.messages import (
    Announce,
    Goodbye,
    HeaderRequest,
    Hello,
    PeerRecord,
    Peers,
    Redeem,
    Relay,
    Ticket,
    UpdateHeader,
    Vouch,
    Vouches,
)
from gossip.protocol.payload import encode_payload
from gossip.protocol.ticket import acceptance, format_ticket, mark, parse_ticket, redemption
from gossip.vouching import sum_of
from identity.envelope import digest_of, open_envelope, seal
from identity.keys import PeerId, SigningKey, format_peer

GOLDEN = Path(__file__).parents[1] / "golden" / "wire_vectors.json"
LIMITS = Limits()
MUTATIONS = 1_000_000  # for each kind
BLOCK = 1024

digests = st.binary(min_size=32, max_size=32)
peers = digests.map(PeerId)
counts = st.integers(0, 2**63 - 1)
rounds = st.integers(0, MAX_ROUND)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)
envelopes = st.binary(min_size=96, max_size=608)

headers = st.builds(
    UpdateHeader,
    network=digests,
    author=peers,
    sequence=st.integers(1, 2**63 - 1),
    round=rounds,
    previous=digests,
    payload_length=counts,
    payload_digest=digests,
    schema=digests,
    base=digests,
    classes=st.binary(max_size=256),
)
hellos = st.builds(
    Hello,
    network=digests,
    peer=peers,
    nonce=digests,
    echo=digests,
    to=digests,
    schema=digests,
    address=texts,
    sequence=counts,
    round=rounds,
)
records = st.builds(PeerRecord, network=digests, peer=peers, address=texts, sequence=counts)
vouches = st.builds(
    Vouch, network=digests, issuer=peers, subject=peers, sequence=st.integers(1, 2**63 - 1), until=rounds
)
requests = st.builds(
    lambda who, first, count: HeaderRequest(who, first, first + count),
    peers,
    st.integers(1, 2**62),
    st.integers(0, 15),
)
newest = st.builds(lambda who: HeaderRequest(who, 0, 0), peers)
frames = st.one_of(
    st.builds(Announce, envelopes),
    st.builds(Relay, st.integers(1, 16), envelopes),
    st.builds(Peers, st.lists(st.binary(min_size=96, max_size=352), max_size=8).map(tuple)),
    requests,
    newest,
    st.builds(Goodbye, texts),
    st.builds(Redeem, digests),
    st.builds(
        Vouches,
        st.lists(st.binary(min_size=8, max_size=8), min_size=16, max_size=16).map(tuple) | st.just(()),
        st.lists(st.binary(min_size=96, max_size=224), max_size=16).map(tuple),
    ),
)

DECODERS: dict[str, Callable[[bytes], object]] = {
    "header": lambda data: encode_header(decode_header(data, LIMITS)),
    "hello": lambda data: encode_hello(decode_hello(data, LIMITS)),
    "record": lambda data: encode_record(decode_record(data, LIMITS)),
    "frame": lambda data: encode_frame(decode_frame(data, LIMITS)),
    "vouch": lambda data: encode_vouch(decode_vouch(data, LIMITS)),
    "vouches": lambda data: encode_frame(decode_frame(data, LIMITS)),
    "redeem": lambda data: encode_frame(decode_frame(data, LIMITS)),
    "ticket": lambda data: encode_ticket(decode_ticket(data, LIMITS)),
}


@given(headers)
def test_a_header_comes_back_as_it_went_and_fits(header: UpdateHeader) -> None:
    body = encode_header(header)
    assert len(body) <= LIMITS.header
    assert decode_header(body, LIMITS) == header


@given(hellos)
def test_a_hello_comes_back_as_it_went(hello: Hello) -> None:
    assert decode_hello(encode_hello(hello), LIMITS) == hello


@given(records)
def test_a_record_comes_back_as_it_went(record: PeerRecord) -> None:
    assert decode_record(encode_record(record), LIMITS) == record


@given(vouches)
def test_a_statement_comes_back_as_it_went_and_sixteen_fit_a_frame_with_sums(vouch: Vouch) -> None:
    body = encode_vouch(vouch)
    assert decode_vouch(body, LIMITS) == vouch
    assert len(encode_frame(Vouches((bytes(8),) * 16, (bytes(96) + body,) * 16))) <= LIMITS.frame


@given(frames)
def test_a_frame_comes_back_as_it_went_and_fits(frame: Announce) -> None:
    data = encode_frame(frame)
    assert len(data) <= LIMITS.frame
    assert decode_frame(data, LIMITS) == frame


def sample(kind: str) -> bytes:
    who = author(1)
    header = who.header(3, classes=b"\x0f")
    match kind:
        case "header":
            return encode_header(header)
        case "hello":
            return encode_hello(Hello(NETWORK, who.peer, bytes(32), bytes(32), bytes(32), bytes(32), "host:1", 1, 300))
        case "record":
            return encode_record(PeerRecord(NETWORK, who.peer, "host:1", 70_000))
        case "vouch":
            return encode_vouch(Vouch(NETWORK, who.peer, author(2).peer, 300, 70_000))
        case "vouches":
            sealed = seal(who.key, VOUCH, encode_vouch(Vouch(NETWORK, who.peer, author(2).peer, 300, 70_000)))
            return encode_frame(Vouches((bytes(range(8)),) * 16, (sealed, sealed)))
        case "redeem":
            return encode_frame(Redeem(bytes(range(32))))
        case "ticket":
            return encode_ticket(Ticket("hedgerow", "digits", "", bytes(16), ((who.peer, "host:1"),)))
        case _:
            return encode_frame(Relay(3, who.seal(header)))


def mutations(data: bytes, count: int, generator: np.random.Generator) -> Iterator[bytes]:
    """`count` mutations of eight kinds: flip, set, cut, extend, insert, repeat, splice, garbage.

    Randomness is drawn in blocks: a call of the generator takes longer than a decoder.
    """
    size = len(data)
    for start in range(0, count, BLOCK):
        noise = generator.bytes(4096)
        for kind, at, by, where in generator.integers(0, 2**31, (min(BLOCK, count - start), 4)).tolist():
            at %= size
            where %= len(noise) - 600
            match kind % 8:
                case 0:
                    yield data[:at] + bytes([data[at] ^ 1 << by % 8]) + data[at + 1 :]
                case 1:
                    yield data[:at] + bytes([by % 256]) + data[at + 1 :]
                case 2:
                    yield data[:at]
                case 3:
                    yield data + noise[where : where + 1 + by % 63]
                case 4:
                    yield data[:at] + noise[where : where + 1 + by % 7] + data[at:]
                case 5:
                    yield data[:at] + data[: by % size] + data[at:]
                case 6:
                    yield data[:at] + data[at + 1 + by % 39 :]
                case _:
                    yield noise[where : where + by % 600]


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_mutated_bytes_parse_to_themselves_or_raise_remote_fault(kind: str) -> None:
    data, decode = sample(kind), DECODERS[kind]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    accepted = tried = 0
    for bad in mutations(data, MUTATIONS, np.random.default_rng(7)):
        tried += 1
        try:
            assert decode(bad) == bad
        except RemoteFault:
            continue
        accepted += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert tried == MUTATIONS
    assert accepted < MUTATIONS  # some flips give another valid message: the signature is for those
    assert grown * 1024 < 8 * MIB


@given(st.binary(max_size=700))
def test_garbage_is_a_remote_fault(data: bytes) -> None:
    for decode in DECODERS.values():
        try:
            assert decode(data) == data
        except RemoteFault:
            continue


NESTED = {
    "deep arrays": b"\x91" * 4000,
    "maps": b"\xdc\x03\xe8" + b"\x80" * 1000,
    "a map": msgpack.packb({1: 2}),
    "many elements": msgpack.packb([0] * 4000),
    "a promise of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "a promise of 4 G elements": b"\xdd\xff\xff\xff\xff",
    "an extension": msgpack.packb([msgpack.ExtType(5, b"x")]),
    "a timestamp": msgpack.packb([msgpack.Timestamp(1)]),
    "bad UTF-8": b"\x91\xa1\xff",
    "a reserved byte": b"\xc1",
    "nothing": b"",
    "trailing bytes": encode_frame(Goodbye("x")) + b"\xc0",
    "a number": b"\x01",
}


@pytest.mark.parametrize("name", sorted(NESTED))
def test_hostile_structure_is_malformed(name: str) -> None:
    for decode in DECODERS.values():
        with pytest.raises(RemoteFault) as fault:
            decode(NESTED[name])
        assert fault.value.reason in {Drop.MALFORMED, Drop.OVERSIZE}


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_longer_than_the_limit_is_not_parsed(kind: str) -> None:
    with pytest.raises(RemoteFault) as fault:
        DECODERS[kind](b"\x91" * (LIMITS.frame + 1))
    assert fault.value.reason is Drop.OVERSIZE


STRANGE_TICKETS = {
    "no network": [1, "", "digits", "", "f4", b"", b"", []],
    "no task": [1, "net", "", "", "f4", b"", b"", []],
    "half an invitation": [1, "net", "digits", "", "f4", b"", bytes(8), []],
    "a long invitation": [1, "net", "digits", "", "f4", b"", bytes(17), []],
    "five peers": [1, "net", "digits", "", "f4", b"", b"", [[bytes(32), "h:1"]] * 5],
    "a peer alone": [1, "net", "digits", "", "f4", b"", b"", [[bytes(32)]]],
    "a short peer": [1, "net", "digits", "", "f4", b"", b"", [[bytes(31), "h:1"]]],
    "a line break": [1, "n\net", "digits", "", "f4", b"", b"", []],
    "text written backwards": [1, "n\u202eet", "digits", "", "f4", b"", b"", []],
    "a long name": [1, "n" * 129, "digits", "", "f4", b"", b"", []],
    "seven fields": [1, "net", "digits", "", "f4", b"", b""],
}


@pytest.mark.parametrize("name", sorted(STRANGE_TICKETS))
def test_a_ticket_outside_the_grammar_is_malformed(name: str) -> None:
    with pytest.raises(RemoteFault) as fault:
        decode_ticket(msgpack.packb(STRANGE_TICKETS[name]), LIMITS)
    assert fault.value.reason is Drop.MALFORMED


def respelled(value: object) -> list[bytes]:
    """Other encodings of one small integer or short bin or str."""
    if isinstance(value, int):
        return [
            b"\xcc" + value.to_bytes(1, "big"),
            b"\xcd" + value.to_bytes(2, "big"),
            b"\xd2" + value.to_bytes(4, "big"),
        ]
    if isinstance(value, bytes):
        return [b"\xc5" + len(value).to_bytes(2, "big") + value, b"\xc6" + len(value).to_bytes(4, "big") + value]
    assert isinstance(value, str)
    return [b"\xd9" + bytes([len(value)]) + value.encode(), b"\xda" + len(value).to_bytes(2, "big") + value.encode()]


@pytest.mark.parametrize("kind", ["header", "hello", "record", "vouch"])
def test_only_one_encoding_of_each_field_is_accepted(kind: str) -> None:
    values = msgpack.unpackb(sample(kind))
    for index, value in enumerate(values):
        if isinstance(value, int) and value > 127:
            continue  # its shortest form is one of those below
        for spelling in respelled(value):
            parts = [spelling if n == index else msgpack.packb(other) for n, other in enumerate(values)]
            with pytest.raises(RemoteFault, match=r"canonical|malformed"):
                DECODERS[kind](bytes([0x90 | len(values)]) + b"".join(parts))


@pytest.mark.parametrize("kind", ["header", "hello", "record", "vouch"])
def test_every_field_has_one_type_and_one_range(kind: str) -> None:
    values = msgpack.unpackb(sample(kind))
    strange = [None, True, -1, 2**63, 1.5, "x" * 129, "é", "\n", b"", bytes(31), bytes(33), bytes(300), [], [1]]
    for index, value in enumerate(values):
        for other in strange:
            if kind == "header" and index == 11 and isinstance(other, bytes) and len(other) <= 256:
                continue  # class masks of any length up to 256
            data = msgpack.packb([*values[:index], other, *values[index + 1 :]])
            with pytest.raises(RemoteFault) as fault:
                DECODERS[kind](data)
            assert fault.value.reason in {Drop.MALFORMED, Drop.OVERSIZE}, (index, value, other)
    for arity in (values[:-1], [*values, 0]):
        with pytest.raises(RemoteFault):
            DECODERS[kind](msgpack.packb(arity))


@pytest.mark.parametrize(("kind", "place"), [("header", 5), ("hello", 9), ("vouch", 5)])
def test_a_round_beyond_the_last_is_malformed_in_a_header_a_hello_and_a_statement(kind: str, place: int) -> None:
    values = msgpack.unpackb(sample(kind))
    last = msgpack.packb([*values[:place], MAX_ROUND, *values[place + 1 :]])
    assert DECODERS[kind](last) == last  # read, and written again
    for beyond in (MAX_ROUND + 1, 2**63 - 1):
        with pytest.raises(RemoteFault) as fault:
            DECODERS[kind](msgpack.packb([*values[:place], beyond, *values[place + 1 :]]))
        assert fault.value.reason is Drop.MALFORMED


def test_another_version_or_an_unknown_kind_is_refused() -> None:
    values = msgpack.unpackb(sample("header"))
    with pytest.raises(RemoteFault) as version:
        decode_header(msgpack.packb([2, *values[1:]]), LIMITS)
    assert version.value.reason is Drop.WRONG_VERSION
    with pytest.raises(RemoteFault) as kind:
        decode_header(msgpack.packb([*values[:2], 9, *values[3:]]), LIMITS)
    assert kind.value.reason is Drop.MALFORMED
    with pytest.raises(RemoteFault):
        decode_header(msgpack.packb([*values[:4], 0, *values[5:]]), LIMITS)  # sequences begin at 1


@pytest.mark.parametrize(
    "values",
    [
        [],
        [9, b"x"],
        [True, bytes(100)],
        [1, bytes(95)],
        [1, bytes(609)],
        [1, bytes(100), 0],
        [2, 0, bytes(100)],
        [2, 17, bytes(100)],
        [3, [bytes(100)] * 9],
        [3, [bytes(95)]],
        [3, bytes(100)],
        [4, bytes(31), 1, 1],
        [4, bytes(32), 0, 1],
        [4, bytes(32), 2, 1],
        [4, bytes(32), 1, 17],
        [5, 1],
        [5, "x" * 65],
        [6, bytes(32)],
        [10],
        [10, bytes(31)],
        [10, bytes(33)],
        [10, "x" * 32],
        [10, bytes(32), bytes(32)],
        [11, []],
        [11, [], [bytes(100)] * 17],
        [11, [], [bytes(95)]],
        [11, [], [bytes(225)]],
        [11, [bytes(8)] * 15, []],
        [11, [bytes(8)] * 17, []],
        [11, [bytes(7)] * 16, []],
        [11, bytes(16), []],
    ],
)
def test_a_frame_outside_the_grammar_is_malformed(values: list[object]) -> None:
    with pytest.raises(RemoteFault) as fault:
        decode_frame(msgpack.packb(values), LIMITS)
    assert fault.value.reason is Drop.MALFORMED


# golden vectors: the same bytes for every implementation


def golden() -> dict[str, str]:
    """All vectors, from fixed keys; tests/golden/wire_vectors.json holds the same."""
    key, other = SigningKey(bytes(range(32))), SigningKey(bytes(range(32, 64)))
    network = digest_of("network", b"golden")
    schema = schema_digest(SCHEMA)
    vector = np.arange(SCHEMA.elements, dtype="<f4") / 4
    payload = encode_payload(SCHEMA, schema, vector.tobytes())
    header = UpdateHeader(
        network=network,
        author=key.peer,
        sequence=2,
        round=300,
        previous=bytes(range(32)),
        payload_length=len(payload),
        payload_digest=digest_payload(payload),
        schema=schema,
        base=bytes([9]) * 32,
        classes=b"\x03\x80",
    )
    hello = Hello(network, key.peer, bytes([1]) * 32, bytes([2]) * 32, other.peer, schema, "host.example:4701", 2, 300)
    record = PeerRecord(network, key.peer, "host.example:4701", 2)
    body = encode_header(header)
    envelope = seal(key, UPDATE, body)
    record_envelope = seal(key, RECORD, encode_record(record))
    vouch = Vouch(network, key.peer, other.peer, 300, 65_836)
    vouch_envelope = seal(key, VOUCH, encode_vouch(vouch))
    ticket = Ticket("hedgerow", "digits", "", bytes(range(16)), ((key.peer, "host.example:4701"),))
    kept, session = mark(ticket.invitation), bytes([3]) * 32
    return {
        "ticket": format_ticket(ticket),
        "ticket_body": encode_ticket(ticket).hex(),
        "invitation_mark": kept.hex(),
        "invitation_session": session.hex(),
        "frame_redeem": encode_frame(Redeem(redemption(kept, session))).hex(),
        "frame_redeemed": encode_frame(Redeem(acceptance(kept, session))).hex(),
        "seed": bytes(range(32)).hex(),
        "peer": key.peer.hex(),
        "peer_text": format_peer(key.peer),
        "network": network.hex(),
        "schema": encode_schema(SCHEMA).hex(),
        "schema_digest": schema.hex(),
        "payload": payload.hex(),
        "header": body.hex(),
        "header_digest": digest_of(UPDATE, body).hex(),
        "update_envelope": envelope.hex(),
        "hello_envelope": seal(key, HELLO, encode_hello(hello)).hex(),
        "record_envelope": record_envelope.hex(),
        "vouch": encode_vouch(vouch).hex(),
        "vouch_envelope": vouch_envelope.hex(),
        "vouch_sum": sum_of([digest_of(VOUCH, encode_vouch(vouch))]).hex(),
        "frame_vouches": encode_frame(Vouches((), (vouch_envelope,))).hex(),
        "frame_sums": encode_frame(Vouches((sum_of([]),) * 16)).hex(),
        "frame_announce": encode_frame(Announce(envelope)).hex(),
        "frame_relay": encode_frame(Relay(2, envelope)).hex(),
        "frame_peers": encode_frame(Peers((record_envelope,))).hex(),
        "frame_request": encode_frame(HeaderRequest(key.peer, 1, 16)).hex(),
        "frame_goodbye": encode_frame(Goodbye("closing")).hex(),
    }


def test_golden_vectors_hold() -> None:
    assert golden() == json.loads(GOLDEN.read_text())


def test_golden_vectors_are_read_back() -> None:
    vectors = {
        name: value for name, value in json.loads(GOLDEN.read_text()).items() if name not in {"peer_text", "ticket"}
    }
    raw = {name: bytes.fromhex(value) for name, value in vectors.items()}
    ticket = parse_ticket(json.loads(GOLDEN.read_text())["ticket"])
    assert encode_ticket(ticket) == raw["ticket_body"]
    assert mark(ticket.invitation) == raw["invitation_mark"]
    opened = open_envelope(raw["update_envelope"], UPDATE)
    assert opened.digest == raw["header_digest"]
    header = decode_header(opened.body, LIMITS)
    assert (header.author, header.sequence, header.round) == (raw["peer"], 2, 300)
    assert header.payload_length == payload_bytes(SCHEMA) == len(raw["payload"])
    assert decode_hello(open_envelope(raw["hello_envelope"], HELLO).body, LIMITS).address == "host.example:4701"
    vouch = open_envelope(raw["vouch_envelope"], VOUCH)
    assert sum_of([vouch.digest]) == raw["vouch_sum"]
    assert decode_vouch(vouch.body, LIMITS) == decode_vouch(raw["vouch"], LIMITS)
    assert decode_record(open_envelope(raw["record_envelope"], RECORD).body, LIMITS).sequence == 2
    for name in raw:
        if name.startswith("frame_"):
            assert encode_frame(decode_frame(raw[name], LIMITS)) == raw[name]


@given(headers, st.data())
def test_one_changed_field_changes_the_signed_bytes(header: UpdateHeader, data: st.DataObject) -> None:
    other = data.draw(headers)
    name = data.draw(st.sampled_from([one.name for one in fields(UpdateHeader)]))
    if getattr(header, name) == getattr(other, name):
        return
    changed = replace(header, **{name: getattr(other, name)})
    assert digest_of(UPDATE, encode_header(changed)) != digest_of(UPDATE, encode_header(header))
