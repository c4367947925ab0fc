"""Payloads: the flat vector and back; finite, of the schema's shape, or refused."""

from __future__ import annotations

import hashlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.protocol.codec import payload_bytes, payload_prefix, schema_digest
from gossip.protocol.errors import Drop, LocalFault, RemoteFault
from gossip.protocol.messages import Schema, TensorSpec
from gossip.protocol.payload import decode_payload, encode_payload, is_finite

PLAIN = Schema((TensorSpec("weight", (40, 30)), TensorSpec("bias", (30,)), TensorSpec("scale", ())))
MIXED = Schema((TensorSpec("a", (5,), "f2"), TensorSpec("b", (3, 2)), TensorSpec("c", (7,), "i1")), extractor=bytes(32))


def encode(schema: Schema, vector: np.ndarray) -> bytes:
    return encode_payload(schema, schema_digest(schema), vector.astype("<f4").tobytes())


def decode(schema: Schema, payload: bytes) -> np.ndarray:
    return decode_payload(schema, schema_digest(schema), payload)


@pytest.mark.parametrize("schema", [PLAIN, MIXED, Schema(())])
def test_a_vector_comes_back_as_it_went(schema: Schema) -> None:
    vector = np.arange(schema.elements, dtype=np.float32) - 3
    payload = encode(schema, vector)
    assert len(payload) == payload_bytes(schema)
    back = decode(schema, payload)
    assert back.dtype == np.float32
    assert not back.flags.writeable
    np.testing.assert_array_equal(back, vector)


@pytest.mark.parametrize("nbytes", [0, 1, 255, 256, 65535, 65536, 100_000])
def test_the_prefix_is_what_msgpack_writes(nbytes: int) -> None:
    digest = hashlib.sha256(b"schema").digest()
    assert payload_prefix(digest, nbytes) + bytes(nbytes) == msgpack.packb([digest, bytes(nbytes)])


def test_a_large_plain_vector_is_a_view_of_the_payload() -> None:
    schema = Schema((TensorSpec("w", (20_000,)),))
    payload = encode(schema, np.ones(20_000))
    assert np.shares_memory(decode(schema, payload), np.frombuffer(payload, np.uint8))


def test_half_precision_keeps_halves() -> None:
    schema = Schema((TensorSpec("w", (3,), "f2"),))
    np.testing.assert_array_equal(decode(schema, encode(schema, np.array([0.5, -1.25, 65504]))), [0.5, -1.25, 65504])


@pytest.mark.parametrize(
    ("dtype", "value"), [("f2", 1e6), ("i1", 128), ("i1", 0.5), ("f4", np.nan), ("f4", np.inf), ("f2", -np.inf)]
)
def test_values_that_do_not_fit_are_our_own_fault(dtype: str, value: float) -> None:
    schema = Schema((TensorSpec("w", (2,), dtype), TensorSpec("x", (1,), "f2")))
    with pytest.raises(LocalFault):
        encode(schema, np.array([0, value, 0]))


@pytest.mark.parametrize("length", [0, 3, 4 * PLAIN.elements - 4, 4 * PLAIN.elements + 1])
def test_a_vector_of_another_length_is_our_own_fault(length: int) -> None:
    with pytest.raises(LocalFault, match=f"has {4 * PLAIN.elements} bytes"):
        encode_payload(PLAIN, schema_digest(PLAIN), bytes(length))


F4_BAD = {
    "quiet nan": 0x7FC00000,
    "signalling nan": 0x7F800001,
    "negative nan": 0xFFC00000,
    "nan with a message": 0x7FEDCBA9,
    "last nan": 0x7FFFFFFF,
    "infinity": 0x7F800000,
    "negative infinity": 0xFF800000,
}
F2_BAD = {"half nan": 0x7E00, "half signalling nan": 0x7C01, "half infinity": 0x7C00, "half -infinity": 0xFC00}
MISSHAPEN = ("one element short", "one byte long", "another schema", "a list of floats")


def misshape(schema: Schema, name: str) -> tuple[bytes, Drop]:
    payload = encode(schema, np.zeros(schema.elements))
    match name:
        case "one element short":
            return payload[:-4], Drop.LENGTH
        case "one byte long":
            return payload + b"\0", Drop.LENGTH
        case "another schema":
            return payload[:3] + bytes(32) + payload[35:], Drop.MALFORMED
        case _:
            head = len(payload) - schema.nbytes
            listed = b"\x92\xc4\x20" + schema_digest(schema) + b"\xdc" + payload[36:head]
            return (listed + bytes(len(payload)))[: len(payload)], Drop.MALFORMED


@pytest.mark.parametrize("name", MISSHAPEN)
@pytest.mark.parametrize("schema", [PLAIN, MIXED])
def test_no_misshapen_payload_becomes_a_vector(schema: Schema, name: str) -> None:
    payload, reason = misshape(schema, name)
    with pytest.raises(RemoteFault) as fault:
        decode(schema, payload)
    assert fault.value.reason is reason


@pytest.mark.parametrize("name", [*F4_BAD, *F2_BAD])
def test_no_value_that_is_not_finite_becomes_a_vector_at_any_position(name: str) -> None:
    dtype, bits = ("f4", F4_BAD[name]) if name in F4_BAD else ("f2", F2_BAD[name])
    tensors = tuple(TensorSpec(f"t{n}", (7, 5), dtype) for n in range(4))
    schema = Schema(tensors)
    clean = encode(schema, np.arange(schema.elements) / 8)
    width = int(dtype[1])
    prefix = len(clean) - schema.nbytes
    for position in range(schema.elements):
        payload = bytearray(clean)
        payload[prefix + width * position : prefix + width * (position + 1)] = bits.to_bytes(width, "little")
        with pytest.raises(RemoteFault) as fault:
            decode(schema, bytes(payload))
        assert fault.value.reason is Drop.NOT_FINITE


@given(st.integers(0, 2**32 - 1), st.integers(0, 139))
def test_a_vector_is_finite_or_refused_whatever_the_bits(bits: int, position: int) -> None:
    schema = Schema((TensorSpec("w", (140,)),))
    payload = bytearray(encode(schema, np.zeros(140)))
    at = len(payload) - schema.nbytes + 4 * position
    payload[at : at + 4] = bits.to_bytes(4, "little")
    if np.isfinite(np.uint32(bits).view(np.float32)):
        assert np.isfinite(decode(schema, bytes(payload))).all()
    else:
        with pytest.raises(RemoteFault, match="not-finite"):
            decode(schema, bytes(payload))


def test_finite_is_judged_in_every_block() -> None:
    vector = np.zeros(200_000, np.float32)
    assert is_finite(vector)
    assert is_finite(vector[:0])
    vector[-1] = np.nan
    assert not is_finite(vector)
