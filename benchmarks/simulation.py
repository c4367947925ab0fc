"""The array engine against loops over nodes: how many times faster, whole rounds and their parts.

Rows without a suffix are torch alone; `_fast` rows are with numba, when it is installed.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from aggregation import kernels
from aggregation.evidence import Evidence, Rule, Table
from aggregation.rules import build_rule
from benchmarks.loop import Loop, sybilwall
from benchmarks.network import network
from benchmarks.timing import best, ratio, seconds
from simulator.fast.choose import choose_trainer
from simulator.fast.engine import FastEngine, Options
from simulator.fast.trainer import Job
from simulator.fast.workers import Workers
from simulator.setup import Setup

ROUNDS = 10  # measured rounds: one of them with an evaluation


def kinds() -> list[tuple[str, bool]]:
    """Suffix and whether numba is used: torch alone, and with numba when it is there."""
    return [("", False), ("_fast", True)] if kernels.available() else [("", False)]


def run() -> dict[str, float]:
    """All rows: times faster."""
    rows: dict[str, float] = {}
    for name in ("softmax", "mlp"):
        rows |= whole_round(f"{name}_round", name)
    rows |= training("softmax", 1_000, "softmax_training", loader=True)
    rows |= training("mlp", 200, "mlp_training", loader=False)
    rows |= training("lenet", 100, "lenet_training", loader=False)
    rows |= median()
    rows |= sybilwall_weights()
    rows |= scale()
    return rows


def whole_round(row: str, model: str, nodes: int = 1_000) -> dict[str, float]:
    """A round of SybilWall with relays and 32 known histories, evaluated every ten rounds, against the loop."""
    setup = network(model, nodes, 64)
    loop_seconds, rows = 0.0, {}
    for suffix, compiled in kinds():
        engine = FastEngine(setup, build_rule("sybilwall"), Options(compiled=compiled))
        while (engine.known() < 31 and engine.round < 30) or engine.round % ROUNDS:
            engine.step()
        if not loop_seconds:
            loop_seconds = _loop_round(setup, engine)
        spent = min(seconds(partial(_rounds, engine)) for _ in range(2)) / ROUNDS
        rows[row + suffix] = loop_seconds / spent
        engine.close()
    return rows


def _rounds(engine: FastEngine) -> None:
    for _ in range(ROUNDS):
        engine.step()


def _loop_round(setup: Setup, engine: FastEngine) -> float:
    loop = Loop(setup, engine.params)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # products this small gain nothing from more, and lose much on a busy machine
    values, own, direct, relayed = engine.snapshot()
    authors = torch.cat([torch.stack(loop.beside), relayed.clamp(min=0) % setup.honest], dim=1)
    distances = torch.ones_like(authors)
    began = perf_counter()
    loop.train()
    loop.sybilwall(values, own, direct, relayed)
    loop.relay(0, authors, distances)
    spent = perf_counter() - began + seconds(loop.evaluate) / ROUNDS
    torch.set_num_threads(before)
    return spent


def training(model: str, nodes: int, row: str, *, loader: bool, samples: int = 64) -> dict[str, float]:
    """Local training of all nodes, one epoch, against the loop (with `loader`: nn.Module, optimizer, DataLoader)."""
    setup = network(model, nodes, samples)
    loop = Loop(setup)
    rows = {}
    with Workers() as workers, workers.single_threaded():
        job = _job(setup, workers)
        for suffix, compiled in kinds() if model != "lenet" else kinds()[:1]:
            trainer = choose_trainer(job, setup.initial, compiled=compiled)
            out, names = torch.empty_like(loop.params), torch.arange(nodes)
            rows[row + suffix] = ratio(
                loop.train_with_loader if loader else loop.train,
                partial(trainer.train, loop.params, out, names, 0),
                repeats=2,
            )
    return rows


def _job(setup: Setup, workers: Workers) -> Job:
    honest = setup.honest
    return Job(
        setup.learner,
        setup.data,
        tuple(shard.train for shard in setup.shards[:honest]),
        setup.addresses[:honest],
        setup.seed,
        workers,
    )


def median(nodes: int = 1_000, size: int = 9, dimension: int = 61_706) -> dict[str, float]:
    """Coordinate-wise median of nine rows at every node against torch.median, a node at a time."""
    values, index = torch.randn(nodes, dimension), _index(nodes, size, nodes)
    out = torch.empty(nodes, dimension)

    def obvious() -> None:
        for node in range(nodes // 10):
            out[node] = values[index[node]].median(dim=0).values

    rows = {}
    with Workers() as workers:
        for suffix, compiled in kinds():

            def ours(compiled: bool = compiled) -> None:
                def work(lo: int, hi: int) -> None:
                    with kernels.compiled(compiled):
                        out[lo:hi] = kernels.median(values, index[lo:hi])

                with workers.single_threaded():
                    workers.over(nodes, work)

            rows["median" + suffix] = 10 * ratio(obvious, ours, repeats=2)
    return rows


def sybilwall_weights(nodes: int = 1_000, known: int = 100, dimension: int = 61_706) -> dict[str, float]:
    """Weights of SybilWall at every node, of 8 neighbours among `known` histories, against a loop of exact cosines."""
    values = torch.randn(nodes, dimension) + 2 * torch.randn(dimension)
    index = _index(nodes, 8 + known, nodes)
    rule = build_rule("sybilwall")

    def obvious() -> None:
        for node in range(nodes // 50):
            sybilwall(values[index[node]], 8)

    return {"sybilwall_weights": 50 * ratio(obvious, lambda: _weigh(rule, values, index), repeats=2)}


def _weigh(rule: Rule, values: Tensor, index: Tensor) -> None:
    table = Table(values)
    own = torch.arange(len(index))
    for lo in range(0, len(index), 64):
        part = index[lo : lo + 64]
        rule.weighting(Evidence(table, own[lo : lo + 64], part[:, :8], part[:, 8:]))


def scale() -> dict[str, float]:
    """Seconds a node and round at 10 000 nodes over those at 1 000 (1 = the same; less is better)."""
    each = {}
    for nodes in (1_000, 10_000):
        setup = network("softmax", nodes, 64)
        engine = FastEngine(setup, build_rule("sybilwall"))
        engine.step()
        each[nodes] = best(engine.step, 2) / nodes
        engine.close()
    return {"scale_10000": each[10_000] / each[1_000]}


def _index(nodes: int, size: int, rows: int) -> Tensor:
    draw = np.random.default_rng(3)
    return torch.from_numpy(np.stack([draw.permutation(rows)[:size] for _ in range(nodes)]))
