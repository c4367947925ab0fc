"""Pulls the payloads that are wanted: once each, from whoever has them, and checks what came.

Laws:
- One task per update, whoever announces it; at most `Limits.fetches` transfers at a time, and at most
  `Limits.streams` on their way from (or waiting for) one holder: a slow holder delays its own payloads only.
- Holders are asked in the order in which they showed the header, the author among them; `Limits.retries` times
  each, with full jitter between tries; a holder that sent wrong bytes is not asked again.
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

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Schema, Update, UpdateHeader
from gossip.protocol.payload import decode_payload
from gossip.reach.dialer import backoff
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
    ) -> None:
        """Nothing happens before `want`.

        Args:
            transport: moves blobs.
            schema: what every payload looks like.
            limits: `fetches`, `retries`, `retry_*`.
            generator: draws the waits.
            executor: checks large payloads.
            done: is told an update that passed everything.
            failed: is told that nobody gave the payload, or that the author signed a bad one.
            dropped: is told every failed try.
        """
        self._transport = transport
        self._schema = schema
        self._limits = limits
        self._generator = generator
        self._executor = executor
        self._done = done
        self._failed = failed
        self._dropped = dropped
        self._slots = asyncio.Semaphore(limits.fetches)
        self._asked: Counter[PeerId] = Counter()
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def want(self, wanted: Wanted) -> None:
        """Begin to fetch; the caller keeps each update from being wanted twice."""
        task = asyncio.get_running_loop().create_task(self._run(wanted))
        self._tasks[wanted.digest] = task
        task.add_done_callback(lambda _: self._tasks.pop(wanted.digest, None))

    async def close(self) -> None:
        """Give up everything."""
        tasks = list(self._tasks.values())
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
            async with self._slots:
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

    async def _obtain(self, wanted: Wanted) -> Update:
        header = wanted.header
        at = 0
        while at < len(wanted.holders):  # grows while we wait
            holder, _ = wanted.holders[at]
            at += 1
            payload = await self._ask(holder, header)
            if payload is not None:
                read = partial(decode_payload, self._schema, header.schema, payload)
                vector = await offload(self._executor, len(payload) // _CHECKING, read)
                return Update(header, wanted.envelope, wanted.digest, payload, vector)
        raise RemoteFault(Drop.UNAVAILABLE, f"{len(wanted.holders)} holders asked")

    async def _ask(self, holder: PeerId, header: UpdateHeader) -> memoryview | None:
        for attempt in range(self._limits.retries):
            if attempt:
                await asyncio.sleep(backoff(self._generator, attempt, self._limits))
            if holder not in self._transport.connected():
                return None
            try:
                return await self._transport.fetch(holder, header.payload_digest, header.payload_length)
            except RemoteFault as fault:
                self._dropped(fault.reason, holder)
                if fault.reason in _FINAL:
                    return None
        return None
