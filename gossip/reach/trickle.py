"""Tells linked peers, little by little, where the peers are that people vouch for: who is known must be found.

Laws:
- One peers frame a peer, and then no more than it is allowed: `SPARE` of `Limits.peers_rate`, however often it comes
  back. Where nobody lacks anything no timer runs.
- A record is told once a link, and never to whom it came from.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from gossip.protocol.limits import Limits
from gossip.protocol.messages import Peers
from gossip.protocol.rates import Bucket
from gossip.reach.book import AddressBook
from identity.keys import PeerId

SPARE = 0.8  # share of what a peer is allowed: clocks differ, and a join tells too


class Trickle:
    """What each linked peer was told.

    Args:
        linked: says who is linked.
        book: the records.
        limits: `peers_in_frame`, `peers_rate` and `connections` are used.
        send: sends a frame to a peer.
    """

    def __init__(
        self,
        linked: Callable[[], Sequence[PeerId]],
        book: AddressBook,
        limits: Limits,
        send: Callable[[PeerId, Peers], None],
    ) -> None:
        self._linked = linked
        self._book = book
        self._limits = limits
        self._send = send
        self._told: dict[PeerId, set[bytes]] = {}
        self._buckets: OrderedDict[PeerId, Bucket] = OrderedDict()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A record came, somebody joined, or standing has changed."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Tell until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            changed, due = self._wake, self.tell(loop.time())
            try:
                async with asyncio.timeout(due):
                    await changed.wait()
            except TimeoutError:
                continue

    def tell(self, now: float) -> float | None:
        """Tell everybody whose turn it is a frame of what it may lack; the seconds until the next turn, None: nobody
        lacks anything."""
        self._told = {peer: self._told.get(peer, set()) for peer in self._linked()}
        waits = []
        for peer, told in self._told.items():
            if len(told) > 2 * self._limits.records:  # records change: begin anew
                told.clear()
            lacking = self._book.vouched(peer, told, self._limits.peers_in_frame)
            if not lacking:
                continue
            bucket = self._bucket(peer, now)
            if bucket.take(now):
                told.update(lacking)
                self._send(peer, Peers(tuple(lacking.values())))
            waits.append(bucket.due(now))
        return min(waits, default=None)

    def _bucket(self, peer: PeerId, now: float) -> Bucket:
        bucket = self._buckets.setdefault(peer, Bucket.full(SPARE * self._limits.peers_rate, 1.0, now))
        self._buckets.move_to_end(peer)
        if len(self._buckets) > self._limits.connections:
            self._buckets.popitem(last=False)
        return bucket
