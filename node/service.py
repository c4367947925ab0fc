"""Runs one node: turns each effect of the core into one await, and its result into the next event.

Laws:
- No behaviour here: whoever wants to add an `if` about rounds, peers or relays adds it to `node.core.machine`.
- Training, rule and evaluation run one after the other in the executor that is passed in (a thread in a daemon,
  inline in
  virtual time): they share one learner.
- Time is `clock()` and the running loop's timers, nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar, assert_never

import torch
from torch import Tensor

from aggregation.evidence import Need, Rule, Verdict
from gossip.intake import Wants
from gossip.protocol import events as wire
from gossip.protocol.errors import DiskFault, LocalFault
from gossip.protocol.messages import NO_DIGEST, UpdateHeader
from gossip.service import GossipService
from identity.keys import PeerId, short
from node.alarms import Alarms
from node.core import events as ev
from node.core.machine import NodeCore
from node.core.policy import RoundPolicy
from node.draws import address
from node.errors import StoreError
from node.fallback import Fallback
from node.learning.dataset import Dataset
from node.learning.learner import Learner, TrainState
from node.learning.partition import Shard
from node.reckoning import reckon
from node.store.checkpoint import Checkpoint
from node.store.keeper import Checkpoints, Keeper
from node.store.record import NodeRecord, RoundView
from node.trust.conduct import Conduct, Harm
from node.trust.judgement import Heard, Judge, Judged
from node.trust.last_line import LastLine
from node.trust.opinions import ROUNDS, Opinions
from node.trust.standing import Standing
from node.watch import Watch

P = ParamSpec("P")
R = TypeVar("R")
OnEvent = Callable[[wire.GossipEvent], None]
MakeGossip = Callable[[Wants, OnEvent], GossipService]
Evaluate = Callable[[int, Tensor, TrainState | None], float | None]

log = logging.getLogger("hedgerow.node")


class NodeService:
    """One node, live or in a simulated world.

    Attributes:
        core: the behaviour; read it, do not drive it.
        gossip: the wire; there once `run` has begun.
        opinions: what was thought of each peer.
        conduct: what was dropped of what each peer sent.
        course: (round, accuracy or None, seconds) of the latest rounds.
        record: the latest round's record, or None.
        params: (d,) the model that the present round started from.
        ready: set once the node listens.
        played: rounds played since `run` began.
        accuracy: latest measured one, or None.
        watch: what whoever runs the node is told of its rounds.
        fallback: the last good model, or None.
        diverged: rounds whose training gave a NaN or an infinity; the model before it was published instead.

    Args:
        identity: own peer id.
        policy: rounds, pace, deadlines. Relays are sent and taken in only if the rule needs them too.
        learner: the task, as functions of flat params.
        data: training data (shared between nodes of one process).
        shard: which rows are this node's.
        rule: what to believe.
        initial: (d,) float32 params to start from (own).
        gossip: makes the gossip service when given the two callbacks.
        seed: of batch order and relay draws; the same on all nodes of a network.
        common: (d,) float32 the network's common initial model, or None (histories `update` need it).
        named: peers that the operator named, who are no strangers.
        served: rounds that strangers served before a restart.
        secret: seed of the draws by which strangers get their turn; None: `seed`.
        honest: honest peers, known in a simulation only, or None.
        first_round: the round to start with.
        published: the own update of `first_round` is in the ledger already (a restart); it is sent again.
        state: what training carried over from before a restart, or None.
        executor: where training, rule and evaluation run; None: inline.
        background: where checkpoints are saved while the next round trains; None: inline.
        clock: monotonic seconds; None: the running loop's time.
        observe: called once a round with the record and the models.
        evaluate: (round, params, state) -> accuracy, or None to leave a round out; runs in the executor.
        checkpoints: where params are kept between rounds, or None.
        dropped: told of everything that gossip drops, or None.
        line: how far the node lets itself be moved; None: as far as its rule says.
        joins: the node was told whom to join.
        alarms: told what goes wrong without ending the node, or None.
        watch: told of each round, or None.
        fallback: keeps the last good model, or None.
        people: (known, distrusted) peers as the operator says now; asked for before the first round and once a round.
        vouched: what standing by vouches comes to now; asked for like `people`; None: nobody vouches.
        far: peers that are heard from afar in a round, at most.
        graph: who may be a neighbour, known in a simulation only; None: whoever is linked.
        votes: unequal votes of peers, the node itself among them; None: all alike.
    """

    def __init__(
        self,
        *,
        identity: PeerId,
        policy: RoundPolicy,
        learner: Learner,
        data: Dataset,
        shard: Shard,
        rule: Rule,
        initial: Tensor,
        gossip: MakeGossip,
        seed: int,
        common: Tensor | None = None,
        named: frozenset[PeerId] = frozenset(),
        served: Mapping[PeerId, int] | None = None,
        secret: int | None = None,
        honest: frozenset[PeerId] | None = None,
        first_round: int = 0,
        published: bool = False,
        state: TrainState | None = None,
        executor: Executor | None = None,
        background: Executor | None = None,
        clock: Callable[[], float] | None = None,
        observe: Callable[[RoundView], None] | None = None,
        evaluate: Evaluate | None = None,
        checkpoints: Checkpoints | None = None,
        dropped: Callable[[wire.Dropped], None] | None = None,
        line: LastLine | None = None,
        joins: bool = False,
        alarms: Alarms | None = None,
        watch: Watch | None = None,
        fallback: Fallback | None = None,
        people: Callable[[], ev.Acquainted] | None = None,
        vouched: Callable[[], ev.Vouched] | None = None,
        far: int = 0,
        graph: frozenset[PeerId] | None = None,
        votes: Mapping[PeerId, float] | None = None,
    ) -> None:
        secret = seed if secret is None else secret
        standing = Standing(identity, policy.strangers, secret, named, served, far, graph)
        pace = policy.without_relays() if Need.RELAYS not in rule.needs else policy
        self.core = NodeCore(identity, pace, seed, standing)
        self.opinions = Opinions()
        self.conduct = Conduct()
        self.course: deque[tuple[int, float | None, float]] = deque(maxlen=ROUNDS)
        self.record: NodeRecord | None = None
        self.params = initial
        self.ready = asyncio.Event()
        self.played = 0
        self.accuracy: float | None = None
        self.diverged = 0
        self._identity = identity
        self._learner = learner
        self._data = data
        self._shard = shard
        self._judge = Judge(
            rule,
            learner,
            data,
            shard,
            common=common,
            rounds=policy.rounds,
            honest=honest,
            own=identity,
            seed=seed,
            line=line,
        )
        self._make_gossip = gossip
        self._seed = seed
        self._first = ev.Begin(first_round, published)
        self._state = state
        self._executor = executor
        self._clock = clock
        self._observe = observe
        self._evaluate = evaluate
        self._keeper = None if checkpoints is None else Keeper(checkpoints, background, self._kept)
        self._dropped = dropped
        self._alarms = alarms or Alarms()
        self.watch = watch or Watch(self._alarms)
        self.fallback = fallback
        self._joins = joins
        self._people = people
        self._acquainted = ev.Acquainted(frozenset(), frozenset())
        self._ask_vouched = vouched
        self._votes = votes or {}
        self._vouched: ev.Vouched | None = None
        self._broken: LocalFault | None = None
        self._trained = initial
        self._lost = False  # this round's training diverged
        self._base = NO_DIGEST  # of the model that was trained from; unknown for an update that is only sent again
        self._judged: Judged | None = None
        self._closed: ev.Integrate | None = None
        self._seconds = {"train": 0.0, "rule": 0.0}
        self._effects: asyncio.Queue[ev.Effect] = asyncio.Queue()
        self._timers: dict[ev.Timer, asyncio.TimerHandle] = {}
        self._stopped = asyncio.Event()
        self._round = -1

    async def run(self) -> None:
        """Play rounds until the last one is done or `stop` is called; closes the gossip service on the way out.

        Raises:
            Exception: whatever went wrong on this side (a full disk, a port in use, a bug); gossip is closed first.
        """
        loop = asyncio.get_running_loop()
        self._clock = self._clock or loop.time
        self.gossip = self._make_gossip(self._wants, self._on_event)
        working = loop.create_task(self._work(), name="node")
        stopping = loop.create_task(self._stopped.wait(), name="node-stop")
        try:
            self._acquaint()
            await self.gossip.start()
            self.ready.set()
            self._happen(self._first)
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            if self._broken is not None:
                raise self._broken
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
            for timer in self._timers.values():
                timer.cancel()
            await self.gossip.close()
            if self._keeper is not None:
                await self._keeper.close()
            if self.fallback is not None:
                await self.fallback.close()

    def stop(self) -> None:
        """Stop, whatever it is doing: the node says goodbye, and `run` returns. Belongs to the loop's thread."""
        self._happen(ev.StopAsked())
        self._stopped.set()

    def known(self, peer: PeerId) -> bool:
        """Whether a peer, connected or not, is no stranger here: known, or one that may be heard from afar."""
        standing = self.core.standing
        if peer in standing.pool - standing.distrusted:
            return True
        there = {neighbour.peer for neighbour in self.core.neighbours()}
        return peer in standing.known({*there, peer}, self.core.round)

    def _acquaint(self) -> None:
        """Ask what the operator says of peers; tell it where it is news."""
        said = self._acquainted if self._people is None else self._people()
        if said != self._acquainted:
            self._acquainted = said
            self._happen(said)
            self.gossip.acquaint(said.known, said.distrusted)
        vouched = None if self._ask_vouched is None else self._ask_vouched()
        if vouched is not None and vouched != self._vouched:
            self._vouched = vouched
            self._happen(vouched)
            self.gossip.vouched(vouched.near | self.core.standing.by_name, vouched.pool)

    # Events

    def _happen(self, event: ev.Event) -> bool:
        """Tell the core; put its effects to work. Returns whether it wants the payload that was announced."""
        wanted = False
        for effect in self.core.handle(event, self._now()):
            match effect:
                case ev.Want():
                    wanted = True
                case ev.Wake(timer, round, at):
                    self._wake(timer, round, at)
                case ev.Reach(peers):
                    self.gossip.reach(peers)
                case ev.Ask(author, to):
                    self.gossip.ask(author, to)
                case _:
                    self._effects.put_nowait(effect)
        if self.core.round != self._round:
            self._round = self.core.round
            self.gossip.advance(self._round)
        return wanted

    def _wants(self, header: UpdateHeader, via: PeerId, distance: int) -> bool:
        return self._happen(ev.Announced(header.author, header.round, via))

    def _on_event(self, event: wire.GossipEvent) -> None:
        match event:
            case wire.PeerJoined():
                self._happen(ev.Joined(event.peer, event.group, event.afar))
            case wire.PeerAdopted():
                self._happen(ev.Joined(event.peer, event.group))
            case wire.PeerNamed():
                self._happen(ev.Named(event.peer, event.address))
            case wire.PeerRedeemed():
                self._acquaint()
            case wire.PeerLeft():
                self._happen(ev.Left(event.peer))
            case wire.UpdateVerified():
                self._happen(ev.Arrived(event.update, event.via, event.distance))
            case wire.UpdateHeard():
                self._happen(ev.Heard(event.header.author, event.digest, event.via, event.distance))
            case wire.HeadAhead():
                self._happen(ev.Overtaken(event.round))
            case wire.PeerAhead():
                self._happen(ev.Ahead(event.peer, event.round))
            case wire.Equivocated():
                self._happen(ev.Convicted(event.author))
            case wire.Dropped():
                if event.peer is not None:
                    self.conduct.note(event.peer, event.reason)
                if self._dropped is not None:
                    self._dropped(event)
            case wire.KeyElsewhere():
                self._key_elsewhere(event)
            case wire.Broken(fault):
                self._break(fault)
            case _:
                assert_never(event)

    def _key_elsewhere(self, event: wire.KeyElsewhere) -> None:
        """Somebody else signs with our key: say it, and stop if it is us who stops."""
        what = "another process signs with this node's key: its folder was copied, or an old backup runs elsewhere"
        if event.conflict:
            what += "; both have signed for one round, and whoever has seen that refuses this key for good"
            todo = "stop the other one, and begin in a new folder with a new key"
        else:
            todo = "stop one of the two, and give it a folder of its own with `hedgerow init`"
        if event.yields:
            self._break(LocalFault(f"{what}; this one stops: {todo}"))
        else:
            self._alarms.ring("key" if not event.conflict else "conflict", f"{what}: {todo}")

    def _break(self, fault: LocalFault) -> None:
        """End the run with this fault; the first one counts."""
        self._broken = self._broken or fault
        self.stop()

    def _kept(self, fault: StoreError | None) -> None:
        if fault is None:
            self._alarms.clear("checkpoint", "checkpoints are written again")
        else:
            self._alarms.ring("checkpoint", f"{fault}; rounds go on, and a crash now would cost what was learned since")

    def _wake(self, timer: ev.Timer, round: int, at: float) -> None:
        if timer in self._timers:
            self._timers[timer].cancel()
        delay = max(0.0, at - self._now())
        loop = asyncio.get_running_loop()
        self._timers[timer] = loop.call_later(delay, self._happen, ev.Woken(timer, round))

    def _now(self) -> float:
        assert self._clock is not None
        return self._clock()

    # Effects

    async def _work(self) -> None:
        while True:
            effect = await self._effects.get()
            match effect:
                case ev.Train(round):
                    await self._train(round)
                case ev.Publish(round):
                    await self._publish(round)
                case ev.Integrate():
                    await self._integrate(effect)
                case ev.Relay(to, known):
                    await self.gossip.relay(to, known.update, known.distance)
                case ev.Report():
                    await self._report(effect)
                case ev.Finish():
                    return
                case ev.Want() | ev.Wake() | ev.Reach() | ev.Ask():
                    raise RuntimeError(f"{effect} is not work")
                case _:
                    assert_never(effect)

    async def _train(self, round: int) -> None:
        began = self._now()
        trained, state, finite, self._base = await self._off(self._learn, round)
        self._lost = not finite
        if finite:
            self._trained, self._state = trained, state
        else:
            self.diverged += 1
            self._trained = self.params
            log.warning(
                "diverged node=%s round=%d: publishing the model from before training", short(self._identity), round
            )
        self._seconds["train"] = self._now() - began
        self._happen(ev.Trained(round))

    def _learn(self, round: int) -> tuple[Tensor, TrainState, bool, bytes]:
        """All that training asks of the processor, in one turn of the executor; what it began with as a digest."""
        base = hashlib.sha256(self.params.detach().numpy().data).digest()
        name = address(self._identity)
        trained, state = self._learner.train(
            self.params, self._data, self._shard.train, self._seed, name, round, self._state
        )
        return trained, state, bool(torch.isfinite(trained).all()), base

    async def _publish(self, round: int) -> None:
        vector = self._trained.detach().numpy().data.cast("B")
        try:
            update = await self.gossip.publish(round, vector, self._base, self._judge.mask)
        except DiskFault as fault:
            self._alarms.ring("ledger", f"{fault}: training goes on, nothing is signed or sent until there is room")
            self._happen(ev.Published(round))
            return
        except LocalFault:
            if self.core.round == round:
                raise
            return  # overtaken by a head of our own that we had lost: the core has asked for a later round
        self._alarms.clear("ledger", "the ledger is written again: updates are signed and sent")
        self._trained = torch.from_numpy(update.vector.copy())
        self._happen(ev.Published(round))

    async def _integrate(self, closed: ev.Integrate) -> None:
        began = self._now()
        relayed = [known.update for known in closed.relayed]
        heard = Heard(closed.neighbours, closed.updates, relayed, closed.named, closed.knows, closed.known, self._votes)
        self._judged = await self._off(
            self._judge.decide, closed.round, self.params, self._trained, heard, self.buffers
        )
        self._closed = closed
        self.params = self._judged.decision.params.detach()
        self._seconds["rule"] = self._now() - began
        weights = zip(closed.neighbours, self._judged.decision.weights.tolist(), strict=True)
        self._happen(ev.Integrated(closed.round, frozenset(peer for peer, weight in weights if weight > 0)))

    async def _report(self, report: ev.Report) -> None:
        assert self._judged is not None
        assert self._closed is not None
        accuracy = None
        if self._evaluate is not None:
            accuracy = await self._off(self._evaluate, report.round, self.params, self._state)
        right = None
        if self._evaluate is None and self.fallback is not None:
            right = await self._off(self._judge.right, self.params, self.buffers)
        self.record = reckon(
            report,
            self._closed,
            self._judged,
            rule=self._judge.rule.name,
            seconds=self._seconds,
            accuracy=accuracy,
            diverged=self._lost,
            right=right,
            joins=self._joins,
            name=self.watch.name,
        )
        self.opinions.note(report.round, self.record.neighbours)
        for neighbour in self.record.neighbours:
            if neighbour.verdict is Verdict.BRAKED:
                self.conduct.note(neighbour.peer, Harm.BRAKED)
        self.watch.note(self.record)
        self.course.append((report.round, accuracy, report.duration))
        self.played += 1
        self.accuracy = self.accuracy if accuracy is None else accuracy
        back = None if self.fallback is None else await self._fall_back(self.fallback, self.record)
        if self._keeper is not None:
            self._keeper.keep(report.next_round, self.params, self._state)
        if self.fallback is not None and back is not None:
            if self._keeper is not None:
                await self._keeper.close()
            self.fallback.done(back, report.next_round)
        if self._observe is not None:
            self._observe(RoundView(self.record, self._trained, self.params, self.buffers))
        self._acquaint()

    async def _fall_back(self, fallback: Fallback, record: NodeRecord) -> Checkpoint | None:
        """Go back to the last good model, if that was asked for."""
        fallback.note(record, self.params, self._state)
        back = await fallback.asked()
        if back is not None:
            self.params, self._state = back.params, back.state
        return back

    @property
    def buffers(self) -> Mapping[str, Tensor]:
        """The node's own, with which its models are judged; empty before it has trained."""
        return {} if self._state is None else self._state.buffers

    async def _off(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run in the executor, or here and now if there is none."""
        if self._executor is None:
            return call(*args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: call(*args, **kwargs))
