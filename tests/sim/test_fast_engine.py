"""The array engine as a whole: same bits for any number of threads, bounded memory, phases that add up."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aggregation.kernels import rows as kernels
from aggregation.registry import build_rule
from node.learning.optimizers import Sgd
from node.learning.task import Task
from simulator.fast.engine import FastEngine, Options, run
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare

USE = [False, True] if kernels.available() else [False]


@cache
def small(**changes: object) -> Setup:
    return prepare(Scenario.demo(**{"nodes": 12, "rounds": 4, "evaluate_samples": 60, "evaluate_every": 2} | changes))


def assert_same_bits(setup: Setup, rule: str, use: bool | None = None) -> None:
    ends = []
    for threads in (1, 2, 3):
        engine = FastEngine(setup, build_rule(rule), Options(threads=threads, compiled=use))
        for _ in range(3):
            engine.step()
        ends.append(engine.params)
        engine.close()
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("use", USE)
@pytest.mark.parametrize("rule", ["sybilwall", "median", "hedgerow", "sybilwall-bristle"])
def test_any_number_of_threads_gives_the_same_bits(rule: str, use: bool) -> None:
    assert_same_bits(small(), rule, use)


def test_kernels_just_compiled_and_kernels_found_on_disk_give_the_same_bits(tmp_path: Path) -> None:
    if not kernels.available():
        return
    code = """
from hashlib import sha256

from aggregation.kernels import compiled, compiled_pairs
from aggregation.registry import build_rule
from simulator.fast import kernels
from simulator.fast.engine import FastEngine, Options
from simulator.study.scenario import Scenario
from simulator.study.setup import prepare

setup = prepare(Scenario.demo(nodes=6, rounds=2, evaluate_samples=10))
engine = FastEngine(setup, build_rule("sybilwall"), Options(threads=1, training="compiled"))
for _ in range(2):
    engine.step()
engine.close()
print(sha256(engine.params.numpy().tobytes()).hexdigest())
used = (kernels.train, compiled._weighted_sum, compiled._squared_norms, compiled_pairs._known_distances,
        compiled_pairs._cosine_gaps, compiled_pairs._similarity_weights)
print(*(sum(each.stats.cache_misses.values()) > 0 for each in used))
print(*(sum(each.stats.cache_hits.values()) > 0 for each in used))
"""
    place = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    first, second = (
        subprocess.run(command, env=place, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
        for _ in range(2)
    )
    every, none = " ".join(["True"] * 6), " ".join(["False"] * 6)
    assert (first[1:], second[1:]) == ([every, none], [none, every])  # compiled, found on disk
    assert first[0] == second[0]


def test_layers_that_draw_give_the_same_bits_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(480, 20)).astype(np.float32), rng.integers(0, 3, 480)

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(20, 64), nn.Dropout(0.5), nn.Tanh(), nn.Linear(64, 3))

    task = Task(model, data, data, optimizer=Sgd(0.1), batch_size=8)
    assert_same_bits(prepare(Scenario.demo(nodes=12, rounds=3), task), "mean")


def test_torch_keeps_its_threads_after_a_round() -> None:
    before = torch.get_num_threads()
    engine = FastEngine(small(), build_rule("mean"))
    engine.step()
    assert torch.get_num_threads() == before
    engine.close()


def test_records_measure_every_second_round_and_the_last() -> None:
    records = list(run(small(), build_rule("sybilwall"), name="sybilwall(x=1)"))
    assert [record.accuracy is not None for record in records] == [False, True, False, True]
    assert [record.round for record in records] == [0, 1, 2, 3]
    assert {record.rule for record in records} == {"sybilwall(x=1)"}
    assert all((record.bytes > 0).all() for record in records)
    assert records[-1].edges is not None
    assert len(records[-1].edges.weights) == sum(len(beside) for beside in small().neighbours[:12])


def test_a_run_starts_from_the_setup_and_leaves_it_alone() -> None:
    setup = small()
    before = setup.initial.clone()
    first = [record.influence for record in run(setup, build_rule("sybilwall"))]
    assert torch.equal(setup.initial, before)
    assert [record.influence for record in run(setup, build_rule("sybilwall"))] == first


def test_phases_are_named_and_counted_once() -> None:
    engine = FastEngine(small(), build_rule("sybilwall"), Options(threads=1))
    for _ in range(2):
        engine.step()
    rows = engine.profile.table()
    assert {"train", "gram", "weights", "mix", "relay", "evaluate"} <= {name for name, _, _ in rows}
    assert sum(share for _, _, share in rows) == pytest.approx(1.0)
    engine.close()


def test_one_line_says_which_path_was_taken_and_why() -> None:
    engine = FastEngine(small(), build_rule("mean"), Options(compiled=False))
    line = engine.describe()
    assert "\n" not in line
    assert "fused" in line
    assert "12 nodes" in line
    engine.close()


def test_rows_nobody_knows_any_more_are_freed_at_once_not_only_at_their_age() -> None:
    setup = small(authors=2, rounds=8)
    engine = FastEngine(setup, build_rule("sybilwall"))
    for _ in range(8):
        engine.step()
        _, _, direct, relayed = engine.snapshot()
        named = torch.unique(torch.cat([direct.flatten(), relayed.flatten()]))
        assert engine.live <= 1 + int((named >= 0).sum())
    ever = 8 * (setup.honest + setup.sybils)  # none of them is as old as 16 rounds
    assert engine.live < ever / 2
    engine.close()
    plain = FastEngine(small(), build_rule("mean"))
    plain.step()
    assert plain.live == 1
    plain.close()


def test_nodes_without_neighbours_train_on_alone() -> None:
    setup = prepare(
        Scenario.of({"nodes": 1, "rounds": 2, "attack": "none", "topology": "complete", "evaluate_samples": 40})
    )
    records = list(run(setup, build_rule("sybilwall")))
    assert len(records) == 2
    assert np.isnan(records[0].influence.honest)
