"""One run of a node in its process: opens disk, wire, learner and page, and closes them again in the opposite order.

Law: whatever can be checked before the first byte is sent is checked before it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from aggregation.registry import build_rule
from gossip.intake import Wants
from gossip.protocol.address import Address
from gossip.protocol.errors import Drop
from gossip.protocol.events import Dropped
from gossip.protocol.limits import Limits
from gossip.reach.vantage import outward
from gossip.service import GossipService
from gossip.transport.http import HttpTransport
from identity.keys import SigningKey, format_peer, short
from node import draws
from node.config import NodeConfig
from node.learning.learner import Learner, TrainState
from node.learning.partition import Shard, hold_out, partition
from node.learning.task import Task
from node.service import NodeService, OnEvent
from node.show.snapshot import Facts, snapshot
from node.show.status import FOUND_IN, StatusServer
from node.store.folder import Store
from node.store.journal import Journal
from node.store.record import RoundView
from node.trust.acquaintances import Acquaintances
from node.trust.conduct import GUILT
from node.worker import Worker

ACQUAINTANCES = "acquaintances.json"
Say = Callable[[str], None]

_REFUSALS = {
    Drop.WRONG_NETWORK: "belongs to a network of another name: give both nodes the same [network] name",
    Drop.SCHEMA: "learns another model: give both nodes the same [task] name and model",
    Drop.NOT_ALLOWED: "is not on the allow-list: add it to [network] allow to let it in",
    Drop.UNEXPECTED_PEER: "has another peer id than the join line says: ask for a new join line",
    Drop.SELF: "is this node itself: take its own address out of [network] join",
    Drop.UNREACHABLE: "cannot be reached: still trying",
}


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How a run ended.

    Attributes:
        peer: text form of the peer id.
        round: the next round.
        accuracy: latest measured one, or None.
        params: (d,) float32, the model.
    """

    peer: str
    round: int
    accuracy: float | None
    params: Tensor


class Run:
    """One run: what is opened is closed again, in the opposite order."""

    def __init__(self, config: NodeConfig, key: SigningKey, task: Task, folder: Path, worker: Worker, say: Say) -> None:
        self.config = config
        self.key = key
        self.say = say
        self.worker = worker
        self._folder = folder
        self._told: set[tuple[Drop, bytes | str]] = set()
        self._signals = 0
        self._task = task
        self.learner = Learner(task)
        self.shard = own_shard(config, task)

    async def play(self) -> Outcome:
        """Play until the last round or a signal."""
        config, learner = self.config, self.learner
        torch.set_num_threads(config.task.threads)
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # peers that hang up are counted, not logged
        began = time.monotonic()
        with Store(self._folder, learner.dimension) as store, ThreadPoolExecutor(2, "gossip") as pool:
            journal = Journal(self._folder / config.store.records) if config.store.records else None
            try:
                service = self._service(store, pool, journal)
                facts = Facts(
                    version=_version(),
                    peer=self.key.peer,
                    network=config.network.name,
                    task=self._task.name,
                    rule=config.rule.name,
                    attackable=config.network.attackable,
                )
                page = StatusServer(lambda: snapshot(service, facts, time.monotonic() - began))
                await self._serve(service, page)
            finally:
                if journal is not None:
                    journal.close()
        return Outcome(format_peer(self.key.peer), service.core.round, service.accuracy, service.params)

    async def _serve(self, service: NodeService, page: StatusServer) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(
                ValueError, RuntimeError, NotImplementedError
            ):  # not in the main thread: the caller's own affair
                loop.add_signal_handler(number, self._signalled, number, service)
        found = self._folder / FOUND_IN
        found.unlink(missing_ok=True)  # of a run that was killed
        running = loop.create_task(service.run(), name="service")
        ready = loop.create_task(service.ready.wait(), name="ready")
        try:
            await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                self.say(f"join: {format_peer(self.key.peer)}@{_reached(service.gossip.address)}")
                if self.config.status.listen:
                    address = await page.start(self.config.status.listen)
                    found.write_text(address + "\n", encoding="utf-8")
                    self.say(f"status: http://{address}")
            await running
        except BaseException:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            raise
        finally:
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)
            found.unlink(missing_ok=True)
            await page.close()

    def _service(self, store: Store, pool: ThreadPoolExecutor, journal: Journal | None) -> NodeService:
        config, learner, seed = self.config, self.learner, self.config.seed()
        common = learner.initial(seed)
        first, published, params, state = self._resume(store, common)
        limits = Limits(degree=config.network.degree)
        listen = Address.parse(config.network.listen)
        address = draws.address(self.key.peer)

        def make(wants: Wants, on_event: OnEvent) -> GossipService:
            return GossipService(
                self.key,
                config.network_id(),
                learner.schema,
                HttpTransport(self.key.peer, pool, listen.host, listen.port, limits, config.network.advertise or None),
                store.ledger,
                wants=wants,
                on_event=on_event,
                generator=draws.generator(int.from_bytes(os.urandom(8), "big"), draws.Purpose.JITTER, address),
                executor=pool,
                limits=limits,
                bootstrap=config.network.join,
                allow=config.network.allowed(),
                round=first,
                reopen=first,
            )

        acquaintances = Acquaintances(self._folder / ACQUAINTANCES)

        def observe(view: RoundView) -> None:
            acquaintances.save(service.core.standing.served())
            if journal is not None:
                journal.write(view.record)

        service = NodeService(
            identity=self.key.peer,
            policy=config.policy(),
            learner=learner,
            data=self._task.train,
            shard=self.shard,
            rule=build_rule(config.rule.name, **config.rule.parameters),
            initial=params,
            gossip=make,
            seed=seed,
            common=common,
            trusted=config.network.allowed(),
            named=config.network.named(),
            served=acquaintances.load(),
            secret=int.from_bytes(os.urandom(8), "big"),
            first_round=first,
            published=published,
            state=state,
            executor=self.worker,
            background=pool,
            clock=time.monotonic,
            observe=observe,
            evaluate=self._evaluate(),
            checkpoints=store.checkpoints,
            dropped=self._refused,
        )
        return service

    def _resume(self, store: Store, common: Tensor) -> tuple[int, bool, Tensor, TrainState | None]:
        """The first round, whether its own update is in the ledger already, and the model to start from."""
        checkpoint = store.checkpoints.load()
        head = store.ledger.head()
        first = 0 if checkpoint is None else checkpoint.round
        params = common if checkpoint is None else checkpoint.params
        published = head is not None and head.round >= first and store.ledger.payload(head.sequence) is not None
        if head is not None and head.round >= first:
            first = head.round if published else head.round + 1
        if first:
            self.say(f"resuming at round {first}" + (" with the update that was signed before" if published else ""))
        return first, published, params, None if checkpoint is None else checkpoint.state

    def _evaluate(self) -> Callable[[int, Tensor, TrainState | None], float | None] | None:
        every, count = self.config.round.evaluate_every, self.config.round.evaluate_samples
        test = self._task.test
        if not every:
            return None
        if 0 < count < len(test):
            generator = draws.generator(self.config.seed(), draws.Purpose.EVALUATION)
            test = test.take(torch.from_numpy(generator.permutation(len(test))[:count]))

        def evaluate(round: int, params: Tensor, state: TrainState | None) -> float | None:
            if round % every:
                return None
            return float(self.learner.accuracy(params, test, state.buffers if state else None))

        return evaluate

    def _signalled(self, number: signal.Signals, service: NodeService) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)
        self.say(f"{number.name}: saying goodbye; once more to leave at once")
        service.stop()

    def _refused(self, event: Dropped) -> None:
        """Say once what a person can do something about: a handshake that failed, a neighbour that misbehaves."""
        key = (event.reason, event.peer or event.address)
        if key in self._told or len(self._told) >= 256:
            return
        if event.peer is not None and event.reason in GUILT:
            self._told.add(key)
            self.say(f"peer {short(event.peer)} misbehaves; dropped: {GUILT[event.reason]}")
        elif event.peer is None and event.reason in _REFUSALS:
            joining = any(text.endswith(event.address) for text in self.config.network.join)
            if event.reason is Drop.UNREACHABLE and not joining:
                return  # an address that others told us: nobody waits for it
            self._told.add(key)
            who = f"the node at {event.address}" if event.address else "a node that dialled us"
            self.say(f"{who} {_REFUSALS[event.reason]}")


def own_shard(config: NodeConfig, task: Task) -> Shard:
    """This node's rows of the training data: its part of the common split, some of it held out to judge models with."""
    seed, section = config.seed(), config.task
    if section.parts > 1:
        generator = draws.generator(seed, draws.Purpose.PARTITION)
        parameters = dict(section.partition_parameters)
        rows = partition(section.partition, task.train.labels, section.parts, generator, **parameters)[section.part]
    else:
        rows = torch.arange(len(task.train))
    held = draws.generator(seed, draws.Purpose.HOLD_OUT, section.part)
    return hold_out(task.train.labels, rows, task.held_out, held)


def _reached(listening: str) -> str:
    """What others may write after --join: of all interfaces the one that this machine reaches others from."""
    address = Address.parse(listening)
    return str(address.at(outward()) if address.everywhere else address)


def _version() -> str:
    try:
        return metadata.version("hedgerow")
    except metadata.PackageNotFoundError:
        return "unknown"
