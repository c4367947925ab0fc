"""The array engine against loops over nodes: how many times faster, whole rounds and aggregation.

Training is in `rivals`, growth with the number of nodes in `slope`, memory in `memory`.

Rows without a suffix are torch alone; `_fast` rows are with numba, when it is installed.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from aggregation.evidence import Evidence, Rule, Table
from aggregation.kernels import rows as kernels
from aggregation.registry import build_rule
from benchmarks.loop import Loop, sybilwall
from benchmarks.network import network
from benchmarks.timing import ratio, seconds
from simulator.fast.engine import FastEngine, Options
from simulator.fast.pairs import PairGeometry, Surveyed
from simulator.fast.profile import Profile
from simulator.fast.rows import Rows
from simulator.fast.survey import survey
from simulator.fast.workers import Workers
from simulator.study.setup import Setup

ROUNDS = 10  # rounds from one evaluation to the next; after so many a node knows as many histories as it ever will
MEASURED = 4


def kinds() -> list[tuple[str, bool]]:
    """Suffix and whether numba is used: torch alone, and with numba when it is there."""
    return [("", False), ("_fast", True)] if kernels.available() else [("", False)]


def run() -> dict[str, float]:
    """All rows: times faster."""
    rows: dict[str, float] = {}
    for name in ("softmax", "mlp"):
        rows |= whole_round(f"{name}_round", name)
    rows |= median()
    rows |= sybilwall_weights()
    return rows


def whole_round(row: str, model: str, nodes: int = 1_000) -> dict[str, float]:
    """A round of SybilWall with relays and 8 + 24 known histories, evaluated every ten rounds, against the loop."""
    setup = network(model, nodes, 64)
    loop_seconds, rows = 0.0, {}
    for suffix, compiled in kinds():
        engine = FastEngine(setup, build_rule("sybilwall"), Options(compiled=compiled))
        spent = settled_round(engine)
        if not loop_seconds:
            loop_seconds = _loop_round(setup, engine)
        rows[row + suffix] = loop_seconds / spent
        engine.close()
    return rows


def settled_round(engine: FastEngine) -> float:
    """Seconds of a round of a new engine once nodes know what they ever will, a tenth of an evaluation included."""
    while engine.round < ROUNDS:
        engine.step()
    evaluation = engine.profile.seconds["evaluate"] / ROUNDS
    return min(seconds(partial(_rounds, engine)) for _ in range(2)) / MEASURED + evaluation


def _rounds(engine: FastEngine) -> None:
    for _ in range(MEASURED):  # none of them with an evaluation
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
                        kernels.median(values, index[lo:hi], out[lo:hi])

                with workers.single_threaded():
                    workers.over(nodes, work, most=512)

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

    table = Rows(dimension, nodes)
    names = table.take(np.arange(nodes, dtype=np.int32), 0)
    table.values[torch.from_numpy(names)] = values
    found = {}
    with Workers() as workers:
        table.settle(names, workers)
        for suffix, compiled in kinds():

            def ours(compiled: bool = compiled) -> None:
                with workers.single_threaded():
                    _weigh(rule, table, index, workers, compiled)

            found["sybilwall_weights" + suffix] = 50 * ratio(obvious, ours, repeats=2)
    return found


def _weigh(rule: Rule, rows: Rows, index: Tensor, workers: Workers, compiled: bool) -> None:
    finite, profile = rows.finite, Profile(workers.threads)
    nothing = index.new_zeros(len(index))
    found = survey(rows, index, lambda: nothing, workers, compiled)
    with kernels.compiled(compiled):
        surveyed = None if found is None else Surveyed(found, rows, finite, profile)

    def work(lo: int, hi: int) -> None:
        part, nodes = index[lo:hi], torch.arange(lo, hi)
        geometry = PairGeometry(rows, finite, nodes, part[:, 8:], None, profile, surveyed)
        with kernels.compiled(compiled):
            rule.weighting(Evidence(Table(rows.values, geometry), nodes, part[:, :8], part[:, 8:]))

    workers.over(len(index), work, most=20)


def _index(nodes: int, size: int, rows: int) -> Tensor:
    draw = np.random.default_rng(3)
    return torch.from_numpy(np.stack([draw.permutation(rows)[:size] for _ in range(nodes)]))
