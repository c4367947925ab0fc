"""Local training and whole rounds against loops over nodes, each loop with the number of threads it is fastest with.

- `softmax_training`: 1 000 nodes of 64 samples, one epoch, against nn.Module, optimizer and DataLoader.
- `mlp_training`, `lenet_training`: 1 000 and 200 nodes of 64 samples, against a bare loop (no loader, no optimizer).
- `mlp_rivals`: the work other simulators were measured on: 100 nodes, 600 images each, an MLP of 101 770 params, plain
  mean, degree 4, batch 32, one epoch a round; whole round against a bare loop's.

Loops are timed with one torch thread and with all on a few nodes, and measured with the better. Rows without a
suffix are torch alone; `_fast` rows are with numba, when it is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from aggregation.registry import build_rule
from benchmarks.loop import Loop
from benchmarks.network import network
from benchmarks.simulation import kinds
from benchmarks.timing import best, ratio
from simulator.fast.choose import choose_trainer
from simulator.fast.engine import FastEngine, Options
from simulator.fast.trainer import Job
from simulator.fast.workers import Workers
from simulator.study.setup import Setup

_TRIED = 20  # nodes that the number of threads is chosen on


def run() -> dict[str, float]:
    """All rows: times faster."""
    rows = training("softmax", 1_000, "softmax_training", loader=True)
    rows |= training("mlp", 1_000, "mlp_training", loader=False)
    rows |= training("lenet", 200, "lenet_training", loader=False)
    return rows | rivals()


def training(model: str, nodes: int, row: str, *, loader: bool, samples: int = 64) -> dict[str, float]:
    """Local training of all nodes, one epoch, against the loop.

    Args:
        model: softmax, mlp or lenet.
        nodes: trained.
        row: name of the row.
        loader: the loop uses nn.Module, optimizer and DataLoader.
        samples: of each node.
    """
    setup = network(model, nodes, samples)
    loop = Loop(setup)
    slow = at_its_best(network(model, _TRIED, samples), _train(loop, loader), loader)
    rows = {}
    with Workers() as workers:
        shards = tuple(shard.train for shard in setup.shards[:nodes])
        job = Job(setup.learner, setup.data, shards, setup.addresses[:nodes], setup.seed, workers)
        out, names = torch.empty_like(loop.params), torch.arange(nodes)
        for suffix, compiled in kinds():
            with workers.single_threaded():
                trainer = choose_trainer(job, setup.initial, compiled=compiled)

            def ours(train: Callable[..., None] = trainer.train) -> None:
                with workers.single_threaded():
                    train(loop.params, out, names, 0)

            rows[row + suffix] = ratio(slow, ours, repeats=2)
    return rows


def at_its_best(sample: Setup, work: Callable[[], None], loader: bool) -> Callable[[], None]:
    """`work` with the number of torch threads, one or all, with which a loop over `sample` is faster."""
    loop = Loop(sample)
    most = torch.get_num_threads()
    tried = {threads: best(partial(_with, threads, _train(loop, loader)), 2) for threads in (1, most)}
    return partial(_with, min(tried, key=lambda threads: tried[threads]), work)


def _train(loop: Loop, loader: bool) -> Callable[[], None]:
    return loop.train_with_loader if loader else loop.train


def _with(threads: int, work: Callable[[], None]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        work()
    finally:
        torch.set_num_threads(before)


def rivals(nodes: int = 100, samples: int = 600) -> dict[str, float]:
    """Rows `mlp_rivals` (torch alone) and `mlp_rivals_fast` (numba): times faster than the bare loop."""
    setup = network("mlp", nodes, samples, degree=4)
    loop = Loop(setup)

    def whole() -> None:
        loop.train()
        loop.mean()

    bare = at_its_best(network("mlp", _TRIED, samples, degree=4), whole, False)
    rows = {}
    for suffix, compiled in kinds():
        engine = FastEngine(setup, build_rule("mean"), Options(compiled=compiled))
        rows[f"mlp_rivals{suffix}"] = ratio(bare, engine.step, repeats=2)
        engine.close()
    return rows
