"""Blobs: bytes named by their SHA-256, put together as they arrive and kept within a bound.

Laws:
- Nothing is allocated by a length that a peer named before that length was compared with the schema's (the caller
  does).
- More bytes than the length, fewer, or other bytes than the digest names: RemoteFault.
- The store forgets the least recently used blob first; one blob (one's own newest) can be pinned.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import KIB
from gossip.protocol.messages import Buffer

_SLICE = 64 * KIB  # what is hashed at least, while more comes


class Assembly:
    """A blob on its way: `write` chunks (or fill `room` and `grow`), then `finish`.

    Hashing may run in another thread while chunks are written. The buffer is not cleared before: whoever
    gets it has the right bytes in every place, and before that nobody gets it.
    """

    def __init__(self, digest: bytes, length: int) -> None:
        """Allocate the whole blob at once, aligned for any element type."""
        self._digest = digest
        self._view = np.empty(length, dtype=np.uint8).data
        self._hash = hashlib.sha256()
        self._hashed = 0
        self.filled = 0

    @property
    def unhashed(self) -> int:
        """Bytes that have arrived and are not hashed yet."""
        return self.filled - self._hashed

    @property
    def missing(self) -> int:
        """Bytes that have not arrived yet."""
        return len(self._view) - self.filled

    def room(self, most: int) -> memoryview:
        """The place of the next bytes, at most so many: fill it from the start, then `grow`."""
        return self._view[self.filled : self.filled + most]

    def grow(self, count: int) -> None:
        """So many bytes of `room` have been filled."""
        self.filled += count

    def write(self, chunk: Buffer) -> None:
        """Add bytes at the end.

        Raises:
            RemoteFault: LENGTH, more bytes than were named.
        """
        end = self.filled + len(chunk)
        if end > len(self._view):
            raise RemoteFault(Drop.LENGTH, f"more than the {len(self._view)} bytes that were named")
        self._view[self.filled : end] = chunk
        self.filled = end

    def digest_until(self, end: int) -> None:
        """Hash what arrived up to `end`; releases the interpreter lock, one call at a time."""
        self._hash.update(self._view[self._hashed : end])
        self._hashed = end

    def digest_arrived(self) -> None:
        """Hash what arrived, and what arrives meanwhile, until a small rest is left; meant for another thread."""
        while self.unhashed >= _SLICE:
            self.digest_until(self.filled)

    def finish(self) -> memoryview:
        """The blob, read-only.

        Raises:
            RemoteFault: LENGTH (too few bytes) or DIGEST (other bytes).
        """
        if self.missing:
            raise RemoteFault(Drop.LENGTH, f"{self.filled} of {len(self._view)} bytes came")
        self.digest_until(self.filled)
        if self._hash.digest() != self._digest:
            raise RemoteFault(Drop.DIGEST, "other bytes than the digest names")
        return self._view.toreadonly()


class BlobStore:
    """Blobs that can be served to others, at most `limit` bytes in all (or one larger blob)."""

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` bytes."""
        self._limit = limit
        self._blobs: OrderedDict[bytes, Buffer] = OrderedDict()
        self._pinned: bytes | None = None
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._blobs)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._blobs

    def put(self, digest: bytes, blob: Buffer, pin: bool = False) -> None:
        """Keep a blob whose digest was checked; `pin` protects it and releases the one pinned before."""
        if pin:
            self._pinned = digest
        if digest not in self._blobs:
            self._blobs[digest] = blob
            self.nbytes += len(blob)
        self._blobs.move_to_end(digest)
        self._trim()

    def get(self, digest: bytes) -> Buffer | None:
        """The blob, if it is kept."""
        blob = self._blobs.get(digest)
        if blob is not None:
            self._blobs.move_to_end(digest)
        return blob

    def _trim(self) -> None:
        newest = next(reversed(self._blobs))
        for digest in list(self._blobs):
            if self.nbytes <= self._limit:
                return
            if digest not in (newest, self._pinned):
                self.nbytes -= len(self._blobs.pop(digest))
