"""Payloads: a flat float32 vector as the bytes of a schema's tensors, and back, finite or not at all.

Laws:
- Layout: [schema digest, bin], the bin holding all tensors in schema order, little-endian, no padding.
- Reading never copies where the schema is all f4 (and the bytes are aligned); what is returned is read-only.
- What is checked for NaN and infinity is what is integrated: the float32 vector that is returned.
- f2 and i1 carry their plain values; a vector that does not fit them is the author's own fault (LocalFault).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossip.protocol.codec import payload_bytes, payload_prefix
from gossip.protocol.errors import Drop, LocalFault, RemoteFault
from gossip.protocol.messages import Buffer, Schema

_FLOAT = np.dtype("<f4")


def encode_payload(schema: Schema, digest: bytes, vector: Buffer) -> bytes:
    """Make a payload.

    Args:
        schema: the network's schema; `digest` is its name.
        vector: d little-endian float32.

    Raises:
        LocalFault: wrong length, not finite, or values that f2 or i1 cannot hold.
    """
    flat = np.frombuffer(vector, dtype=_FLOAT) if len(vector) % 4 == 0 else None
    if flat is None or flat.size != schema.elements:
        raise LocalFault(f"a vector of this schema has {4 * schema.elements} bytes, not {len(vector)}")
    if not is_finite(flat):
        raise LocalFault("refusing to publish NaN or infinity")
    prefix = payload_prefix(digest, schema.nbytes)
    if _all_f4(schema):
        return b"".join((prefix, flat.data))
    parts: list[bytes] = [prefix]
    offset = 0
    for tensor in schema.tensors:
        part = flat[offset : offset + tensor.elements]
        offset += tensor.elements
        parts.append(_narrow(part, tensor.dtype, tensor.name))
    return b"".join(parts)


def decode_payload(schema: Schema, digest: bytes, payload: Buffer) -> NDArray[np.float32]:
    """Read a payload whose SHA-256 was checked.

    Returns:
        (d,) float32, read-only, all finite.

    Raises:
        RemoteFault: LENGTH, MALFORMED (another prefix than the schema's) or NOT_FINITE.
    """
    if len(payload) != payload_bytes(schema):
        raise RemoteFault(Drop.LENGTH, f"{len(payload)} bytes, not {payload_bytes(schema)}")
    prefix = payload_prefix(digest, schema.nbytes)
    view = memoryview(payload)
    if view[: len(prefix)] != prefix:
        raise RemoteFault(Drop.MALFORMED, "a payload begins with its schema's digest and one bin")
    vector = _widen(schema, view[len(prefix) :])
    if not is_finite(vector):
        raise RemoteFault(Drop.NOT_FINITE, "NaN or infinity in a signed payload")
    vector.flags.writeable = False
    return vector


def is_finite(vector: NDArray[np.float32]) -> bool:
    """Whether no element is NaN or infinite; True for an empty vector.

    In blocks that stay in the cache: the temporary of a whole-vector `isfinite` costs more than the test.
    """
    step = 1 << 16
    return all(bool(np.isfinite(vector[at : at + step]).all()) for at in range(0, vector.size, step))


def _all_f4(schema: Schema) -> bool:
    return all(tensor.dtype == "f4" for tensor in schema.tensors)


def _narrow(part: NDArray[np.float32], dtype: str, name: str) -> bytes:
    if dtype == "f4":
        return part.tobytes()
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = part.astype("<" + dtype)
        fits = bool(np.isfinite(narrow).all()) if dtype == "f2" else bool((narrow == part).all())
    if not fits:
        raise LocalFault(f"tensor {name} has values that {dtype} cannot hold")
    return narrow.tobytes()


def _widen(schema: Schema, data: memoryview) -> NDArray[np.float32]:
    if _all_f4(schema):
        flat = np.frombuffer(data, dtype=_FLOAT)
        return flat if flat.flags.aligned else flat.copy()
    vector = np.empty(schema.elements, dtype=np.float32)
    at = offset = 0
    for tensor in schema.tensors:
        part = np.frombuffer(data[at : at + tensor.nbytes], dtype="<" + tensor.dtype)
        vector[offset : offset + tensor.elements] = part
        at += tensor.nbytes
        offset += tensor.elements
    return vector
