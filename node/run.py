"""One run of a node in its process: opens disk, wire, learner and page, and closes them again in the opposite order.

Law: whatever can be checked before the first byte is sent is checked before it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aggregation.evidence import Need
from aggregation.registry import build_rule
from gossip.intake import Wants
from gossip.protocol.address import Address
from gossip.protocol.errors import DiskFault
from gossip.protocol.events import GossipEvent, PeerAdopted, PeerJoined
from gossip.protocol.limits import Limits
from gossip.reach.vantage import outward
from gossip.service import GossipService
from gossip.transport.files import raise_limit
from gossip.transport.http import HttpTransport
from identity.errors import BadPeerId
from identity.keys import PeerId, SigningKey, format_peer
from node import draws
from node.alarms import Alarms
from node.bulletin import Bulletin
from node.circle import Circle
from node.config import NodeConfig
from node.core.events import Vouched
from node.errors import ConfigError, StoreError
from node.fallback import Fallback
from node.learning.learner import Learner, TrainState
from node.learning.partition import Shard, hold_out, partition
from node.learning.task import Task
from node.refusals import Refusals
from node.service import NodeService, OnEvent
from node.show.snapshot import Facts, snapshot
from node.show.status import FOUND_IN, StatusServer
from node.start import form_of, resume
from node.store.folder import LEDGER, Store
from node.store.journal import Journal
from node.store.people import People
from node.store.record import RoundView
from node.store.vouches import VouchTable
from node.trust.last_line import LastLine
from node.trust.votes import above_half, votes_of
from node.voucher import Voucher
from node.watch import Watch
from node.worker import Worker

BLOBS = Limits().blobs
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, if this is one
BUSY = 1.0  # seconds that a round waits for a command that writes
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Outcome:
    """How a run ended.

    Attributes:
        peer: text form of the peer id.
        round: the next round.
        accuracy: latest measured one, or None.
        params: (d,) float32, the model.
        buffers: the model's own by name (running statistics); empty before it was trained.
    """

    peer: str
    round: int
    accuracy: float | None
    params: Tensor
    buffers: Mapping[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        """In one line, without the numbers of the model."""
        accuracy = "not measured" if self.accuracy is None else f"{self.accuracy:.3f}"
        return f"Outcome({self.peer}, round {self.round}, accuracy {accuracy}, {len(self.params)} params)"


class Run:
    """One run: what is opened is closed again, in the opposite order.

    Attributes:
        folder: where the node keeps what it keeps.
    """

    def __init__(
        self,
        config: NodeConfig,
        key: Path,
        task: Task,
        folder: Path,
        worker: Worker,
        say: Say,
        *,
        more: int | None = None,
        forget: bool = False,
    ) -> None:
        """Nothing is opened yet.

        Args:
            config: what the user says.
            key: the key file.
            task: what is learned.
            folder: where everything but the key is kept.
            worker: trains.
            say: told one line at a time what people need to know.
            more: stop after so many more rounds.
            forget: drop model and moments first; key and chain stay.
        """
        self.config = config
        self.key = SigningKey.load(key)
        self.say = say
        self.worker = worker
        self.alarms = Alarms(say)
        self._key_file = key
        self.folder = folder
        self._more, self._forget = more, forget
        self._signals = 0
        self._task = task
        self._loop: asyncio.AbstractEventLoop | None = None
        self._playing: NodeService | None = None
        self.learner = Learner(task)
        self.shard = own_shard(config, task)

    def stop(self) -> None:
        """Stop soon; from any thread. Before it plays, and after it has, nothing happens."""
        if self._loop is not None and self._playing is not None:
            with suppress(RuntimeError):  # it is over, and so is its loop
                self._loop.call_soon_threadsafe(self._playing.stop)

    async def play(self) -> Outcome:
        """Play until the last round or a signal."""
        config, learner = self.config, self.learner
        torch.set_num_threads(config.task.threads)
        raise_limit()
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # peers that hang up are counted, not logged
        began = time.monotonic()
        form = form_of(learner)
        opened = Store(self.folder, learner.dimension, form, self._key_file)
        with (
            opened as store,
            People(self.folder / LEDGER, wait=BUSY) as people,
            ThreadPoolExecutor(2, "gossip") as pool,
        ):
            network = config.network_id()
            voucher = Voucher(self.key, network, VouchTable(people, network), self.alarms, config.network.vouch)
            circle = Circle(people, self.alarms, self.say, voucher)
            records = config.store.records
            journal = Journal(self.folder / records) if records else None
            try:
                self._playing = service = self._service(store, pool, journal, circle, voucher)
                self._loop = asyncio.get_running_loop()
                facts = Facts(
                    version=_version(),
                    peer=self.key.peer,
                    network=config.network.name,
                    task=self._task.name,
                    rule=config.rule.name,
                    attackable=config.network.attackable,
                    folder=str(self._key_file.parent),
                )

                def look() -> dict[str, Any]:
                    return snapshot(
                        service, facts, time.monotonic() - began, self.alarms.now(), circle.rows(), circle.standing()
                    )

                page = StatusServer(look)
                await self._serve(service, page)
            finally:
                if journal is not None:
                    journal.close()
        return Outcome(
            format_peer(self.key.peer), service.core.round, service.accuracy, service.params, service.buffers
        )

    async def _serve(self, service: NodeService, page: StatusServer) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(
                ValueError, RuntimeError, NotImplementedError
            ):  # not in the main thread: the caller's own affair
                loop.add_signal_handler(number, self._signalled, number, service)
        found = self.folder / FOUND_IN
        with suppress(OSError):
            found.unlink(missing_ok=True)  # of a run that was killed
        running = loop.create_task(service.run(), name="service")
        ready = loop.create_task(service.ready.wait(), name="ready")
        try:
            await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                self.say(f"join: {format_peer(self.key.peer)}@{_reached(service.gossip.address)}")
                if self.config.status.listen:
                    address = await page.start(self.config.status.listen)
                    self._tell_where(found, address)
                    self.say(f"status: http://{address}")
            await running
        except BaseException:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            raise
        finally:
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)
            with suppress(OSError):
                found.unlink(missing_ok=True)
            await page.close()

    def _tell_where(self, found: Path, address: str) -> None:
        """Leave word of the page's address in the folder, whole or not at all."""
        part = found.with_name(found.name + ".part")
        try:
            part.write_text(address + "\n", encoding="utf-8")
            part.replace(found)
        except OSError as error:
            self.alarms.ring("found", f"cannot write {found}: {error.strerror}; ask for the status by address")

    def _service(
        self, store: Store, pool: ThreadPoolExecutor, journal: Journal | None, circle: Circle, voucher: Voucher
    ) -> NodeService:
        config, learner, seed = self.config, self.learner, self.config.seed()
        common = learner.initial(seed)
        start = resume(store, learner, common, self.folder, self.say, self._forget)
        first, published = start.round, start.published
        recall = store.ledger.linked() - circle.said().distrusted  # who is refused cannot tell
        if recall and not published:
            limit = Limits().recall
            self.say(
                f"hearing out {len(recall)} peers that knew this node, at most {limit:.0f} s, before it signs anew"
            )
        elif recall:
            self.say(f"{len(recall)} peers knew this node: they are heard out before it signs anything new")
        limits = Limits(degree=config.network.degree, blobs=min(BLOBS, memory_there() // 8))
        listen = Address.parse(config.network.listen)
        address = draws.address(self.key.peer)
        home = str(self._key_file.parent)

        def make(wants: Wants, on_event: OnEvent) -> GossipService:
            def tell(event: GossipEvent) -> None:
                if isinstance(event, PeerAdopted) or (isinstance(event, PeerJoined) and stays(event)):
                    with suppress(DiskFault):  # the ledger's alarm rings when it matters: at the next signature
                        store.ledger.link(event.peer)
                circle.note(event)
                on_event(event)

            return GossipService(
                self.key,
                config.network_id(),
                learner.schema,
                HttpTransport(self.key.peer, pool, listen.host, listen.port, limits, config.network.advertise or None),
                store.ledger,
                wants=wants,
                on_event=tell,
                generator=draws.generator(int.from_bytes(os.urandom(8), "big"), draws.Purpose.JITTER, address),
                executor=pool,
                limits=limits,
                bootstrap=config.network.join,
                allow=config.network.allowed(),
                known=lambda peer: service.known(peer),
                round=first,
                reopen=first,
                recall=recall,
                serves=None if config.network.models == "anybody" else lambda peer: known_by_word(peer),
                invitations=circle,
                vouching=voucher,
            )

        def stays(event: PeerJoined) -> bool:
            """Whether it is a neighbour's link: one from afar, theirs or ours, is gone after a round or two, and nobody
            to be heard out after a restart."""
            standing = service.core.standing
            visits = event.peer in standing.pool - standing.near - standing.by_name
            return not event.afar and (event.dialled or not visits)

        def known_by_word(peer: PeerId) -> bool:
            """Whether a person stands for it, its operator or others by their vouches: it is given models."""
            standing = service.core.standing
            return peer in (standing.by_name | standing.near | standing.pool) - standing.distrusted

        def known_by_name() -> frozenset[PeerId]:
            return service.core.standing.by_name

        def vouched() -> Vouched:
            return circle.vouched(known_by_name(), closed=bool(config.network.allow))

        missed: set[PeerId] = set(recall)
        bulletin = Bulletin(self.say, time.monotonic, circle.name)

        def observe(view: RoundView) -> None:
            with suppress(DiskFault):
                store.ledger.serve(service.core.standing.served())
                if missed and service.played == 1:
                    store.ledger.unlink(sorted(missed - set(service.gossip.peers())))
            circle.after(view.record.round, service.core.standing.by_name)
            bulletin.note(view.record)
            if journal is not None:
                self._record(journal, view)

        service = NodeService(
            identity=self.key.peer,
            policy=replace(config.policy(), more=self._more),
            learner=learner,
            data=self._task.train,
            shard=self.shard,
            rule=build_rule(config.rule.name, **config.rule.parameters),
            initial=start.params,
            gossip=make,
            seed=seed,
            common=common,
            named=config.network.named(),
            served=store.ledger.served(),
            secret=int.from_bytes(os.urandom(8), "big"),
            first_round=first,
            published=published,
            state=start.state,
            executor=self.worker,
            background=pool,
            clock=time.monotonic,
            observe=observe,
            evaluate=self._evaluate(),
            checkpoints=store.checkpoints,
            dropped=Refusals(self.say, time.monotonic, config.network.join, circle.name).note,
            line=LastLine() if config.rule.last_line else None,
            joins=bool(config.network.join),
            alarms=self.alarms,
            watch=Watch(self.alarms, (*config.network.join, *config.network.known), home, circle.name),
            fallback=Fallback(store.good, store.ledger, pool, self.alarms, home),
            people=circle.said,
            vouched=vouched,
            far=config.network.far,
            votes=self._votes(circle),
        )
        store.ledger.known = service.known
        return service

    def _votes(self, circle: Circle) -> Mapping[PeerId, float]:
        """Unequal votes, as node.toml gives them; says what they cannot do."""
        network = self.config.network
        try:
            votes = votes_of(network.weights, circle.names(), self.key.peer)
        except BadPeerId as error:
            raise ConfigError(str(error)) from None
        if votes and Need.VOTES not in build_rule(self.config.rule.name, **self.config.rule.parameters).needs:
            self.say(f"[network] weights: rule {self.config.rule.name} counts all votes alike; hedgerow-known does not")
        heavy = above_half(votes, self.key.peer, network.named() | circle.said().known) if votes else None
        if heavy is not None:
            who = "this node" if heavy == self.key.peer else circle.name(heavy)
            self.say(f"[network] weights: {who} has more than half of all votes; no rule can bound what it says")
        return votes

    def _record(self, journal: Journal, view: RoundView) -> None:
        try:
            journal.write(view.record)
        except StoreError as error:
            self.alarms.ring("records", str(error))
        else:
            self.alarms.clear("records", "records are written again")

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


def memory_there(limit: Path = MEMORY_LIMIT) -> int:
    """Bytes of memory that this machine has, or that its container may use."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or "max"
        whole = min(whole, int(limit.read_text(encoding="ascii")))
    return whole


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
