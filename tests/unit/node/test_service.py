"""Node services over an in-memory network in virtual time: rounds, slow and dead peers, late joiners, restarts."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aggregation.evidence import Verdict
from aggregation.registry import build_rule
from gossip.chain.ledger import Ledger, MemoryLedger
from gossip.intake import Wants
from gossip.protocol.errors import Drop
from gossip.protocol.limits import Limits
from gossip.service import GossipService
from gossip.transport.executors import InlineExecutor
from identity.keys import SigningKey
from node import draws
from node.alarms import Alarms
from node.core.policy import RoundPolicy
from node.errors import StoreError
from node.fallback import Fallback
from node.learning.learner import Learner, TrainState
from node.learning.partition import Shard
from node.learning.task import Task
from node.service import NodeService, OnEvent
from node.store.checkpoint import CheckpointFolder
from node.store.keeper import Keeper
from node.store.record import NodeRecord, RoundView
from simulator.world.clock import run
from simulator.world.medium import Weather
from simulator.world.network import MemoryNetwork
from simulator.world.transport import MemoryTransport

torch.set_num_threads(1)  # two threads that share a busy core wait for each other at every step
NETWORK = hashlib.sha256(b"test").digest()


def small_task() -> Task:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(160, 40)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)
    return Task(nn.Linear(40, 2), (inputs, labels), (inputs, labels), held_out=0.0)


class SlowTransport(MemoryTransport):
    """Sends blobs at 1 KiB/s."""

    def upload(self, nbytes: int) -> float:
        self.sent += nbytes
        self.free = max(self.free, asyncio.get_running_loop().time()) + nbytes / 1024
        return self.free


class Town:
    """Some nodes that all know each other's address."""

    def __init__(self, count: int, rule: str = "mean", policy: RoundPolicy = RoundPolicy(rounds=6, expect=1)) -> None:
        self.keys = [SigningKey(hashlib.sha256(bytes([number])).digest()) for number in range(count)]
        self.network = MemoryNetwork(seed=3, weather=Weather(latency=0.02, jitter=0.01))
        self.task = small_task()
        self.learner = Learner(self.task)
        self.common = self.learner.initial(5)
        self.rule = build_rule(rule)
        self.policy = policy
        self.slow: set[int] = set()
        self.records: dict[int, list[NodeRecord]] = {number: [] for number in range(count)}
        self.views: dict[int, RoundView] = {}

    def node(self, number: int, ledger: Ledger | None = None, **changes: Any) -> NodeService:
        key = self.keys[number]
        shard = Shard(torch.arange(number % 8, 160, 8), torch.arange(0))
        rows = {other: f"node-{other}:1" for other in range(len(self.keys))}

        def make(wants: Wants, on_event: OnEvent) -> GossipService:
            kind = SlowTransport if number in self.slow else MemoryTransport
            return GossipService(
                key,
                NETWORK,
                self.learner.schema,
                kind(self.network, key.peer, rows[number]),
                ledger or MemoryLedger(),
                wants=wants,
                on_event=on_event,
                generator=draws.generator(1, draws.Purpose.JITTER, number),
                executor=InlineExecutor(),
                limits=Limits(degree=32),
                bootstrap=[address for other, address in rows.items() if other != number],
                reopen=changes.get("first_round"),
            )

        def observe(view: RoundView) -> None:
            self.records[number].append(view.record)
            self.views[number] = view

        settings: dict[str, Any] = {
            "identity": key.peer,
            "policy": self.policy,
            "learner": self.learner,
            "data": self.task.train,
            "shard": shard,
            "rule": self.rule,
            "initial": self.common,
            "common": self.common,
            "gossip": make,
            "seed": 5,
            "observe": observe,
        }
        return NodeService(**{**settings, **changes})


def virtually(main: Coroutine[Any, Any, Any]) -> Any:
    return run(main)


def test_nodes_that_hear_each_other_agree_under_the_mean() -> None:
    town = Town(3)

    async def main() -> None:
        await asyncio.gather(*(town.node(number).run() for number in range(3)))

    virtually(main())
    assert all([record.round for record in records] == list(range(6)) for records in town.records.values())
    full = [r for r in town.records[0] if len(r.neighbours) == 2 and all(n.weight == 1 for n in r.neighbours)]
    assert len(full) >= 4
    params = [town.views[number].params for number in range(3)]
    assert all(torch.allclose(params[0], other, atol=1e-6) for other in params)
    assert town.records[0][-1].closed_by == "all"


@pytest.mark.parametrize("rule", ["sybilwall", "krum", "alone"])
def test_other_rules_run_too_with_relays_where_they_need_them(rule: str) -> None:
    town = Town(4, rule, RoundPolicy(rounds=4, expect=3))

    async def main() -> None:
        await asyncio.gather(*(town.node(number).run() for number in range(4)))

    virtually(main())
    assert [record.round for record in town.records[0]] == [0, 1, 2, 3]


PACE = 0.5  # training takes no virtual time: the pace stands for it


def durations(slow: set[int]) -> list[float]:
    town = Town(6, "mean", RoundPolicy(rounds=80, expect=5, pace=PACE, least=0.2))
    town.slow = slow

    async def main() -> None:
        tasks = [asyncio.create_task(town.node(number).run()) for number in range(6)]
        await asyncio.gather(*tasks[1:])
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)

    virtually(main())
    known = 10  # rounds in which the others learn what to expect of it
    return [max(r.duration, PACE) for number in range(1, 6) for r in town.records[number] if r.round >= known]


def test_one_peer_at_a_kibibyte_a_second_does_not_slow_five_others() -> None:
    plain = float(np.quantile(durations(set()), 0.99))
    with_slow = float(np.quantile(durations({0}), 0.99))
    assert with_slow <= 1.1 * plain


def test_five_of_sixteen_die_in_mid_round_and_no_round_waits_past_its_deadline() -> None:
    town = Town(16, "mean", RoundPolicy(rounds=16, expect=15, pace=0.5, least=0.5))

    async def main() -> None:
        tasks = [asyncio.create_task(town.node(number).run()) for number in range(16)]
        await asyncio.sleep(4.27)
        for task in tasks[:5]:
            task.cancel()
        await asyncio.gather(*tasks[5:])
        await asyncio.gather(*tasks[:5], return_exceptions=True)

    virtually(main())
    for number in range(5, 16):
        assert town.records[number][-1].round == 15
        assert all(record.waited <= record.deadline + 1e-6 for record in town.records[number])


def test_a_late_joiner_catches_up() -> None:
    town = Town(4, "mean", RoundPolicy(rounds=40, expect=1, pace=1.0))

    async def main() -> None:
        others = [asyncio.create_task(town.node(number).run()) for number in range(3)]
        await asyncio.sleep(20)
        await asyncio.gather(town.node(3).run(), *others)

    virtually(main())
    assert town.records[3][0].next_round >= 18  # what it hears while it publishes its first update
    assert town.records[3][-1].round == 39
    assert town.records[3][-1].closed_by == "all"


def test_a_node_that_was_paused_catches_up_over_its_live_connections() -> None:
    town = Town(4, "mean", RoundPolicy(rounds=40, expect=3, pace=1.0))
    real = town.learner.train

    async def main() -> None:
        services = [town.node(number) for number in range(4)]
        paused = services[3]
        publish = paused._publish

        async def slow_publish(round: int) -> None:
            if round == 5:
                await asyncio.sleep(15)
            await publish(round)

        paused._publish = slow_publish  # type: ignore[method-assign]
        await asyncio.gather(*(service.run() for service in services))

    virtually(main())
    assert town.learner.train == real
    rounds = [record.round for record in town.records[3]]
    assert len(rounds) < 35
    assert rounds[-1] == 39


class Disk:
    """Checkpoints in memory."""

    def __init__(self) -> None:
        self.kept: tuple[int, Tensor, TrainState | None] | None = None

    def save(self, round: int, params: Tensor, state: TrainState | None, accuracy: float | None = None) -> None:
        self.kept = (round, params.clone(), state)


def test_a_restart_resumes_and_never_signs_twice_for_a_round() -> None:
    town = Town(3, "mean", RoundPolicy(rounds=30, expect=1, pace=1.0))
    disk, ledger = Disk(), MemoryLedger()

    async def main() -> None:
        others = [asyncio.create_task(town.node(number).run()) for number in range(2)]
        first = asyncio.create_task(town.node(2, ledger, checkpoints=disk).run())
        await asyncio.sleep(8.31)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert disk.kept is not None
        head = ledger.head()
        assert head is not None
        await asyncio.sleep(5)
        published = head.round >= disk.kept[0]
        start = head.round if published else disk.kept[0]
        again = town.node(2, ledger, checkpoints=disk, initial=disk.kept[1], first_round=start, published=published)
        await asyncio.gather(again.run(), *others)

    virtually(main())
    entries = ledger.own(1, 1000)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert all(one.round < two.round for one, two in itertools.pairwise(entries))
    assert town.records[2][-1].round == 29
    others = {town.keys[2].peer}
    heard = [n for record in town.records[0][-5:] for n in record.neighbours if n.peer in others]
    assert [n.weight for n in heard] == [1.0] * 5


def test_stop_ends_a_run_at_once_and_an_error_comes_out() -> None:
    town = Town(2, "mean", RoundPolicy(expect=1, pace=1.0))

    async def main() -> None:
        services = [town.node(number) for number in range(2)]
        running = [asyncio.create_task(service.run()) for service in services]
        await asyncio.sleep(5)
        services[0].stop()
        await running[0]
        running[1].cancel()
        await asyncio.gather(running[1], return_exceptions=True)

        def fail(view: RoundView) -> None:
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            await town.node(0, observe=fail, policy=RoundPolicy()).run()

    virtually(main())


def test_training_that_diverges_publishes_the_model_from_before() -> None:
    town = Town(1, "mean", RoundPolicy(rounds=2))
    town.task = Task(nn.Linear(40, 2), town.task.train, town.task.test, loss=lambda x, y: x.sum() * float("nan"))
    town.learner = Learner(town.task)
    service = town.node(0)
    virtually(service.run())
    assert service.diverged == 2
    assert torch.equal(service.params, town.common)


def test_wall_clocks_that_jump_by_ten_years_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of every node steps ten years ahead or back at each look, from nobody's look to the next."""

    def play() -> Town:
        town = Town(4, "sybilwall", RoundPolicy(rounds=8, expect=3, pace=1.0))

        async def main() -> None:
            services = [town.node(number) for number in range(4)]
            await asyncio.gather(*(service.run() for service in services))
            for service in services:
                refused = {reason for reason, count in service.gossip.counters.items() if count}
                assert refused <= {Drop.DUPLICATE, Drop.UNREACHABLE}  # both have reasons of their own

        virtually(main())
        return town

    plain = play()
    decade, looks, now = 10 * 365 * 86400.0, itertools.count(), 1.7e9

    def jumping() -> float:
        return now + (decade if next(looks) % 2 else -decade)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * jumping()))
    skewed = play()
    for number in range(4):
        assert torch.equal(skewed.views[number].params, plain.views[number].params)
        assert [r.neighbours for r in skewed.records[number]] == [r.neighbours for r in plain.records[number]]
        assert all(n.verdict is not Verdict.ABSENT for r in skewed.records[number] for n in r.neighbours)


async def test_a_slow_disk_skips_checkpoints_and_a_full_one_is_told() -> None:
    """Saves run beside the rounds: one at a time, the newest last, and no fault of theirs is lost."""
    saved: list[int] = []
    opened = threading.Event()

    class Slow:
        def save(self, round: int, params: Tensor, state: TrainState | None, accuracy: float | None = None) -> None:
            assert opened.wait(10)
            if round == 9:
                raise StoreError("disk full")
            saved.append(round)

    with ThreadPoolExecutor(2) as pool:
        told: list[str] = []
        keeper = Keeper(Slow(), pool, lambda fault: told.append(str(fault)))
        keeper.keep(1, torch.zeros(1), None)
        await asyncio.sleep(0.01)
        for round in (2, 3, 4):
            keeper.keep(round, torch.zeros(1), None)
        opened.set()
        await keeper.close()
        assert saved == [1, 4]
        keeper.keep(9, torch.zeros(1), None)
        await keeper.close()
        keeper.keep(10, torch.zeros(1), None)
        await keeper.close()
        assert saved == [1, 4, 10]
        assert told == ["None", "None", "disk full", "None"]


class Wish:
    """One wish to go back, from when it is made until it is answered."""

    def __init__(self) -> None:
        self.open = False
        self.answers: list[str] = []

    def wished(self, name: str) -> bool:
        return self.open

    def answer(self, name: str, words: str) -> None:
        self.open = False
        self.answers.append(words)


def test_a_node_that_was_hurt_goes_back_when_it_is_asked_and_its_rounds_go_on(tmp_path: Path) -> None:
    town = Town(1, "alone", RoundPolicy(rounds=12))
    wish, disk, views = Wish(), Disk(), list[RoundView]()
    alarms = Alarms()

    def measured(round: int, params: Tensor, state: TrainState | None) -> float:
        wish.open = wish.open or round == 9
        return 0.9 if round < 6 else 0.3

    def go_back() -> NodeService:
        fallback = Fallback(CheckpointFolder(tmp_path, town.learner.dimension, keep=1), wish, None, alarms)
        return town.node(0, evaluate=measured, checkpoints=disk, fallback=fallback, observe=views.append, alarms=alarms)

    virtually(go_back().run())
    (words,) = wish.answers
    assert words.startswith(
        "goes on in round 10 from the model of round 2, accuracy then 90 %; the optimizer begins anew. "
    )
    assert [view.record.round for view in views] == list(range(12))
    assert torch.equal(views[9].params, views[2].params)
    assert not torch.equal(views[9].trained, views[2].params)  # what was signed stays signed
    assert [line.partition(":")[0] for line in alarms.now()] == ["accuracy fell from 90 % to 30 % in round 6"]


def test_where_accuracy_is_never_measured_a_record_says_how_the_own_samples_fare(tmp_path: Path) -> None:
    town = Town(1, "alone", RoundPolicy(rounds=4))
    fallback = Fallback(CheckpointFolder(tmp_path, town.learner.dimension, keep=1), Wish(), None, Alarms())
    shard = Shard(torch.arange(0, 140), torch.arange(140, 160))
    virtually(town.node(0, fallback=fallback, shard=shard).run())
    assert all(record.right is not None and record.right > 0.5 for record in town.records[0])
    assert fallback.recent.best is not None
