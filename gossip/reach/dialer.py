"""Keeps us connected: bootstrap addresses for ever, and others from the address book up to a target degree.

Laws:
- One attempt per address at a time; between failed attempts a wait with full jitter, uniform in (0, min(cap, first *
  2**failures)); waits come from the loop's clock and from a generator that is passed in.
- Links that are there for what is said from afar (`gossip.reach.distant`) count for no degree; where neighbours are
  lacking, one of these that is drawn is adopted.
- Whoever dials us does not end our dialling: `Limits.dial` links (half the degree, if that is fewer) are of our choice.
Source: full jitter as in Brooker, "Exponential backoff and jitter" (AWS, 2015).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from gossip.protocol.errors import RemoteFault
from gossip.protocol.limits import Limits
from gossip.reach.book import AddressBook
from gossip.transport.contract import Transport
from identity.keys import PeerId, parse_peer


def split_address(text: str) -> tuple[PeerId | None, str]:
    """Read "host:port" or "<peer id>@host:port"; the address is for the transport to read.

    Raises:
        BadPeerId: what stands before the @ is no peer id.
    """
    before, at, after = text.rpartition("@")
    return (parse_peer(before) if at else None), after


def backoff(generator: np.random.Generator, failures: int, limits: Limits) -> float:
    """Seconds to wait after so many failures in a row."""
    ceiling = min(limits.retry_cap, limits.retry_first * 2.0 ** min(failures, 16))
    return float(generator.uniform(0.0, ceiling))


class Dialer:
    """Background dialling over one transport."""

    def __init__(
        self,
        transport: Transport,
        book: AddressBook,
        bootstrap: Sequence[str],
        generator: np.random.Generator,
        limits: Limits,
        allowed: Callable[[PeerId], bool],
        failed: Callable[[RemoteFault, str], None],
        answered: Callable[[PeerId, str], None],
        aside: Callable[[], frozenset[PeerId]] = frozenset,
        spare: Callable[[], frozenset[PeerId]] = frozenset,
        adopt: Callable[[PeerId], None] = lambda peer: None,
    ) -> None:
        """Nothing is dialled before `run`.

        Args:
            transport: dials.
            book: signed addresses of others.
            bootstrap: addresses that are kept connected.
            generator: draws the waits.
            limits: `degree`, `dial` and `retry_*` are used.
            allowed: whom we may dial.
            failed: is told every failed attempt, and at which address.
            answered: is told who answers at a bootstrap address.
            aside: who may be linked for what is said from afar.
            spare: whom we dialled for that.
            adopt: makes one of these a neighbour.

        Raises:
            BadPeerId: a bootstrap address is wrong.
        """
        self._transport = transport
        self._book = book
        self._targets = [split_address(one) for one in bootstrap]
        self._generator = generator
        self._limits = limits
        self._allowed = allowed
        self._failed = failed
        self._answered = answered
        self._aside, self._spare, self._adopt = aside, spare, adopt
        self._wake = asyncio.Event()
        self._dialled: set[PeerId] = set()  # of those who are connected

    def wake(self) -> None:
        """Something changed (a peer left, a record came): look again now."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Dial until cancelled."""
        async with asyncio.TaskGroup() as group:
            for expect, address in self._targets:
                group.create_task(self._keep(expect, address))
            group.create_task(self._fill())

    async def _keep(self, expect: PeerId | None, address: str) -> None:
        """Keep one bootstrap address connected."""
        failures = 0
        found = expect
        while True:
            changed = self._wake
            if found is not None and found in self._transport.connected():
                failures = 0
                await changed.wait()
                continue
            found = await self._try(expect, address)
            if found is not None:
                self._answered(found, address)
            failures = 0 if found is not None else failures + 1
            if failures:
                await asyncio.sleep(backoff(self._generator, failures, self._limits))

    async def _fill(self) -> None:
        """Dial peers from the book while we have fewer neighbours than the target degree, or than we should dial."""
        failures = 0
        while True:
            changed = self._wake
            connected = set(self._transport.connected())
            spare = self._spare() & connected
            choices = {
                peer: address
                for peer, address in self._book.candidates()
                if (peer not in connected or peer in spare) and self._allowed(peer)
            }
            self._dialled &= connected
            beside = connected - ((self._aside() | spare) - self._dialled)
            own = len(self._dialled) >= min(self._limits.dial, self._limits.degree // 2)
            if (len(beside) >= self._limits.degree and own) or not choices:
                await changed.wait()
                continue
            peer = self._book.draw(self._generator, choices)
            if peer in spare:
                self._dialled.add(peer)
                self._adopt(peer)
            else:
                failures = 0 if await self._try(peer, choices[peer]) is not None else failures + 1
            await asyncio.sleep(backoff(self._generator, failures, self._limits))

    async def _try(self, expect: PeerId | None, address: str) -> PeerId | None:
        try:
            peer = await self._transport.dial(address, expect)
        except RemoteFault as fault:
            self._failed(fault, address)
            return None
        self._dialled.add(peer)
        return peer
