"""How near each phase comes to what the machine can do: GFLOP/s and GB/s beside measured ceilings.

Rows without a suffix are torch alone, `_fast` with numba. `roofline` is one number for the whole round: the seconds
that its training, pairs and mixing take at the ceilings, over those that it takes.
"""

from __future__ import annotations

import torch

from aggregation.registry import build_rule
from benchmarks.network import network
from benchmarks.simulation import kinds
from benchmarks.timing import best
from simulator.fast.engine import FastEngine, Options
from simulator.study.setup import Setup

NODES, SAMPLES, DEGREE, RELAYED, NEW = 1_000, 64, 8, 24, 6


def ceilings() -> tuple[float, float]:
    """GFLOP/s of a large float32 product, GB/s of a large copy (read and written)."""
    a, b = torch.randn(1024, 8192), torch.randn(8192, 1024)
    product = torch.empty(1024, 1024)
    gemm = 2 * 1024 * 1024 * 8192 / best(lambda: torch.mm(a, b, out=product), 5) / 1e9
    source, target = torch.ones(1 << 26), torch.empty(1 << 26)
    copy = 2 * source.nbytes / best(lambda: target.copy_(source), 5) / 1e9
    return gemm, copy


def run(rounds: int = 5) -> dict[str, float]:
    """Ceilings; GFLOP/s of training and of pair distances, GB/s of mixing, in a round of SybilWall (softmax)."""
    gemm, copy = ceilings()
    rows = {"roofline_gemm_gflops": gemm, "roofline_copy_gbs": copy}
    setup = network("softmax", NODES, SAMPLES, degree=DEGREE)
    for suffix, compiled in kinds():
        train, gram, mix, least = _reached(setup, compiled, rounds, gemm, copy)
        rows[f"roofline_train_gflops{suffix}"] = train
        rows[f"roofline_gram_gflops{suffix}"] = gram
        rows[f"roofline_mix_gbs{suffix}"] = mix
        rows[f"roofline{suffix}"] = least
    return rows


def _reached(setup: Setup, compiled: bool, rounds: int, gemm: float, copy: float) -> tuple[float, float, float, float]:
    # GFLOP/s of training and pairs, GB/s of mixing, share of the round that the ceilings would take
    engine = FastEngine(setup, build_rule("sybilwall"), Options(compiled=compiled))
    for _ in range(12):
        engine.step()
    engine.profile.seconds.clear()
    engine.profile.rounds = 0
    spent = 0.0
    for _ in range(rounds):
        spent += engine.step().seconds / rounds
    phases = {name: each for name, each, _ in engine.profile.table()}
    engine.close()
    size = setup.learner.dimension
    train = 4 * NODES * SAMPLES * size / 1e9  # forward, and the gradient of one layer
    # new to a node: its neighbours' models and what was relayed since; three operations an element
    new, known = DEGREE + NEW, DEGREE + RELAYED
    gram = 3 * NODES * (new * known - new * (new + 1) // 2) * size / 1e9
    mix = 4 * NODES * size * (DEGREE + 2) / 1e9
    least = (train + gram) / gemm + mix / copy
    return train / phases["train"], gram / phases["gram"], mix / phases["mix"], least / spent
