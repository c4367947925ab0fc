"""How near each phase comes to what the machine can do: GFLOP/s and GB/s beside measured ceilings."""

from __future__ import annotations

import torch

from aggregation.rules import build_rule
from benchmarks.network import network
from benchmarks.timing import best
from simulator.fast.engine import FastEngine

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
    setup = network("softmax", NODES, SAMPLES, degree=DEGREE)
    engine = FastEngine(setup, build_rule("sybilwall"))
    for _ in range(12):
        engine.step()
    engine.profile.seconds.clear()
    engine.profile.rounds = 0
    for _ in range(rounds):
        engine.step()
    spent = {name: each for name, each, _ in engine.profile.table()}
    engine.close()
    size = setup.learner.dimension
    flops = 4 * NODES * SAMPLES * size  # forward, and the gradient of one layer
    # new to a node: its neighbours' models and what was relayed since; three operations an element
    new, known = DEGREE + NEW, DEGREE + RELAYED
    pairs = NODES * (new * known - new * (new + 1) // 2)
    return {
        "roofline_gemm_gflops": gemm,
        "roofline_copy_gbs": copy,
        "roofline_train_gflops": flops / spent["train"] / 1e9,
        "roofline_gram_gflops": 3 * pairs * size / spent["gram"] / 1e9,
        "roofline_mix_gbs": 4 * NODES * size * (DEGREE + 2) / spent["mix"] / 1e9,
    }
