"""Who is heard out before we sign: a key whose ledger is lost or old must not contradict what it signed.

Laws:
- Peers that knew us before a restart have `Limits.recall` seconds, once, to come and to tell what they know.
- While nothing of our chain is known, whoever has joined has `Limits.settle` seconds to tell.
- If somebody told of a header that our ledger had lost, we listen on for `Limits.rival` seconds, once, for another
  process that signs with our key.
- A peer has told when its address records have come, the last that it sends to whom it meets, or when it has left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from gossip.chain.ledger import Ledger
from gossip.chain.own_chain import OwnChain
from gossip.protocol.limits import Limits
from identity.keys import PeerId


class Hearing:
    """The peers that have yet to tell what they know of our key."""

    def __init__(self, recall: frozenset[PeerId], limits: Limits) -> None:
        """Nobody has joined; `recall` knew us before."""
        self._recall = set(recall)
        self._untold: set[PeerId] = set()
        self._limits = limits
        self._changed = asyncio.Event()

    def joined(self, peer: PeerId) -> None:
        """A peer is about to tell."""
        self._untold.add(peer)

    def told(self, peer: PeerId) -> None:
        """A peer has told all that it knows."""
        self._recall.discard(peer)
        self.left(peer)

    def left(self, peer: PeerId) -> None:
        """A peer has left; if it knew us before, it may come back."""
        self._untold.discard(peer)
        self._changed.set()

    async def out(self, round: int, ledger: Ledger, own: OwnChain) -> None:
        """Before a signature for a round: let those who know our key tell what they know."""
        head = ledger.head()
        if head is not None and round <= head.round:
            return  # nothing new would be signed
        await self.recall()
        if ledger.head() is None:
            await self.settle()
        if own.listens:
            await asyncio.sleep(self._limits.rival)
            own.listens = False

    async def recall(self) -> None:
        """Wait for those who knew us; at once from the second call on."""
        await self._while(lambda: bool(self._recall), self._limits.recall)
        self._recall.clear()

    async def settle(self) -> None:
        """Wait for those who are here."""
        await self._while(lambda: bool(self._untold), self._limits.settle)

    async def _while(self, waiting: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while waiting():
                    self._changed.clear()
                    await self._changed.wait()
