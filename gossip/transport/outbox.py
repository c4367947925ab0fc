"""Frames waiting for one peer: bounded; a newer frame takes an older one's place; the oldest goes first when full."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Outbox:
    """A queue that never makes its writer wait."""

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` frames."""
        self._limit = limit
        self._frames: OrderedDict[bytes | int, bytes] = OrderedDict()
        self._count = 0
        self._ready = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes, replaces: bytes | None = None) -> bool:
        """Queue a frame; False if the oldest had to go for it.

        With `replaces`, the frame takes the place of the one queued under the same key.
        """
        self._count += 1
        self._frames[self._count if replaces is None else replaces] = frame
        self._ready.set()
        if len(self._frames) <= self._limit:
            return True
        self._frames.popitem(last=False)
        return False

    def close(self) -> None:
        """No more frames will come: `get` returns None once the queue is empty."""
        self._closed = True
        self._ready.set()

    async def get(self) -> bytes | None:
        """Wait for the next frame; None when closed and empty."""
        while not self._frames:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._frames.popitem(last=False)[1]
