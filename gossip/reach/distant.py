"""Links to peers that are heard from afar: dialled when the node wants them, let go of when it does not.

Laws:
- At most `Limits.distant` at a time, beside the target degree. Only what was dialled for this is let go of again.
- A neighbour is worth more: who is linked for this is adopted where neighbours are lacking, and is not let go of then.
- Where a peer listens says its own signed record, or whoever made this network; who cannot be dialled costs one task
  that waits, as for any other address, as long as it is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import numpy as np

from gossip.protocol.errors import RemoteFault
from gossip.protocol.limits import Limits
from gossip.reach.book import AddressBook
from gossip.reach.dialer import backoff
from gossip.transport.contract import Transport
from identity.keys import PeerId


class Distant:
    """Peers that shall be linked for what they say from afar.

    Args:
        transport: dials.
        book: says where they are.
        addresses: the same of those that have no record there.
        generator: draws the waits.
        limits: `distant` and `retry_*` are used.
        allowed: whom we may dial.
        failed: is told every failed attempt, and at which address.
        dismiss: ends a link that is wanted no more.
    """

    def __init__(
        self,
        transport: Transport,
        book: AddressBook,
        addresses: Mapping[PeerId, str],
        generator: np.random.Generator,
        limits: Limits,
        allowed: Callable[[PeerId], bool],
        failed: Callable[[RemoteFault, str], None],
        dismiss: Callable[[PeerId, str], None],
    ) -> None:
        self._transport = transport
        self._book = book
        self._addresses = addresses
        self._generator = generator
        self._limits = limits
        self._allowed = allowed
        self._failed = failed
        self._dismiss = dismiss
        self._wanted: frozenset[PeerId] = frozenset()
        self._dialled: set[PeerId] = set()  # of those who are linked
        self._trying: set[PeerId] = set()
        self._tries: dict[PeerId, int] = {}  # of those who are wanted, since they are
        self._wake = asyncio.Event()

    def dials(self, peer: PeerId) -> bool:
        """Whether a link that we dialled just now was dialled for this."""
        return peer in self._trying

    def release(self, peer: PeerId) -> None:
        """It is a neighbour from now on."""
        self._dialled.discard(peer)

    @property
    def dialled(self) -> frozenset[PeerId]:
        """Who was dialled for what it says from afar, and may be linked."""
        return frozenset(self._dialled)

    def want(self, peers: Collection[PeerId]) -> None:
        """These, and no others."""
        self._wanted = frozenset(sorted(peers)[: self._limits.distant])
        self._tries = {peer: self._tries.get(peer, 0) for peer in self._wanted}
        self.wake()

    def wake(self) -> None:
        """Something changed (a peer left, a record came): look again now."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Dial and let go until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                changed = self._wake
                connected = set(self._transport.connected())
                self._dialled &= connected
                for peer in sorted(self._dialled - self._wanted):
                    self._dialled.discard(peer)
                    self._dismiss(peer, "it is not heard from afar any more")
                for peer in sorted(filter(self._lacks, self._wanted - self._trying)):
                    self._trying.add(peer)
                    group.create_task(self._keep_trying(peer))
                await changed.wait()

    async def _keep_trying(self, peer: PeerId) -> None:
        """Dial a peer until it is linked, or not wanted any more; each time that it is lost it waits longer."""
        try:
            while self._lacks(peer):
                tries = self._tries[peer]
                self._tries[peer] = tries + 1
                if tries:
                    await asyncio.sleep(backoff(self._generator, tries, self._limits))
                if self._lacks(peer):
                    await self._try(peer)
        finally:
            self._trying.discard(peer)
            self.wake()  # it may have left, or be wanted no more

    async def _try(self, peer: PeerId) -> None:
        address = self._where(peer)
        try:
            self._dialled.add(await self._transport.dial(address, peer))
        except RemoteFault as fault:
            self._failed(fault, address)

    def _lacks(self, peer: PeerId) -> bool:
        here = peer in self._transport.connected()
        return peer in self._wanted and not here and self._allowed(peer) and bool(self._where(peer))

    def _where(self, peer: PeerId) -> str:
        return self._book.address(peer) or self._addresses.get(peer, "")
