"""The world: real node services with real signatures over an in-memory network, in virtual time.

Laws:
- Every honest node is a `NodeService` with a gossip service, a ledger and a key of its own; nothing is imitated but
  sockets, disk and time. Each verifies for itself all that it is sent.
- The adversary speaks last: it sees what honest nodes have signed in a round, then its Sybils sign what it crafted.
- A round is over when every node that runs has closed it; those that are down keep their last model.

Here is when what happens; `resident` is one honest node, `attacker` all Sybils, `chronicle` what a round came to,
`ground` what they share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import numpy as np
from numpy.typing import NDArray

from aggregation.evidence import Rule
from gossip.chain.ledger import Entry
from gossip.protocol.messages import Buffer
from node.store.record import RoundView
from simulator.study.records import Trace
from simulator.study.setup import Setup
from simulator.world.attacker import Attacker
from simulator.world.chronicle import Chronicle
from simulator.world.ground import Ground
from simulator.world.resident import Resident, Told


class World:
    """All nodes of one run. Everything happens on the running (virtual) loop."""

    def __init__(self, setup: Setup, rule: Rule) -> None:
        """Nobody lives before `start`."""
        self._setup = setup
        self._ground = Ground(setup, rule)
        told = Told(self._signed, self._closed, self._ended)
        self._residents = [Resident(self._ground, vertex, told) for vertex in range(setup.honest)]
        self._attacker = Attacker(self._ground, self._do)
        self._chronicle = Chronicle(setup, lambda: [(each.params, each.buffers) for each in self._residents])
        self._tasks: set[asyncio.Task[None]] = set()
        self._reached = -1
        self._over: asyncio.Event = asyncio.Event()
        self._failure: BaseException | None = None

    async def start(self) -> None:
        """Bring everybody up."""
        await self._attacker.start()
        self._reached = 0
        self._turn(0)
        self._progress()

    async def play(self, round: int) -> tuple[Trace, NDArray[np.int64]]:
        """Let time run until everybody who is up has closed this round.

        Returns:
            All models of the round, and the bytes that each honest node sent since the last one.

        Raises:
            Exception: whatever a node raised.
        """
        while self._failure is None and self._floor() <= round:
            self._over.clear()
            await self._over.wait()
        if self._failure is not None:
            raise self._failure
        trace = self._chronicle.read(round, self._attacker.crafted(round))
        return trace, np.array([resident.count() for resident in self._residents], dtype=np.int64)

    async def close(self) -> None:
        """Take everybody down."""
        for resident in self._residents:
            await self._stop(resident)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._attacker.close()

    # What residents tell

    def _signed(self, vertex: int, entry: Entry, payload: Buffer) -> None:
        self._attacker.read(vertex, entry.round, payload)
        self._let_attack()

    def _closed(self, vertex: int, view: RoundView) -> None:
        resident = self._residents[vertex]
        self._chronicle.write(vertex, resident.close(view), view)
        if resident.crashes(view.record.round):
            self._do(self._stop(resident))
        self._progress()

    def _ended(self, vertex: int, failure: BaseException | None) -> None:
        self._fail(failure)
        self._over.set()

    # Rounds

    def _let_attack(self) -> None:
        published = [resident.published for resident in self._residents if resident.up]
        if published:
            self._attacker.act_until(min(published))

    def _floor(self) -> int:
        """The first round that somebody who is up has not closed; when nobody is, the next in which somebody comes."""
        up = [resident.next_round for resident in self._residents if resident.up]
        back = [crash.back for crash in self._setup.scenario.crashes if crash.back is not None]
        later = [round for round in back if round > self._reached]
        return min(up or later, default=self._setup.scenario.rounds)

    def _progress(self) -> None:
        """Somebody has closed a round, or is gone."""
        floor = self._floor()
        if floor > self._reached:
            self._reached = floor
            self._turn(floor)
        self._let_attack()
        self._over.set()

    def _turn(self, floor: int) -> None:
        """The slowest node begins this round: cuts begin and heal, and nodes come (back) up."""
        cut = next((cut for cut in self._setup.scenario.cuts if cut.start <= floor < cut.stop), None)
        if cut is None:
            self._ground.network.heal()
        else:
            border = min(max(1, round(cut.share * self._setup.honest)), self._setup.honest - 1)
            honest = enumerate(self._setup.peers[: self._setup.honest])
            self._ground.network.cut({peer: int(vertex >= border) for vertex, peer in honest})
        for resident in self._residents:
            if not resident.up and not resident.down(floor):
                resident.launch()

    async def _stop(self, resident: Resident) -> None:
        await resident.stop()
        self._progress()

    # What takes time

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._fail(failure)
            self._over.set()

    def _fail(self, failure: BaseException | None) -> None:
        """The first failure ends the run."""
        if self._failure is None:
            self._failure = failure
