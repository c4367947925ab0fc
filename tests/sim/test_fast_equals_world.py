"""The array engine and the world, round by round from identical inputs: the same models, weights and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from torch import nn

from aggregation.kernels import rows as kernels
from aggregation.registry import RULES, build_rule
from node.learning.models import lenet, mlp
from node.learning.optimizers import Sgd
from node.learning.task import Task
from simulator.attacks.registry import ATTACKS
from simulator.conformance import engines_agree
from simulator.fast.engine import FastEngine
from simulator.study.records import Trace
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare
from simulator.world import engine as world

SMALL: Mapping[str, object] = {
    "nodes": 6,
    "rounds": 3,
    "topology": {"name": "regular", "degree": 3},
    "sybils": 2,
    "sybil_degree": 3,
    "evaluate_samples": 50,
    "steps": 3,
}
BEFORE_THE_WIRE = tuple(name for name, spec in ATTACKS.items() if spec.stage != "wire" and name != "none")
COPIES = ("framing", "copycat", "mimic", "clones", "scaled-clones")
DECIDING = ("mean", "sybilwall", "krum", "hedgerow")


@cache
def digits() -> Task:
    return prepare(Scenario()).task


@cache
def images(model: str) -> Task:
    draw = np.random.default_rng(4)
    inputs = draw.integers(0, 256, size=(400, 1, 12, 12), dtype=np.uint8)
    labels = np.arange(400) % 10
    inputs[np.arange(400), 0, labels, labels] = 255  # something to learn
    build = {
        "mlp": lambda: mlp((1, 12, 12), 10, hidden=16),
        "lenet": lambda: lenet((1, 12, 12), 10),
        "normed": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 10)),
    }[model]
    return Task(build, (inputs, labels), (inputs[:80], labels[:80]), optimizer=Sgd(0.05, momentum=0.5), batch_size=16)


@cache
def setup_of(task: str, changes: tuple[tuple[str, object], ...]) -> Setup:
    scenario = Scenario.of({**SMALL, **dict(changes)})
    return prepare(scenario, digits() if task == "softmax" else images(task))


def check(rule: str, task: str = "softmax", compiled: bool | None = None, **changes: object) -> None:
    engines_agree(setup_of(task, tuple(changes.items())), build_rule(rule), compiled)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_decides_alike(rule: str) -> None:
    check(rule, attack="label-flip")


@pytest.mark.parametrize("rule", DECIDING)
def test_without_numba_too(rule: str) -> None:
    if kernels.available():
        check(rule, compiled=False, attack="label-flip")


@pytest.mark.parametrize("attack", BEFORE_THE_WIRE)
def test_every_attack_on_data_and_model_meets_the_same_answer(attack: str) -> None:
    check(DECIDING[BEFORE_THE_WIRE.index(attack) % len(DECIDING)], attack=attack)


@pytest.mark.parametrize("attack", COPIES)
def test_krum_among_copies_takes_the_same_one(attack: str) -> None:
    check("krum", attack=attack)


@pytest.mark.parametrize("rule", DECIDING)
@pytest.mark.parametrize("task", ["mlp", "lenet"])
def test_larger_models_too(task: str, rule: str) -> None:
    check(rule, task, attack="label-flip")


@pytest.mark.parametrize("rule", ["mean", "hedgerow", "bristle", "ubar"])
@pytest.mark.filterwarnings("ignore::node.learning.errors.TaskWarning")
def test_models_with_running_statistics_too(rule: str) -> None:
    check(rule, "normed", attack="label-flip")


@pytest.mark.parametrize("attack", ["none", "label-flip", "backdoor"])
@pytest.mark.filterwarnings("ignore::node.learning.errors.TaskWarning")
def test_models_are_measured_with_the_statistics_of_their_owners(attack: str) -> None:
    changes = () if attack == "none" else (("attack", attack),)
    setup, traces = setup_of("normed", (("evaluate_samples", None), *changes)), list[Trace]()
    told = list(world.run(setup, build_rule("mean"), traces.append))
    for trace, record in zip(traces, told, strict=True):
        assert trace.buffers is not None
        assert record.accuracy is not None
        for node, own in enumerate(trace.buffers):
            wanted = setup.learner.accuracy(trace.integrated[node], setup.task.test, own)
            assert record.accuracy[node] == pytest.approx(float(wanted))
    engine = FastEngine(setup, build_rule("mean"))
    for record in told:
        mine = engine.step()
        np.testing.assert_allclose(mine.accuracy, record.accuracy, atol=0.026)  # two samples of eighty
        np.testing.assert_allclose(mine.success, record.success, atol=0.15)
    engine.close()


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "classes", "shards"])
def test_every_partition_too(partition: str) -> None:
    check("sybilwall", attack="label-flip", partition=partition, initial="independent")


def test_a_small_memory_of_authors_is_trimmed_alike() -> None:
    check("sybilwall", attack="label-flip", nodes=12, authors=3, rounds=4)


@pytest.mark.parametrize("rule", DECIDING)
def test_strangers_get_their_turns_alike(rule: str) -> None:
    check(rule, attack="label-flip", strangers=1, enough=1, known=0.7, probation=2, rounds=6)


@pytest.mark.parametrize("origins", [None, 1])
def test_strangers_of_one_network_share_their_turns_alike(origins: int | None) -> None:
    crowd = {"sybils": 4, "placement": "all", "known": 0.5, "strangers": 1, "enough": 0, "origins": origins}
    check("hedgerow", attack="label-flip+structured-noise", rounds=5, **crowd)


def test_nodes_that_know_nobody_form_a_network_alike() -> None:
    check("hedgerow", attack=None, strangers=1, company=2, probation=2, rounds=6)
