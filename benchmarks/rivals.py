"""The work that other simulators were measured on: 100 nodes, 600 images each, an MLP of 101 770 params, plain mean.

Against a bare torch loop on the same work (degree 4, batch 32, one epoch a round).
"""

from __future__ import annotations

from aggregation.rules import build_rule
from benchmarks.loop import Loop
from benchmarks.network import network
from benchmarks.simulation import kinds
from benchmarks.timing import ratio
from simulator.fast.engine import FastEngine, Options
from simulator.fast.workers import Workers


def run(nodes: int = 100, samples: int = 600) -> dict[str, float]:
    """Rows `mlp_rivals` (torch alone) and `mlp_rivals_fast` (numba): times faster than the bare loop."""
    setup = network("mlp", nodes, samples, degree=4)
    loop, alone = Loop(setup), Workers(1)

    def bare() -> None:
        with alone.single_threaded():
            loop.train()
            loop.mean()

    rows = {}
    for suffix, compiled in kinds():
        engine = FastEngine(setup, build_rule("mean"), Options(compiled=compiled))
        rows[f"mlp_rivals{suffix}"] = ratio(bare, engine.step, repeats=2)
        engine.close()
    return rows
