"""The world: what it runs is what the rules say, the same every time, whatever breaks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch

from aggregation.evidence import Verdict
from aggregation.registry import build_rule
from simulator.adversary import Adversary
from simulator.attacks.attack import Stage
from simulator.attacks.registry import ATTACKS
from simulator.study.records import RoundRecord, Trace
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare
from simulator.world import engine as world

SMALL: dict[str, object] = {
    "engine": "world",
    "nodes": 8,
    "rounds": 5,
    "rules": ["mean"],
    "topology": {"name": "regular", "degree": 3},
    "sybils": 2,
    "sybil_degree": 4,
    "evaluate_samples": 200,
}


@cache
def task() -> object:
    return prepare(Scenario()).task


def setup_of(**changes: object) -> Setup:
    return prepare(Scenario.of(SMALL | changes), task())  # type: ignore[arg-type]


def play(rule: str = "mean", **changes: object) -> tuple[Setup, list[RoundRecord], list[Trace]]:
    setup, traces = setup_of(**changes), list[Trace]()
    return setup, list(world.run(setup, build_rule(rule), traces.append)), traces


def fingerprint(records: list[RoundRecord], traces: list[Trace]) -> str:
    whole = hashlib.sha256()
    for record, trace in zip(records, traces, strict=True):
        for tensor in (trace.start, trace.trained, trace.sent, trace.integrated):
            whole.update(tensor.numpy().tobytes())
        edges = trace.edges
        for array in (record.accuracy, record.success, record.bytes, edges.senders, edges.weights, edges.verdicts):
            whole.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def test_each_round_is_training_then_the_mean_of_what_was_sent() -> None:
    setup, records, traces = play()
    assert [record.round for record in records] == list(range(5))
    start = setup.initial[: setup.honest]
    for trace in traces:
        assert torch.equal(trace.start, start)
        everybody = torch.cat([trace.trained, trace.sent])
        for node in range(setup.honest):
            heard = [node, *setup.neighbours[node]]
            assert torch.allclose(trace.integrated[node], everybody[heard].mean(dim=0), atol=1e-6)
        assert bool((trace.edges.verdicts == Verdict.TAKEN).all())
        assert len(trace.edges.weights) == sum(len(beside) for beside in setup.neighbours[: setup.honest])
        start = trace.integrated
    assert all((record.bytes > 0).all() for record in records)


def test_sybils_send_what_the_adversary_makes_of_this_rounds_honest_models() -> None:
    setup, _, traces = play("sybilwall", attack="label-flip+orthogonal-noise")
    adversary = Adversary(setup, build_rule("sybilwall"))
    for trace in traces:
        assert torch.allclose(trace.sent, adversary.act(trace.round, trace.trained), atol=1e-4)


def test_it_learns_and_the_attack_is_seen() -> None:
    _, records, _ = play("mean", rounds=12, attack="none")
    assert records[-1].accuracy is not None
    assert records[0].accuracy is not None
    assert records[-1].accuracy.mean() > 0.7 > records[0].accuracy.mean()
    _, attacked, _ = play("mean", rounds=12, sybils=8)
    assert attacked[-1].success is not None
    assert attacked[-1].success.mean() > 0.6


WEATHER: dict[str, object] = {"loss": 0.05, "jitter": 0.1, "bandwidth": 200_000.0, "deadline": 2.0}


@pytest.mark.parametrize("changes", [{}, WEATHER], ids=["calm", "storm"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(changes: dict[str, object]) -> None:
    first, second = play("sybilwall", **changes), play("sybilwall", **changes)
    assert fingerprint(*first[1:]) == fingerprint(*second[1:])
    other = play("sybilwall", seeds=[2], **changes)
    assert fingerprint(*other[1:]) != fingerprint(*first[1:])


def test_another_process_with_other_hashes_gives_the_same_run() -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests/sim'); import test_world as t;"
        "print(t.fingerprint(*t.play('sybilwall', rounds=3, **t.WEATHER)[1:]))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": str(number)},
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for number in (1, 2)
    }
    assert len(answers) == 1
    assert len(answers.pop().strip()) == 64


def test_lost_frames_cost_weight_and_not_the_round() -> None:
    _, records, traces = play(loss=0.05, deadline=2.0, rounds=8, attack="none")
    verdicts = np.concatenate([trace.edges.verdicts for trace in traces])
    assert 0.01 < np.mean(verdicts == Verdict.ABSENT) < 0.7
    assert [record.round for record in records] == list(range(8))
    assert records[-1].accuracy is not None
    assert records[-1].accuracy.mean() > 0.4


def across(setup: Setup, trace: Trace) -> float:
    """Share of links between the two halves over which a model was taken."""
    half = setup.honest // 2
    over = (trace.edges.receivers < half) != (trace.edges.senders < half)
    return float(np.mean(trace.edges.verdicts[over] == Verdict.TAKEN)) if over.any() else float("nan")


def test_a_cut_separates_and_heals() -> None:
    setup, _, traces = play(cuts=[{"start": 2, "stop": 6}], rounds=16, topology="complete", attack="none", deadline=2.0)
    assert [across(setup, traces[round]) for round in (0, 1)] == [1.0, 1.0]
    assert [across(setup, traces[round]) for round in (3, 4, 5)] == [0.0, 0.0, 0.0]
    assert across(setup, traces[9]) > 0.8  # some are out of step, and trust rises slowly
    assert across(setup, traces[15]) == 1.0


def test_a_long_cut_ends_connections_which_are_dialled_again() -> None:
    setup, _, traces = play(
        nodes=4,
        cuts=[{"start": 2, "stop": 40}],
        rounds=80,
        evaluate_every=80,
        topology="complete",
        attack="none",
        deadline=2.0,
    )
    spread = [float((trace.integrated - trace.integrated.mean(dim=0)).norm(dim=1).max()) for trace in traces]
    over = across(setup, traces[38])
    assert np.isnan(over)  # no connection crosses any more
    assert across(setup, traces[79]) > 0.9
    assert spread[79] < 0.5 * spread[38]


def test_a_node_that_crashes_costs_its_weight_and_catches_up_when_it_is_back() -> None:
    setup, records, traces = play(crashes=[{"nodes": [3], "round": 2, "back": 5}], rounds=12, deadline=2.0)
    assert [record.round for record in records] == list(range(12))
    assert torch.equal(traces[3].integrated[3], traces[1].integrated[3])
    assert not (traces[4].edges.receivers == 3).any()
    last = traces[11].edges
    assert (last.receivers == 3).any()
    heard = last.verdicts[(last.senders == 3) & (last.receivers < setup.honest)]
    assert (heard == Verdict.TAKEN).all()
    assert not torch.equal(traces[11].integrated[3], traces[1].integrated[3])


def test_a_node_that_never_comes_back_is_not_waited_for() -> None:
    _, records, traces = play(crashes=[{"nodes": [0, 1], "round": 1}], rounds=6, deadline=2.0)
    assert len(records) == 6
    assert not set(traces[5].edges.receivers) & {0, 1}


def test_a_late_joiner_takes_part() -> None:
    _, _, traces = play(crashes=[{"nodes": [5], "round": 0, "back": 4}], rounds=10, deadline=2.0)
    assert not (traces[2].edges.receivers == 5).any()
    assert (traces[9].edges.receivers == 5).any()


FAULTS = sorted(name for name, spec in ATTACKS.items() if spec.stage is Stage.WIRE and name != "silent")


@cache
def silent() -> list[Trace]:
    return play("mean", attack="silent", deadline=2.0)[2]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_breaks_the_wire_changes_nothing_in_honest_models(fault: str) -> None:
    _, _, traces = play("mean", attack=f"silent+{fault}", deadline=2.0)
    for broken, calm in zip(traces, silent(), strict=True):
        assert torch.equal(broken.integrated, calm.integrated)
        assert bool(torch.isfinite(broken.integrated).all())


def test_a_single_node_and_a_lonely_pair_run() -> None:
    _, alone, _ = play(nodes=1, topology="ring", attack="none", rounds=2)
    assert len(alone) == 2
    _, two, traces = play(nodes=2, topology="ring", attack="none", rounds=2)
    assert len(two) == 2
    assert torch.allclose(traces[1].integrated[0], traces[1].integrated[1], atol=1e-6)


def test_leaving_a_run_early_leaves_nothing_behind() -> None:
    records = world.run(setup_of(), build_rule("mean"))
    assert next(records).round == 0
    records.close()  # type: ignore[attr-defined]
