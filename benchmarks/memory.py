"""What a node costs in memory: growth of a fresh process, everything counted but the data set.

- `memory_softmax_d`, `memory_lenet_d`: bytes a node over the number of parameters (20 = five models): 10 000 softmax
  nodes and 1 000 LeNet nodes, degree 8, relayed records living three rounds.
- `memory_10000_gb`: the most that the whole process of the 10 000 softmax nodes ever had, data set included.
- `memory_100_known`, `memory_100_gb`: 1 000 LeNet nodes of degree 32, records living five rounds, which takes nine
  rounds to settle: histories that the node with the fewest knows, and the most that the whole process ever had.

`python -m benchmarks.memory known` counts, without models, how many histories a settled node knows at which age.
Linux only; elsewhere there are no rows.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregation.registry import build_rule
from benchmarks.network import network
from simulator.fast.engine import FastEngine
from simulator.fast.histories import Histories
from simulator.fast.rows import Rows
from simulator.fast.workers import Workers

_STATUS, _MARKS = Path("/proc/self/statm"), Path("/proc/self/status")
_WARM = 40  # nodes of a network that goes before, so that libraries and compiled code are there
_LENET = 61_706


@dataclass(frozen=True, slots=True)
class Network:
    """What to weigh: model, nodes, samples a node, neighbours, rounds that relayed records live, rounds to play."""

    model: str
    nodes: int
    samples: int
    degree: int
    age: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Held:
    """What was found.

    Attributes:
        models: bytes a node over the number of parameters.
        peak: most bytes that the process ever had in memory, libraries and data set included.
        known: histories, direct and relayed, that the node with the fewest knows after the last round.
    """

    models: float
    peak: int
    known: int


def run() -> dict[str, float]:
    """All rows."""
    if not _STATUS.exists():
        return {}
    softmax = weigh(Network("softmax", 10_000, 64, degree=8, age=3, rounds=6))
    lenet = weigh(Network("lenet", 1_000, 32, degree=8, age=3, rounds=6))
    many = weigh(Network("lenet", 1_000, 4, degree=32, age=5, rounds=9))
    return {
        "memory_softmax_d": softmax.models,
        "memory_10000_gb": softmax.peak / 1e9,
        "memory_lenet_d": lenet.models,
        "memory_100_known": many.known,
        "memory_100_gb": many.peak / 1e9,
    }


def weigh(of: Network) -> Held:
    """Play a network in a process of its own: what others freed must not hide what this one takes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(_weighed, of).result()


def _weighed(of: Network) -> Held:
    _played(of, _WARM).close()
    before = _resident()
    engine = _played(of, of.nodes)
    held = _resident() - before - of.nodes * of.samples * (28 * 28 + 8)
    _, own, direct, relayed = engine.snapshot()
    known = int(((direct >= 0).sum(dim=1) + (relayed >= 0).sum(dim=1)).min())
    engine.close()
    return Held(held / len(own) / engine.params.shape[1], _peak(), known)


def _played(of: Network, nodes: int) -> FastEngine:
    engine = FastEngine(network(of.model, nodes, of.samples, degree=of.degree, age=of.age), build_rule("sybilwall"))
    while engine.round < of.rounds:
        engine.step()
    return engine


def _peak() -> int:
    # getrusage would not do: its peak goes through exec, so that a child of a large process begins with the parent's
    mark = next(line for line in _MARKS.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(mark.split()[1])


def _resident() -> int:
    # bytes of this process in memory; what the C library keeps free for later is given back first
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(_STATUS.read_text().split()[1]) * resource.getpagesize()


def known(degree: int, age: int, nodes: int = 1_000) -> tuple[NDArray[np.int64], float]:
    """Play histories alone until they are settled: rows hold one number instead of a model.

    Returns:
        Histories, direct and relayed, that each node knows in the last round, and the most rows a node that ever were
        in use at a time.
    """
    setup = network("softmax", nodes, 1, degree=degree, age=age)
    rows, beside = Rows(1, nodes * (age + 2)), np.array(setup.neighbours)
    held, most = np.zeros((nodes, 0), dtype=np.int64), 0
    with Workers() as workers:
        histories = Histories(
            setup.neighbours,
            nodes,
            setup.addresses,
            setup.order,
            setup.seed,
            setup.scenario.authors,
            age,
            workers,
        )
        for round in range(2 * age + 30):
            taken = rows.take(np.arange(nodes, dtype=np.int32), round)
            most = max(most, rows.live)
            histories.settle(rows, round)
            held = histories.rows
            histories.relay(rows, taken[beside], round)
            histories.expire(rows, round + 1)
            rows.keep(histories.live())
    return degree + (held >= 0).sum(axis=1), most / nodes


def _table() -> None:
    print("| degree | age | known: mean | fewest | models a node | LeNet, GB |\n|---|---|---|---|---|---|")
    for degree in (8, 16, 20, 24, 32):
        for age in (3, 4, 5, 6, 7, 8, 10, 12, 16):
            found, rows = known(degree, age)
            models = rows + 1  # and the one that it trains from
            size = 1_000 * models * 4 * _LENET / 1e9
            print(f"| {degree} | {age} | {found.mean():.0f} | {found.min()} | {models:.1f} | {size:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["known"]:
        _table()
    else:
        for row, number in run().items():
            print(f"{row:32} {number:.4g}")
