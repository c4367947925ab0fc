"""The world against the bare training loop: node-rounds a second, and the share of the time that is not training."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import torch

from aggregation.registry import build_rule
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare
from simulator.world import engine as world

ROUNDS = 3
NODES = 24


def run() -> dict[str, float]:
    """Rows `world/<model>/<rule>`: node-rounds a second; `.../ratio`: seconds relative to training alone."""
    return dict(_rows())


def _rows() -> Iterator[tuple[str, float]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for model in ("softmax", "lenet"):
            scenario = Scenario.of(
                {"task": "fashion-mnist", "model": model, "nodes": NODES, "rounds": ROUNDS, "epochs": 1}
                | {"partition": {"name": "iid", "per_class": 30}, "engine": "world", "sybils": 4, "held_out": 0.0}
                | {"evaluate_every": ROUNDS, "evaluate_samples": 100}
            )
            setup = prepare(scenario)
            bare = _bare(setup)
            for rule in ("mean", "sybilwall"):
                seconds = sum(record.seconds for record in world.run(setup, build_rule(rule))) / ROUNDS
                yield f"world/{model}/{rule}", NODES / seconds
                yield f"world/{model}/{rule}/ratio", seconds / bare
    finally:
        torch.set_num_threads(threads)


def _bare(setup: Setup) -> float:
    """Seconds of one round's training of everybody, the adversary included."""
    began = perf_counter()
    for vertex, shard in enumerate(setup.shards):
        address = int(setup.addresses[min(vertex, setup.honest - 1)])
        setup.learner.train(setup.initial[vertex], setup.data, shard.train, setup.seed, address, 0)
    return perf_counter() - began
