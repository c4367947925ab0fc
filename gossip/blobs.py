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

from gossip.errors import Drop, RemoteFault
from gossip.messages import Buffer


class Assembly:
    """A blob on its way: `write` chunks, then `finish`. Hashing may run in another thread between the two."""

    def __init__(self, digest: bytes, length: int) -> None:
        """Allocate the whole blob at once."""
        self._digest = digest
        self._buffer = bytearray(length)
        self._view = memoryview(self._buffer)
        self._hash = hashlib.sha256()
        self._hashed = 0
        self.filled = 0

    @property
    def unhashed(self) -> int:
        """Bytes that have arrived and are not hashed yet."""
        return self.filled - self._hashed

    def write(self, chunk: Buffer) -> None:
        """Add bytes at the end.

        Raises:
            RemoteFault: LENGTH, more bytes than were named.
        """
        end = self.filled + len(chunk)
        if end > len(self._buffer):
            raise RemoteFault(Drop.LENGTH, f"more than the {len(self._buffer)} bytes that were named")
        self._view[self.filled : end] = chunk
        self.filled = end

    def digest_until(self, end: int) -> None:
        """Hash what arrived up to `end`; releases the interpreter lock, one call at a time."""
        self._hash.update(self._view[self._hashed : end])
        self._hashed = end

    def finish(self) -> memoryview:
        """The blob, read-only.

        Raises:
            RemoteFault: LENGTH (too few bytes) or DIGEST (other bytes).
        """
        if self.filled != len(self._buffer):
            raise RemoteFault(Drop.LENGTH, f"{self.filled} of {len(self._buffer)} bytes came")
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
