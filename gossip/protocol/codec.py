"""Bytes to messages and back: canonical, and the only user of msgpack.

Laws:
- Garbage parses or raises RemoteFault, never anything else.
- Size before parse: untyped decoding never sees more than `Limits.frame` bytes, and no map, extension or deep
  nesting.
- Arity and the exact type of every field are checked; a bool is no int.
- Decoding accepts only bytes that re-encode to themselves: msgpack has several encodings of one value, the wire has
  one.
- Payloads are not decoded at all: their prefix is compared with the only one that their schema allows.

Source: msgpack specification 2.0; canonical re-encoding as in DER and in Bitcoin's strict signatures (BIP 66).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar, cast

import msgpack

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import (
    NO_DIGEST,
    VERSION,
    Announce,
    Buffer,
    Frame,
    Goodbye,
    HeaderRequest,
    Hello,
    PeerRecord,
    Peers,
    Redeem,
    Relay,
    Schema,
    Ticket,
    UpdateHeader,
    UpdateKind,
    Vouch,
    Vouches,
)
from identity.envelope import DIGEST_BYTES, OVERHEAD_BYTES, digest_of
from identity.keys import PeerId

UPDATE, HELLO, RECORD, VOUCH, SCHEMA = "update", "hello", "record", "vouch", "schema"
"""Kinds of signed bodies, and of the schema's bytes: the words in their domains."""

MAX_DISTANCE = 16
SUMS, SUM_BYTES = 16, 8  # digests of what is held in a vouches frame: one for each first four bits of the issuer
MAX_COUNT = 2**63 - 1
MAX_ROUND = 2**40  # one a millisecond for thirty years; whoever is led this far can still sign the next round

_ANNOUNCE, _RELAY, _PEERS, _REQUEST, _GOODBYE, _REDEEM, _VOUCHES = 1, 2, 3, 4, 5, 10, 11
_GOODBYE_LETTERS = 64
_VOUCH_BYTES = 128  # a statement's body: three times 32 and two counts
_RECORD_BYTES = 256  # a record's body: 32 + 32 + an address + 16

Message = TypeVar("Message")


def encode_header(header: UpdateHeader) -> bytes:
    """The body of a sealed update header."""
    return _pack(
        [
            header.version,
            header.network,
            int(header.kind),
            header.author,
            header.sequence,
            header.round,
            header.previous,
            header.payload_length,
            header.payload_digest,
            header.schema,
            header.base,
            header.classes,
        ]
    )


def decode_header(body: bytes, limits: Limits) -> UpdateHeader:
    """Read an update header.

    Raises:
        RemoteFault: OVERSIZE, WRONG_VERSION or MALFORMED.
    """
    return _decode(body, limits.header, 12, lambda fields: _header(fields, limits), encode_header)


def encode_hello(hello: Hello) -> bytes:
    """The body of a sealed hello."""
    return _pack(
        [
            hello.version,
            hello.network,
            hello.peer,
            hello.nonce,
            hello.echo,
            hello.to,
            hello.schema,
            hello.address,
            hello.sequence,
            hello.round,
        ]
    )


def decode_hello(body: bytes, limits: Limits) -> Hello:
    """Read a hello.

    Raises:
        RemoteFault: OVERSIZE, WRONG_VERSION or MALFORMED.
    """
    return _decode(body, limits.header, 10, lambda fields: _hello(fields, limits), encode_hello)


def encode_record(record: PeerRecord) -> bytes:
    """The body of a sealed address record."""
    return _pack([record.version, record.network, record.peer, record.address, record.sequence])


def decode_record(body: bytes, limits: Limits) -> PeerRecord:
    """Read an address record.

    Raises:
        RemoteFault: OVERSIZE, WRONG_VERSION or MALFORMED.
    """
    return _decode(body, _RECORD_BYTES, 5, lambda fields: _record(fields, limits), encode_record)


def encode_vouch(vouch: Vouch) -> bytes:
    """The body of a sealed statement."""
    return _pack([vouch.version, vouch.issuer, vouch.subject, vouch.network, vouch.sequence, vouch.until])


def decode_vouch(body: bytes, limits: Limits) -> Vouch:
    """Read a statement.

    Raises:
        RemoteFault: OVERSIZE, WRONG_VERSION or MALFORMED.
    """
    return _decode(body, _VOUCH_BYTES, 6, _vouch, encode_vouch)


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a control frame."""
    match frame:
        case Announce(envelope):
            return _pack([_ANNOUNCE, envelope])
        case Relay(distance, envelope):
            return _pack([_RELAY, distance, envelope])
        case Peers(envelopes):
            return _pack([_PEERS, list(envelopes)])
        case HeaderRequest(author, first, last):
            return _pack([_REQUEST, author, first, last])
        case Goodbye(reason):
            return _pack([_GOODBYE, reason])
        case Redeem(proof):
            return _pack([_REDEEM, proof])
        case Vouches(sums, envelopes):
            return _pack([_VOUCHES, list(sums), list(envelopes)])


def decode_frame(data: bytes, limits: Limits) -> Frame:
    """Read a control frame. Envelopes inside are neither opened nor verified.

    Raises:
        RemoteFault: OVERSIZE or MALFORMED.
    """
    return _decode(data, limits.frame, None, lambda fields: _frame(fields, limits), encode_frame)


def encode_ticket(ticket: Ticket) -> bytes:
    """The bytes inside a ticket's line."""
    return _pack(
        [
            ticket.version,
            ticket.network,
            ticket.task,
            ticket.model,
            ticket.encoding,
            ticket.secret,
            ticket.invitation,
            [list(peer) for peer in ticket.peers],
        ]
    )


def decode_ticket(body: bytes, limits: Limits) -> Ticket:
    """Read what is inside a ticket's line.

    Raises:
        RemoteFault: OVERSIZE, WRONG_VERSION or MALFORMED.
    """
    return _decode(body, limits.ticket, 8, lambda fields: _ticket(fields, limits), encode_ticket)


def encode_schema(schema: Schema) -> bytes:
    """The bytes whose digest names a schema."""
    return _pack([[[t.name, list(t.shape), t.dtype] for t in schema.tensors], schema.extractor])


def schema_digest(schema: Schema) -> bytes:
    """The 32 bytes that name a schema on the wire."""
    return digest_of(SCHEMA, encode_schema(schema))


def payload_prefix(schema: bytes, nbytes: int) -> bytes:
    """What comes before the tensors in a payload: array of two, the schema's digest, the head of a bin.

    Args:
        schema: 32-byte digest.
        nbytes: bytes of all tensors, below 2**32.
    """
    if nbytes < 2**8:
        head = b"\xc4" + nbytes.to_bytes(1, "big")
    elif nbytes < 2**16:
        head = b"\xc5" + nbytes.to_bytes(2, "big")
    else:
        head = b"\xc6" + nbytes.to_bytes(4, "big")
    return b"\x92\xc4\x20" + schema + head


def payload_bytes(schema: Schema) -> int:
    """Length of every payload of this schema."""
    return len(payload_prefix(NO_DIGEST, schema.nbytes)) + schema.nbytes


def digest_payload(payload: Buffer) -> bytes:
    """SHA-256 of a payload: its name."""
    return hashlib.sha256(payload).digest()


def _pack(values: object) -> bytes:
    return cast(bytes, msgpack.packb(values, use_bin_type=True))


def _decode(
    data: bytes,
    limit: int,
    arity: int | None,
    read: Callable[[list[object]], Message],
    encode: Callable[[Message], bytes],
) -> Message:
    if len(data) > limit:
        raise RemoteFault(Drop.OVERSIZE, f"{len(data)} bytes, at most {limit}")
    try:
        values: object = msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            max_str_len=limit,
            max_bin_len=limit,
            max_array_len=1024,
            max_map_len=0,
            max_ext_len=0,
        )
    except Exception as error:
        raise RemoteFault(Drop.MALFORMED, f"no msgpack: {type(error).__name__}") from None
    if type(values) is not list or (arity is not None and len(values) != arity):
        raise RemoteFault(Drop.MALFORMED, "wrong arity")
    message = read(values)
    if encode(message) != data:
        raise RemoteFault(Drop.MALFORMED, "not the canonical encoding")
    return message


def _header(fields: list[object], limits: Limits) -> UpdateHeader:
    _version(fields[0])
    kind = _count(fields[2], 1)
    if kind not in {int(known) for known in UpdateKind}:
        raise RemoteFault(Drop.MALFORMED, f"unknown kind of update {kind}")
    return UpdateHeader(
        network=_digest(fields[1]),
        kind=UpdateKind(kind),
        author=PeerId(_digest(fields[3])),
        sequence=_count(fields[4], 1),
        round=_count(fields[5], most=MAX_ROUND),
        previous=_digest(fields[6]),
        payload_length=_count(fields[7]),
        payload_digest=_digest(fields[8]),
        schema=_digest(fields[9]),
        base=_digest(fields[10]),
        classes=_bytes(fields[11], 0, limits.class_mask),
    )


def _hello(fields: list[object], limits: Limits) -> Hello:
    _version(fields[0])
    return Hello(
        network=_digest(fields[1]),
        peer=PeerId(_digest(fields[2])),
        nonce=_digest(fields[3]),
        echo=_digest(fields[4]),
        to=_digest(fields[5]),
        schema=_digest(fields[6]),
        address=_text(fields[7], limits.address),
        sequence=_count(fields[8]),
        round=_count(fields[9], most=MAX_ROUND),
    )


def _record(fields: list[object], limits: Limits) -> PeerRecord:
    _version(fields[0])
    return PeerRecord(
        network=_digest(fields[1]),
        peer=PeerId(_digest(fields[2])),
        address=_text(fields[3], limits.address),
        sequence=_count(fields[4]),
    )


def _vouch(fields: list[object]) -> Vouch:
    _version(fields[0])
    return Vouch(
        issuer=PeerId(_digest(fields[1])),
        subject=PeerId(_digest(fields[2])),
        network=_digest(fields[3]),
        sequence=_count(fields[4], 1),
        until=_count(fields[5], most=MAX_ROUND),
    )


def _frame(fields: list[object], limits: Limits) -> Frame:
    most = limits.header + OVERHEAD_BYTES
    match fields:
        case [1, envelope]:
            return Announce(_bytes(envelope, OVERHEAD_BYTES, most))
        case [2, distance, envelope]:
            claimed = _count(distance, 1, MAX_DISTANCE)
            return Relay(claimed, _bytes(envelope, OVERHEAD_BYTES, most))
        case [3, list(envelopes)] if len(envelopes) <= limits.peers_in_frame:
            return Peers(tuple(_bytes(one, OVERHEAD_BYTES, most) for one in envelopes))
        case [4, author, first, last]:
            begin = _count(first)
            end = _count(last, begin, begin + limits.headers_in_request - 1 if begin else 0)
            return HeaderRequest(PeerId(_digest(author)), begin, end)
        case [5, reason]:
            return Goodbye(_text(reason, _GOODBYE_LETTERS))
        case [10, proof]:
            return Redeem(_digest(proof))
        case [11, list(sums), list(envelopes)] if len(sums) in (0, SUMS) and len(envelopes) <= limits.vouches_in_frame:
            return Vouches(
                tuple(_bytes(one, SUM_BYTES, SUM_BYTES) for one in sums),
                tuple(_bytes(one, OVERHEAD_BYTES, OVERHEAD_BYTES + _VOUCH_BYTES) for one in envelopes),
            )
        case _:
            raise RemoteFault(Drop.MALFORMED, "no such frame")


def _ticket(fields: list[object], limits: Limits) -> Ticket:
    _version(fields[0])
    peers = fields[7]
    if type(peers) is not list or len(peers) > limits.ticket_peers:
        raise RemoteFault(Drop.MALFORMED, "not a few peers with their addresses")
    invitation = _bytes(fields[6], 0, limits.invitation)
    if invitation and len(invitation) != limits.invitation:
        raise RemoteFault(Drop.MALFORMED, "not an invitation")
    return Ticket(
        network=_words(fields[1], 1, limits.words),
        task=_words(fields[2], 1, limits.words),
        model=_words(fields[3], 0, limits.words),
        encoding=_text(fields[4], limits.encoding),
        secret=_bytes(fields[5], 0, DIGEST_BYTES),
        invitation=invitation,
        peers=tuple(_placed(pair, limits) for pair in peers),
    )


def _placed(pair: object, limits: Limits) -> tuple[PeerId, str]:
    if type(pair) is not list or len(pair) != 2:
        raise RemoteFault(Drop.MALFORMED, "not a peer with its address")
    return PeerId(_digest(pair[0])), _text(pair[1], limits.address)


def _version(value: object) -> None:
    if _count(value) != VERSION:
        raise RemoteFault(Drop.WRONG_VERSION, f"version {value}, we speak {VERSION}")


def _count(value: object, least: int = 0, most: int = MAX_COUNT) -> int:
    if type(value) is not int or not least <= value <= most:
        raise RemoteFault(Drop.MALFORMED, "not a count in range")
    return value


def _digest(value: object) -> bytes:
    return _bytes(value, DIGEST_BYTES, DIGEST_BYTES)


def _bytes(value: object, least: int, most: int) -> bytes:
    if type(value) is not bytes or not least <= len(value) <= most:
        raise RemoteFault(Drop.MALFORMED, "not bytes of the right length")
    return value


def _text(value: object, most: int) -> str:
    if type(value) is not str or len(value) > most or not value.isprintable() or not value.isascii():
        raise RemoteFault(Drop.MALFORMED, "not a short printable ASCII text")
    return value


def _words(value: object, least: int, most: int) -> str:
    """A name that people chose, in any script."""
    if type(value) is not str or not least <= len(value) <= most or not value.isprintable():
        raise RemoteFault(Drop.MALFORMED, "not a short printable text")
    return value
