"""Places for the payloads that we fetch at a time: known peers have their own, strangers together a few.

Laws:
- At most `Limits.fetches` at a time; of these at most `Limits.fetches` - `Limits.fetches_known` from strangers, and one
  from each stranger: whatever strangers promise, known peers find a place.
- A place is held for one transfer: not for waits between tries, and not for what comes after the last byte.
- Whoever waits longest goes first among those who may go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gossip.protocol.limits import Limits
from identity.keys import PeerId


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """Somebody who waits for a place."""

    holder: PeerId
    stranger: bool
    ready: asyncio.Future[None]


class Transfers:
    """Places; all methods belong to one event loop."""

    def __init__(self, limits: Limits) -> None:
        """All are free."""
        self._limits = limits
        self._busy = 0
        self._strangers: set[PeerId] = set()
        self._turns: list[_Turn] = []

    @asynccontextmanager
    async def place(self, holder: PeerId, stranger: bool) -> AsyncIterator[None]:
        """Wait for a place for one transfer from this holder, and hold it."""
        if self._fits(holder, stranger):
            self._take(holder, stranger)
        else:
            await self._wait(_Turn(holder, stranger, asyncio.get_running_loop().create_future()))
        try:
            yield
        finally:
            self._give(holder, stranger)

    def validate(self) -> None:
        """Assert the invariants."""
        assert 0 <= len(self._strangers) <= self._busy <= self._limits.fetches
        assert len(self._strangers) <= self._limits.fetches - self._limits.fetches_known

    async def _wait(self, turn: _Turn) -> None:
        self._turns.append(turn)
        try:
            await turn.ready
        except asyncio.CancelledError:
            if turn in self._turns:
                self._turns.remove(turn)
            elif not turn.ready.cancelled():  # it was given a place in the very moment in which it gave up
                self._give(turn.holder, turn.stranger)
            raise

    def _fits(self, holder: PeerId, stranger: bool) -> bool:
        if self._busy >= self._limits.fetches:
            return False
        few = self._limits.fetches - self._limits.fetches_known
        return not stranger or (len(self._strangers) < few and holder not in self._strangers)

    def _take(self, holder: PeerId, stranger: bool) -> None:
        self._busy += 1
        if stranger:
            self._strangers.add(holder)

    def _give(self, holder: PeerId, stranger: bool) -> None:
        self._busy -= 1
        if stranger:
            self._strangers.discard(holder)
        for turn in list(self._turns):
            if self._busy >= self._limits.fetches:
                return
            if not turn.ready.done() and self._fits(turn.holder, turn.stranger):
                self._turns.remove(turn)
                self._take(turn.holder, turn.stranger)
                turn.ready.set_result(None)
