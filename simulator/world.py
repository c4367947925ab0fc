"""The world: real node services with real signatures over an in-memory network, in virtual time.

Laws:
- Every honest node is a `NodeService` with a gossip service, a ledger and a key of its own; nothing is imitated but
  sockets, disk and time. Each verifies for itself all that it is sent.
- The adversary speaks last: it sees what honest nodes have signed in a round, then its Sybils sign what it crafted.
- A round is over when every node that runs has closed it; those that are down keep their last model.
- One scenario, rule and seed give the same records, bit for bit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.evidence import Need, Rule
from gossip.codec import payload_bytes
from gossip.events import GossipEvent, PeerNamed
from gossip.executors import InlineExecutor
from gossip.intake import Wants
from gossip.ledger import Entry, MemoryLedger
from gossip.limits import MIB, Limits
from gossip.messages import Buffer
from gossip.service import GossipService
from identity.keys import PeerId, format_peer
from node.draws import Purpose, generator
from node.learning.learner import TrainState
from node.policy import RoundPolicy
from node.record import RoundView
from node.service import NodeService
from simulator.adversary import Adversary
from simulator.attacks.frame_fault import FrameFault
from simulator.clock import VirtualLoop
from simulator.metrics import Evaluator
from simulator.network import MemoryNetwork, MemoryTransport, Weather
from simulator.records import Edges, Observer, RoundRecord, Trace, influence
from simulator.setup import Setup
from simulator.sybil import Sybil

_PATIENCE = 0.5  # share of the deadline that the adversary waits for honest nodes that are late


def run(
    setup: Setup, rule: Rule, observer: Observer | None = None, *, name: str | None = None
) -> Iterator[RoundRecord]:
    """Run all rounds of a scenario under one rule.

    Args:
        setup: of this run.
        rule: what honest nodes believe.
        observer: is shown all models of each round.
        name: of the rule in the records; absent = the rule's own.

    Yields:
        One record a round, in order.
    """
    scenario = setup.scenario
    evaluator = Evaluator(setup)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        world = World(setup, rule)
        try:
            runner.run(world.start())
            for round in range(scenario.rounds):
                began = perf_counter()
                with _one_thread():
                    trace, sent = runner.run(world.play(round))
                seconds = perf_counter() - began
                if observer is not None:
                    observer(trace)
                measured = (round + 1) % scenario.evaluate_every == 0 or round == scenario.rounds - 1
                accuracy, success = evaluator.measure(trace.integrated) if measured else (None, None)
                yield RoundRecord(
                    rule=name or rule.name,
                    seed=setup.seed,
                    round=round,
                    accuracy=None if accuracy is None else accuracy.numpy().astype(np.float64),
                    success=None if success is None else success.numpy().astype(np.float64),
                    influence=influence(trace.edges, setup.honest),
                    bytes=sent,
                    seconds=seconds,
                    edges=trace.edges if measured else None,
                )
        finally:
            runner.run(world.close())


@contextmanager
def _one_thread() -> Iterator[None]:
    """One intra-op thread: each node's tensors are small, and barriers between threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(slots=True)
class _Round:
    """What nodes have said of one round."""

    start: Tensor
    trained: Tensor
    integrated: Tensor
    edges: dict[int, list[tuple[int, float, int]]] = field(default_factory=dict)


@dataclass(slots=True)
class _Disk:
    """Checkpoints of one node; implements node.service.Checkpoints."""

    params: Tensor
    round: int = 0
    state: TrainState | None = None
    served: Mapping[PeerId, int] = field(default_factory=dict)

    def save(self, round: int, params: Tensor, state: TrainState | None) -> None:
        """See `Checkpoints.save`."""
        self.round, self.params, self.state = round, params, state


@dataclass(slots=True)
class _Resident:
    """One honest node: what survives a crash, and what does not.

    Attributes:
        ledger: its disk.
        disk: its checkpoint.
        params: its model, as it last said.
        next_round: the round it is in.
        published: newest round it has signed.
        running: its service's task, or None when it is down.
        sent: bytes that its earlier transports sent.
        counted: bytes already in a record.
    """

    ledger: _WatchedLedger
    disk: _Disk
    params: Tensor
    next_round: int = 0
    published: int = -1
    running: asyncio.Task[None] | None = None
    service: NodeService | None = None
    transport: MemoryTransport | None = None
    sent: int = 0
    counted: int = 0


class World:
    """All nodes of one run. Everything happens on the running (virtual) loop."""

    def __init__(self, setup: Setup, rule: Rule) -> None:
        """Nobody lives before `start`."""
        scenario = setup.scenario
        self._setup = setup
        self._rule = rule
        self._weather = Weather(scenario.latency, scenario.jitter, scenario.loss, scenario.bandwidth)
        self._network = MemoryNetwork(setup.seed, self._weather)
        self._limits = _limits(setup)
        self._adversary = None if setup.attack is None or not setup.sybils else Adversary(setup, rule)
        self._residents = [
            _Resident(_WatchedLedger(self._signed, vertex), _Disk(setup.initial[vertex]), setup.initial[vertex])
            for vertex in range(setup.honest)
        ]
        self._draws = [generator(setup.seed, Purpose.JITTER, int(address)) for address in setup.addresses]
        self._vertex = {peer: vertex for vertex, peer in enumerate(setup.peers)}
        self._sybils: list[Sybil] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._rounds: dict[int, _Round] = {}
        self._signed_rows: dict[int, Tensor] = {}
        self._crafted: dict[int, Tensor] = {}
        self._acted = 0
        self._reached = -1
        self._over: asyncio.Event = asyncio.Event()
        self._failure: BaseException | None = None

    async def start(self) -> None:
        """Bring everybody up."""
        for vertex in range(self._setup.honest, self._setup.honest + self._setup.sybils):
            self._sybils.append(self._sybil(vertex))
            await self._sybils[-1].start()
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
        return self._trace(round), self._bytes()

    async def close(self) -> None:
        """Take everybody down."""
        for vertex in range(self._setup.honest):
            await self._stop(vertex)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sybil in self._sybils:
            await sybil.close()

    # Honest nodes

    def _launch(self, vertex: int) -> None:
        """Start a node, or start it again from what its disk holds."""
        setup, scenario, resident = self._setup, self._setup.scenario, self._residents[vertex]
        transport = self._network.transport(setup.peers[vertex], setup.places[vertex], self._limits)
        head = resident.ledger.head()
        restart = head is not None
        first = resident.disk.round
        published = head is not None and head.round >= first
        if head is not None and published:
            first = head.round

        def gossip(wants: Wants, on_event: Callable[[GossipEvent], None]) -> GossipService:
            def tell(event: GossipEvent) -> None:
                if not isinstance(event, PeerNamed):  # the scenario says whom operators named, not who dials whom
                    on_event(event)

            return GossipService(
                setup.keys[vertex],
                setup.network,
                setup.learner.schema,
                transport,
                resident.ledger,
                wants=wants,
                on_event=tell,
                generator=self._draws[vertex],
                executor=InlineExecutor(),
                limits=self._limits,
                bootstrap=self._bootstrap(vertex, restart),
                allow=frozenset(setup.peers[beside] for beside in setup.neighbours[vertex]),
                nonce=lambda: self._draws[vertex].bytes(32),
                round=first,
                reopen=first if restart else None,
            )

        resident.transport = transport
        resident.service = NodeService(
            identity=setup.peers[vertex],
            policy=RoundPolicy(
                rounds=scenario.rounds,
                pace=scenario.pace,
                least=min(1.0, scenario.deadline),
                most=scenario.deadline,
                expect=0 if restart else self._expected(vertex),
                gather=scenario.deadline,
                relays=Need.RELAYS in self._rule.needs,
                authors=scenario.authors,
                age=scenario.age,
                strangers=scenario.limit(),
            ),
            learner=setup.learner,
            data=setup.data,
            shard=setup.shards[vertex],
            rule=self._rule,
            initial=resident.disk.params,
            common=setup.common,
            gossip=gossip,
            seed=setup.seed,
            named=frozenset(setup.peers[other] for other in setup.named[vertex]),
            served=resident.disk.served,
            honest=frozenset(setup.peers[: setup.honest]),
            first_round=first,
            published=published,
            state=resident.disk.state,
            observe=lambda view: self._closed(vertex, view),
            checkpoints=resident.disk,
        )
        resident.running = asyncio.get_running_loop().create_task(resident.service.run(), name=setup.places[vertex])
        resident.running.add_done_callback(lambda task: self._ended(vertex, task))

    def _bootstrap(self, vertex: int, everybody: bool) -> list[str]:
        """Whom a vertex dials: of each pair the later one dials; who comes back dials everybody."""
        setup = self._setup
        return [
            f"{format_peer(setup.peers[beside])}@{setup.places[beside]}"
            for beside in setup.neighbours[vertex]
            if everybody or beside < vertex
        ]

    def _expected(self, vertex: int) -> int:
        """Neighbours that will be there at the start."""
        late = {node for crash in self._setup.scenario.crashes if crash.round == 0 for node in crash.nodes}
        return sum(beside not in late for beside in self._setup.neighbours[vertex])

    def _ended(self, vertex: int, task: asyncio.Task[None]) -> None:
        """A node's task is over: it has played all rounds, was stopped, or failed."""
        if self._residents[vertex].running is not task:
            return
        failure = None if task.cancelled() else task.exception()
        if failure is not None and self._failure is None:
            self._failure = failure
        self._over.set()

    async def _stop(self, vertex: int) -> None:
        resident = self._residents[vertex]
        if resident.transport is not None:
            resident.transport.abort()
            resident.sent += resident.transport.sent
            resident.transport = None
        task, resident.running, resident.service = resident.running, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._progress()

    # Rounds

    def _signed(self, vertex: int, entry: Entry, payload: Buffer) -> None:
        """An honest node has signed an update; it is durable, and has not left yet."""
        self._residents[vertex].published = entry.round
        if self._adversary is None or entry.round < self._acted:
            return
        rows = self._signed_rows.get(entry.round)
        if rows is None:
            rows = torch.full((self._setup.honest, self._setup.learner.dimension), torch.nan)
            self._signed_rows[entry.round] = rows
            wait = _PATIENCE * self._setup.scenario.deadline
            asyncio.get_running_loop().call_later(wait, self._act_until, entry.round)
        numbers = np.frombuffer(payload[-self._setup.learner.schema.nbytes :], dtype="<f4")
        rows[vertex] = torch.from_numpy(numbers.copy())
        self._perhaps_act()

    def _perhaps_act(self) -> None:
        published = [resident.published for resident in self._up()]
        if published:
            self._act_until(min(published))

    def _act_until(self, round: int) -> None:
        """The adversary crafts and sends its models up to this round."""
        while self._adversary is not None and self._acted <= round:
            now = self._acted
            self._acted += 1
            rows = self._signed_rows.pop(now, None)
            if rows is None:
                rows = torch.full((self._setup.honest, self._setup.learner.dimension), torch.nan)
            crafted = self._adversary.act(now, rows)
            self._crafted[now] = crafted
            self._do(self._send(now, crafted))

    async def _send(self, round: int, crafted: Tensor) -> None:
        vectors = crafted.detach().contiguous().numpy().astype("<f4", copy=False)
        for sybil, vector in zip(self._sybils, vectors, strict=True):
            await sybil.send(round, vector.tobytes())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None and self._failure is None:
            self._failure = failure
            self._over.set()

    def _closed(self, vertex: int, view: RoundView) -> None:
        """A node has closed a round."""
        resident = self._residents[vertex]
        start, resident.params, resident.next_round = resident.params, view.params, view.record.next_round
        if resident.service is not None:
            resident.disk.served = dict(resident.service.core.standing.served())
        now = self._round(view.record.round)
        now.start[vertex], now.trained[vertex], now.integrated[vertex] = start, view.trained, view.params
        now.edges[vertex] = [
            (self._vertex[each.peer], each.weight, int(each.verdict)) for each in view.record.neighbours
        ]
        for crash in self._setup.scenario.crashes:
            if vertex in crash.nodes and view.record.round < crash.round <= resident.next_round:
                self._do(self._stop(vertex))
        self._progress()

    def _round(self, round: int) -> _Round:
        """What is known of a round; nodes that say nothing keep the model they have."""
        if round not in self._rounds:
            models = torch.stack([resident.params for resident in self._residents])
            self._rounds[round] = _Round(models.clone(), models.clone(), models)
        return self._rounds[round]

    def _up(self) -> list[_Resident]:
        return [resident for resident in self._residents if resident.running is not None]

    def _floor(self) -> int:
        """The first round that somebody who is up has not closed; when nobody is, the next in which somebody comes."""
        up = [resident.next_round for resident in self._up()]
        back = [crash.back for crash in self._setup.scenario.crashes if crash.back is not None]
        later = [round for round in back if round > self._reached]
        return min(up or later, default=self._setup.scenario.rounds)

    def _progress(self) -> None:
        """Somebody has closed a round, or is gone."""
        floor = self._floor()
        if floor > self._reached:
            self._reached = floor
            self._turn(floor)
        self._perhaps_act()
        self._over.set()

    def _turn(self, floor: int) -> None:
        """The slowest node begins this round: cuts begin and heal, and nodes come (back) up."""
        scenario = self._setup.scenario
        cut = next((cut for cut in scenario.cuts if cut.start <= floor < cut.stop), None)
        if cut is None:
            self._network.heal()
        else:
            border = min(max(1, round(cut.share * self._setup.honest)), self._setup.honest - 1)
            honest = enumerate(self._setup.peers[: self._setup.honest])
            self._network.cut({peer: int(vertex >= border) for vertex, peer in honest})
        for vertex, resident in enumerate(self._residents):
            if resident.running is None and not self._down(vertex, floor):
                self._launch(vertex)

    def _down(self, vertex: int, floor: int) -> bool:
        """Whether a node is down when the slowest of the others begins this round."""
        resident = self._residents[vertex]
        return any(
            vertex in crash.nodes
            and crash.round <= max(floor, resident.disk.round)
            and (crash.back is None or floor < crash.back)
            for crash in self._setup.scenario.crashes
        )

    # What came of a round

    def _trace(self, round: int) -> Trace:
        now = self._rounds.pop(round, None) or self._round(round)
        self._rounds = {later: said for later, said in self._rounds.items() if later > round}
        silent = torch.full((self._setup.sybils, self._setup.learner.dimension), torch.nan)
        rows = [(node, *edge) for node in sorted(now.edges) for edge in now.edges[node]]
        return Trace(
            round=round,
            start=now.start,
            trained=now.trained,
            sent=self._crafted.pop(round, silent),
            integrated=now.integrated,
            edges=Edges(
                receivers=np.array([row[0] for row in rows], dtype=np.int32),
                senders=np.array([row[1] for row in rows], dtype=np.int32),
                weights=np.array([row[2] for row in rows], dtype=np.float32),
                verdicts=np.array([row[3] for row in rows], dtype=np.int8),
            ),
        )

    def _bytes(self) -> NDArray[np.int64]:
        """Bytes sent by each honest node since the last call."""
        totals = [each.sent + (each.transport.sent if each.transport else 0) for each in self._residents]
        fresh = np.array([total - each.counted for total, each in zip(totals, self._residents, strict=True)])
        for total, each in zip(totals, self._residents, strict=True):
            each.counted = total
        return fresh.astype(np.int64)

    def _sybil(self, vertex: int) -> Sybil:
        setup, draws = self._setup, self._draws[vertex]
        return Sybil(
            setup.keys[vertex],
            setup.network,
            setup.learner.schema,
            self._network.transport(setup.peers[vertex], setup.places[vertex], self._limits),
            generator=draws,
            nonce=lambda: draws.bytes(32),
            bootstrap=self._bootstrap(vertex, everybody=False),
            allow=frozenset(setup.peers[beside] for beside in setup.neighbours[vertex]),
            limits=self._limits,
            faults=[cast(FrameFault, fault) for fault in (setup.attack.faults if setup.attack else ())],
        )


class _WatchedLedger(MemoryLedger):
    """A disk that the adversary reads over the shoulder: it learns what is signed before it leaves."""

    def __init__(self, signed: Callable[[int, Entry, Buffer], None], vertex: int) -> None:
        super().__init__()
        self._signed = signed
        self._vertex = vertex

    def append(self, entry: Entry, payload: Buffer) -> None:
        """See `Ledger.append`."""
        super().append(entry, payload)
        self._signed(self._vertex, entry, payload)


def _limits(setup: Setup) -> Limits:
    """The limits of a daemon, with room for dense graphs, and no more blobs than a round can ask for."""
    degree = max((len(beside) for beside in setup.neighbours), default=0)
    payload = payload_bytes(setup.learner.schema)
    return Limits(
        degree=1,  # the graph is the scenario's: nobody looks for further neighbours
        connections=max(128, 2 * degree),
        inbound=max(64, 2 * degree),
        payload=max(64 * MIB, payload),
        blobs=payload * (2 * degree + 8),
    )
