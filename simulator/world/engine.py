"""Runs a scenario as a world of services, round by round; one scenario, rule and seed give the same records, bit for
bit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np
import torch

from aggregation.evidence import Rule
from simulator.study.metrics import Evaluator
from simulator.study.records import Observer, RoundRecord, influence
from simulator.study.setup import Setup
from simulator.world.clock import VirtualLoop
from simulator.world.world import World


def run(
    setup: Setup, rule: Rule, observer: Observer | None = None, *, name: str | None = None
) -> Iterator[RoundRecord]:
    """Run all rounds of a scenario under one rule.

    Args:
        setup: of this run.
        rule: what honest nodes believe.
        observer: is shown all models of each round.
        name: of the rule in the records; absent = the rule's own.

    Yields:
        One record a round, in order.
    """
    scenario = setup.scenario
    evaluator = Evaluator(setup)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        world = World(setup, rule)
        try:
            runner.run(world.start())
            for round in range(scenario.rounds):
                began = perf_counter()
                with _one_thread(), _quiet():
                    trace, sent = runner.run(world.play(round))
                seconds = perf_counter() - began
                if observer is not None:
                    observer(trace)
                measured = (round + 1) % scenario.evaluate_every == 0 or round == scenario.rounds - 1
                accuracy, success = evaluator.measure(trace.integrated, trace.buffers) if measured else (None, None)
                yield RoundRecord(
                    rule=name or rule.name,
                    seed=setup.seed,
                    round=round,
                    accuracy=None if accuracy is None else accuracy.numpy().astype(np.float64),
                    success=None if success is None else success.numpy().astype(np.float64),
                    influence=influence(trace.edges, setup.honest),
                    bytes=sent,
                    seconds=seconds,
                    edges=trace.edges if measured else None,
                    diverged=trace.diverged,
                )
        finally:
            runner.run(world.close())


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of single nodes: the records say who diverged."""
    log = logging.getLogger("hedgerow.node")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@contextmanager
def _one_thread() -> Iterator[None]:
    """One intra-op thread: each node's tensors are small, and barriers between threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
