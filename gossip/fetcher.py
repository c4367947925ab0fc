"""Pulls the payloads that are wanted: once each, from whoever has them, and checks what came.

Laws:
- One task per update, whoever announces it; transfers have their places (`gossip.transfers`), and at most
  `Limits.streams` are on their way from (or waiting for) one holder: a slow holder delays its own payloads only.
- Holders are asked in the order in which they showed the header, the author among them; `Limits.retries` times
  each, with full jitter between tries; a holder that sent wrong bytes is not asked again, and a stranger that broke its
  promises (`gossip.promises`) not at all.
- What only strangers hold is given up when it is of no use any more: an own update when its round is over, a relayed
  one when it is stale. Known peers' late payloads are waited for: how late they are is worth knowing.
- What is handed on has passed digest, schema, length and finiteness; whatever fails is told with its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from gossip.promises import Promises
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Schema, Update, UpdateHeader
from gossip.protocol.payload import decode_payload
from gossip.reach.dialer import backoff
from gossip.transfers import Transfers
from gossip.transport.contract import Transport
from gossip.transport.executors import offload
from identity.keys import PeerId

_CHECKING = 16  # times faster than hashing: 4 MB are searched for what is not finite in .2 ms
_FINAL = frozenset({Drop.DIGEST, Drop.LENGTH, Drop.MALFORMED, Drop.NOT_FINITE})


@dataclass(slots=True, eq=False)
class Wanted:
    """An admitted header whose payload is on its way; `holders` grows while it is."""

    header: UpdateHeader
    envelope: bytes
    digest: bytes
    holders: list[tuple[PeerId, int]] = field(default_factory=list)

    @property
    def own(self) -> bool:
        """Whether its author itself announced it first."""
        return self.holders[0][0] == self.header.author


class Fetcher:
    """Payloads on their way."""

    def __init__(
        self,
        transport: Transport,
        schema: Schema,
        limits: Limits,
        generator: np.random.Generator,
        executor: Executor,
        done: Callable[[Wanted, Update], None],
        failed: Callable[[Wanted, RemoteFault], None],
        dropped: Callable[[Drop, PeerId], None],
        known: Callable[[PeerId], bool] = lambda peer: True,
        group: Callable[[PeerId], str] = lambda peer: "",
        round: int = 0,
    ) -> None:
        """Nothing happens before `want`.

        Args:
            transport: moves blobs.
            schema: what every payload looks like.
            limits: `fetches*`, `streams`, `promises`, `distrust`, `window`, `retries`, `retry_*`.
            generator: draws the waits.
            executor: checks large payloads.
            done: is told an update that passed everything.
            failed: is told that nobody gave the payload, or that the author signed a bad one.
            dropped: is told every failed try.
            known: who is no stranger.
            group: the public network that a peer is seen in, "" if it has none.
            round: our round, see `advance`.
        """
        self.promises = Promises(limits, known, round)
        self._transport = transport
        self._schema = schema
        self._limits = limits
        self._generator = generator
        self._executor = executor
        self._done = done
        self._failed = failed
        self._dropped = dropped
        self._known = known
        self._group = group
        self._closed = False
        self._transfers = Transfers(limits)
        self._asked: Counter[PeerId] = Counter()
        self._asking: dict[bytes, PeerId] = {}  # whose turn it is to give what was promised
        self._tasks: dict[bytes, tuple[Wanted, asyncio.Task[None]]] = {}

    def want(self, wanted: Wanted) -> None:
        """Begin to fetch; the caller keeps each update from being wanted twice."""
        if not self._listens(wanted.holders[0][0]):
            self._failed(wanted, RemoteFault(Drop.UNAVAILABLE, "it did not give what it announced before"))
            return
        task = asyncio.get_running_loop().create_task(self._run(wanted))
        self._tasks[wanted.digest] = wanted, task
        task.add_done_callback(partial(self._ended, wanted))

    def advance(self, round: int) -> None:
        """Our round: what only strangers hold, and is of no use any more, is given up."""
        self.promises.round = round
        for wanted, task in list(self._tasks.values()):
            least = round if wanted.own else round - self._limits.window
            if wanted.header.round < least and not any(self._known(holder) for holder, _ in wanted.holders):
                task.cancel()
                if wanted.digest in self._asking:
                    self._broke(self._asking.pop(wanted.digest))

    def validate(self) -> None:
        """Assert the invariants."""
        self._transfers.validate()
        self.promises.validate()

    async def close(self) -> None:
        """Give up everything."""
        self._closed = True
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, wanted: Wanted) -> None:
        first = wanted.holders[0][0]
        if self._asked[first] >= self._limits.streams:
            busy = f"{self._limits.streams} payloads are on their way from it"
            self._failed(wanted, RemoteFault(Drop.UNAVAILABLE, busy))
            return
        self._asked[first] += 1
        try:
            update = await self._obtain(wanted)
        except RemoteFault as fault:
            self._failed(wanted, fault)
        else:
            self._done(wanted, update)
        finally:
            self._asked[first] -= 1
            if not self._asked[first]:
                del self._asked[first]

    def _ended(self, wanted: Wanted, task: asyncio.Task[None]) -> None:
        """A task is over; of one that was given up the intake does not know yet."""
        del self._tasks[wanted.digest]
        self._asking.pop(wanted.digest, None)
        if task.cancelled() and not self._closed:
            self._failed(wanted, RemoteFault(Drop.TIMEOUT, "its round is over"))

    async def _obtain(self, wanted: Wanted) -> Update:
        header = wanted.header
        at = 0
        while at < len(wanted.holders):  # grows while we wait
            holder, _ = wanted.holders[at]
            at += 1
            if not self._listens(holder):
                continue
            payload = await self._ask(holder, wanted)
            self._asking.pop(wanted.digest, None)
            if payload is not None:
                self.promises.kept(holder)
                read = partial(decode_payload, self._schema, header.schema, payload)
                vector = await offload(self._executor, len(payload) // _CHECKING, read)
                return Update(header, wanted.envelope, wanted.digest, payload, vector)
            self._broke(holder)
        raise RemoteFault(Drop.UNAVAILABLE, f"{len(wanted.holders)} holders asked")

    async def _ask(self, holder: PeerId, wanted: Wanted) -> memoryview | None:
        header = wanted.header
        for attempt in range(self._limits.retries):
            if attempt:
                await asyncio.sleep(backoff(self._generator, attempt, self._limits))
            if holder not in self._transport.connected() or not self._listens(holder):
                return None
            try:
                async with self._transfers.place(holder, not self._trusted(holder)):
                    self._asking[wanted.digest] = holder
                    return await self._transport.fetch(holder, header.payload_digest, header.payload_length)
            except RemoteFault as fault:
                self._dropped(fault.reason, holder)
                if fault.reason in _FINAL:
                    return None
        return None

    def _broke(self, holder: PeerId) -> None:
        if holder in self._transport.connected():  # whoever has gone may have been cut off
            self.promises.broke(holder, self._group(holder))

    def _trusted(self, holder: PeerId) -> bool:
        """Whether it has the places of known peers."""
        return self._known(holder) and self.promises.trusts(holder, self._group(holder))

    def _listens(self, holder: PeerId) -> bool:
        """Whether we ask it for payloads at all."""
        return self._known(holder) or self.promises.trusts(holder, self._group(holder))
