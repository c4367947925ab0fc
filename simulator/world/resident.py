"""One honest node of a world: its disk, which survives a crash, and its service, which does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from aggregation.evidence import Need
from gossip.chain.ledger import Entry, MemoryLedger
from gossip.intake import Wants
from gossip.protocol.events import GossipEvent, PeerNamed
from gossip.protocol.messages import Buffer
from gossip.service import GossipService
from gossip.transport.executors import InlineExecutor
from identity.keys import PeerId
from node.core.policy import RoundPolicy
from node.learning.learner import TrainState
from node.service import NodeService
from node.store.record import RoundView
from simulator.world.ground import Ground
from simulator.world.transport import MemoryTransport


@dataclass(frozen=True, slots=True)
class Told:
    """Whom a resident tells what happens to it; each is called with its vertex first.

    Attributes:
        signed: an update is durable, and has not left yet.
        closed: a round is over for it.
        ended: its service is over: it has played all rounds (None), or failed.
    """

    signed: Callable[[int, Entry, Buffer], None]
    closed: Callable[[int, RoundView], None]
    ended: Callable[[int, BaseException | None], None]


class Resident:
    """One honest node.

    Attributes:
        vertex: in the graph.
        params: (d,) its model, as it last said.
        buffers: its own, as it last said; empty before it has trained.
        next_round: the round it is in.
        published: newest round it has signed, -1: none.
    """

    def __init__(self, ground: Ground, vertex: int, told: Told) -> None:
        """Down until `launch`."""
        self.vertex = vertex
        self.params: Tensor = ground.setup.initial[vertex]
        self.buffers: Mapping[str, Tensor] = {}
        self.next_round = 0
        self.published = -1
        self._ground = ground
        self._told = told
        self._ledger = _WatchedLedger(self._signed)
        self._disk = _Disk(self.params)
        self._running: asyncio.Task[None] | None = None
        self._service: NodeService | None = None
        self._transport: MemoryTransport | None = None
        self._sent = 0  # bytes that earlier transports sent
        self._counted = 0  # bytes that were told

    @property
    def up(self) -> bool:
        """Whether its service was launched and not stopped."""
        return self._running is not None

    def launch(self) -> None:
        """Start the node, or start it again from what its disk holds."""
        ground, setup, vertex = self._ground, self._ground.setup, self.vertex
        scenario = setup.scenario
        transport = MemoryTransport(ground.network, setup.peers[vertex], setup.places[vertex], ground.limits)
        head = self._ledger.head()
        restart = head is not None
        first = self._disk.round
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
                self._ledger,
                wants=wants,
                on_event=tell,
                generator=ground.draws(vertex),
                executor=InlineExecutor(),
                limits=ground.limits,
                bootstrap=ground.bootstrap(vertex, everybody=restart),
                allow=ground.allow(vertex),
                addresses=ground.addresses(vertex),
                nonce=ground.nonce(vertex),
                round=first,
                reopen=first if restart else None,
            )

        vouched = ground.vouched(vertex)
        self._service = NodeService(
            identity=setup.peers[vertex],
            policy=RoundPolicy(
                rounds=scenario.rounds,
                pace=scenario.pace,
                least=min(1.0, scenario.deadline),
                most=scenario.deadline,
                expect=0 if restart else self._expected(),
                gather=scenario.deadline,
                relays=Need.RELAYS in ground.rule.needs,
                authors=scenario.authors,
                age=scenario.age,
                strangers=scenario.limit(),
            ),
            learner=setup.learner,
            data=setup.data,
            shard=setup.shards[vertex],
            rule=ground.rule,
            initial=self._disk.params,
            common=setup.common,
            gossip=gossip,
            seed=setup.seed,
            named=frozenset(setup.peers[other] for other in setup.named[vertex]),
            served=self._disk.served,
            honest=frozenset(setup.peers[: setup.honest]),
            first_round=first,
            published=published,
            state=self._disk.state,
            observe=lambda view: self._told.closed(vertex, view),
            checkpoints=self._disk,
            line=scenario.line(),
            vouched=None if vouched is None else lambda: vouched,
            far=scenario.far,
            graph=ground.neighbours(vertex),
        )
        self._transport = transport
        self._running = asyncio.get_running_loop().create_task(self._service.run(), name=setup.places[vertex])
        self._running.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Die: connections are reset, and what the service held in memory is lost."""
        if self._transport is not None:
            self._transport.abort()
            self._sent += self._transport.sent
            self._transport = None
        task, self._running, self._service = self._running, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def close(self, view: RoundView) -> Tensor:
        """It has closed a round: note what it said; returns (d,) the model that it began the round with."""
        start, self.params, self.next_round = self.params, view.params, view.record.next_round
        self.buffers = view.buffers
        if self._service is not None:
            self._disk.served = dict(self._service.core.standing.served())
        return start

    def down(self, floor: int) -> bool:
        """Whether the scenario has it down when the slowest of the others begins round `floor`."""
        return any(
            self.vertex in crash.nodes
            and crash.round <= max(floor, self._disk.round)
            and (crash.back is None or floor < crash.back)
            for crash in self._ground.setup.scenario.crashes
        )

    def crashes(self, round: int) -> bool:
        """Whether the scenario takes it down on its way from `round`, which it has closed, to its next one."""
        return any(
            self.vertex in crash.nodes and round < crash.round <= self.next_round
            for crash in self._ground.setup.scenario.crashes
        )

    def count(self) -> int:
        """Bytes sent since the last call."""
        total = self._sent + (self._transport.sent if self._transport else 0)
        fresh, self._counted = total - self._counted, total
        return fresh

    def _expected(self) -> int:
        """Neighbours that will be there at the start."""
        setup = self._ground.setup
        late = {node for crash in setup.scenario.crashes if crash.round == 0 for node in crash.nodes}
        return sum(beside not in late for beside in setup.neighbours[self.vertex])

    def _signed(self, entry: Entry, payload: Buffer) -> None:
        self.published = entry.round
        self._told.signed(self.vertex, entry, payload)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._running is task:
            self._told.ended(self.vertex, None if task.cancelled() else task.exception())


@dataclass(slots=True)
class _Disk:
    """Checkpoints of one node; implements node.service.Checkpoints."""

    params: Tensor
    round: int = 0
    state: TrainState | None = None
    served: Mapping[PeerId, int] = field(default_factory=dict)

    def save(self, round: int, params: Tensor, state: TrainState | None, accuracy: float | None = None) -> None:
        """See `Checkpoints.save`."""
        self.round, self.params, self.state = round, params, state


class _WatchedLedger(MemoryLedger):
    """A disk that the adversary reads over the shoulder: it learns what is signed before it leaves."""

    def __init__(self, signed: Callable[[Entry, Buffer], None]) -> None:
        super().__init__()
        self._signed = signed

    def append(self, entry: Entry, payload: Buffer) -> None:
        """See `Ledger.append`."""
        super().append(entry, payload)
        self._signed(entry, payload)
