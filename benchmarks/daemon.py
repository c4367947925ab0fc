"""What a daemon's round costs beyond training: hash, sign, ledger, HTTP, rule, checkpoint; two nodes on loopback.

Both nodes run in one process and train in one thread, one after the other; reported are
- overhead: (wall time of all rounds - training of both) / training of both. What one node does while the other
  trains is free, as it is on a machine with a second core;
- processor: the same of processor time, nothing being free.
Compare runs on one machine under one load only: every wait below grows with what else runs.

What is left, and why:
- on the way of a round, one flush of the disk (4 to 8 ms): own header and payload are durable before they are sent,
  a law; and four turns between the event loop and the learning thread, .1 ms each on an idle machine, a time slice
  each (4 ms) on a busy one;
- some 10 ms of processor time a node and round for models of this size, a third of it SQLite and the checkpoint, the
  rest HTTP, signatures, asyncio and the rule. So the share is small where a round trains for a second, and large
  where it trains for 10 ms.
Not on the way: checkpoints (two flushes; saved while the next round trains), the digest of the model that was
trained from (in the training's own turn). Two of the latter's turns and all of the former's flushes were, and made
2.8, 1.3 and .18 (softmax, mlp, lenet) of what is 1.2, .7 to 1.0 and .08 to .10 now, on two cores shared by a
dozen busy processes.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aggregation.registry import build_rule
from gossip.intake import Wants
from gossip.service import GossipService
from gossip.transport.http import HttpTransport
from identity.keys import SigningKey
from node import draws
from node.core.policy import RoundPolicy
from node.learning.dataset import Dataset
from node.learning.learner import Learner, TrainState
from node.learning.partition import Shard
from node.learning.registry import MODELS
from node.learning.task import Task
from node.service import NodeService, OnEvent
from node.store.folder import Store
from node.store.record import RoundView
from node.worker import Worker

NETWORK = bytes(range(32))
SAMPLES = 600  # of each node, as in the comparison with other systems
ROUNDS = 14
WARM = 3  # rounds before the measurement begins


@dataclass(frozen=True, slots=True, order=True)
class End:
    """When a node was done with a round; seconds, those of training summed over both nodes."""

    round: int
    wall: float
    processor: float
    trained_wall: float
    trained_processor: float


def run() -> dict[str, float]:
    """Overhead of a daemon's round as a share of its training, for three models."""
    found = {}
    for name in ("softmax", "mlp", "lenet"):
        found[f"daemon_overhead_{name}"], found[f"daemon_processor_{name}"] = measure(name)
    return found


def measure(model: str) -> tuple[float, float]:
    """Overhead for one model, with the rule `mean`: of wall time and of processor time."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 256, size=(2 * SAMPLES, 1, 28, 28), dtype=np.uint8)
    labels = generator.integers(0, 10, size=2 * SAMPLES)
    task = Task(MODELS[model].build((1, 28, 28), 10), (inputs, labels), (inputs[:10], labels[:10]), held_out=0.0)
    learner = _Timed(task)
    with tempfile.TemporaryDirectory() as folder:
        ends = asyncio.run(_pair(learner, Path(folder)))
    first, last = (max(end for end in ends if end.round == round) for round in (WARM, ROUNDS - 1))
    wall = (last.wall - first.wall) / (last.trained_wall - first.trained_wall) - 1
    return wall, (last.processor - first.processor) / (last.trained_processor - first.trained_processor) - 1


class _Timed(Learner):
    """Adds up how long it trains."""

    seconds = 0.0
    processor = 0.0

    def train(
        self,
        params: Tensor,
        data: Dataset,
        samples: Tensor,
        seed: int,
        node_address: int,
        round: int,
        state: TrainState | None = None,
    ) -> tuple[Tensor, TrainState]:
        """As a learner trains."""
        began, used = time.perf_counter(), time.thread_time()
        try:
            return super().train(params, data, samples, seed, node_address, round, state)
        finally:
            self.seconds += time.perf_counter() - began
            self.processor += time.thread_time() - used


async def _pair(learner: _Timed, folder: Path) -> list[End]:
    """When each node was done with each round."""
    common = learner.initial(1)
    keys = [SigningKey(bytes([number]) * 32) for number in (1, 2)]
    ends: list[End] = []
    worker, pool = Worker("learning"), ThreadPoolExecutor(2)
    stores = [Store(folder / str(number), learner.dimension) for number in range(2)]
    first = _node(0, keys, learner, common, stores[0], "", worker, pool, ends)
    running = [asyncio.create_task(first.run())]
    await first.ready.wait()
    second = _node(1, keys, learner, common, stores[1], first.gossip.address, worker, pool, ends)
    running.append(asyncio.create_task(second.run()))
    await asyncio.gather(*running)
    for store in stores:
        store.close()
    pool.shutdown()
    worker.shutdown()
    return ends


def _node(
    number: int,
    keys: list[SigningKey],
    learner: _Timed,
    common: Tensor,
    store: Store,
    join: str,
    worker: Executor,
    pool: ThreadPoolExecutor,
    ends: list[End],
) -> NodeService:
    key = keys[number]

    def make(wants: Wants, on_event: OnEvent) -> GossipService:
        return GossipService(
            key,
            NETWORK,
            learner.schema,
            HttpTransport(key.peer, pool),
            store.ledger,
            wants=wants,
            on_event=on_event,
            generator=draws.generator(1, draws.Purpose.JITTER, number),
            executor=pool,
            bootstrap=[join] if join else [],
        )

    def observe(view: RoundView) -> None:
        now = time.monotonic(), time.process_time()
        ends.append(End(view.record.round, *now, learner.seconds, learner.processor))

    rows = torch.arange(number * SAMPLES, (number + 1) * SAMPLES)
    return NodeService(
        identity=key.peer,
        policy=RoundPolicy(rounds=ROUNDS, expect=1),
        learner=learner,
        data=learner.task.train,
        shard=Shard(rows, rows[:0]),
        rule=build_rule("mean"),
        initial=common,
        gossip=make,
        seed=1,
        executor=worker,
        background=pool,
        clock=time.monotonic,
        observe=observe,
        checkpoints=store.checkpoints,
    )
