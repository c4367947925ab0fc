"""The array engine and the world, round by round from identical inputs: the same models, weights and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aggregation.kernels import rows as kernels
from aggregation.registry import RULES, build_rule
from node.learning.errors import TaskWarning
from node.learning.models import lenet, mlp
from node.learning.optimizers import Optimizer, Sgd
from node.learning.task import Task
from simulator.attacks.attack import AttackView
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


@pytest.mark.parametrize("compiled", [None, False])
@pytest.mark.parametrize("size", [1e18, 1e20, 3e38])
@pytest.mark.parametrize("rule", ["sybilwall", "sybilwall-bristle", "foolsgold", "krum", "hedgerow"])
def test_models_whose_distances_are_beyond_float32_meet_the_same_verdicts(
    rule: str, size: float, compiled: bool | None
) -> None:
    def alike(view: AttackView, models: Tensor) -> Tensor:
        return torch.full_like(models, size)

    def opposed(view: AttackView, models: Tensor) -> Tensor:
        return torch.tensor([[size], [-size]]).expand(models.shape).clone()

    def in_one_coordinate(view: AttackView, models: Tensor) -> Tensor:
        sent = models.clone()
        sent[:, 0] = size
        return sent

    for attack in (alike, opposed, in_one_coordinate):
        engines_agree(prepare(Scenario.of({**SMALL, "attack": attack}), digits()), build_rule(rule), compiled)


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


KNOWN: Mapping[str, object] = {
    "nodes": 12,
    "rounds": 4,
    "sybils": 4,
    "known": 0.6,
    "vouches": "low",
    "far": 3,
    "strangers": 1,
    "attack": "label-flip+gaussian",
}


@pytest.mark.parametrize(
    ("rule", "fooled", "vouches"),
    [
        ("mean", 0.4, "low"),
        ("hedgerow", 0.4, "low"),
        ("hedgerow-known", 0.4, "low"),
        ("hedgerow-known", 0.4, "clique"),
        ("hedgerow-known", 0.0, "low"),
    ],
)
def test_far_peers_and_fooled_edges_are_heard_alike(rule: str, fooled: float, vouches: str) -> None:
    changes = {**KNOWN, "fooled": fooled, "vouches": vouches}
    setup = setup_of("softmax", tuple(changes.items()))
    traces = engines_agree(setup, build_rule(rule))
    assert any(setup.pool)
    assert all(trace.edges.away.any() for trace in traces)


def test_a_crowd_without_links_is_heard_from_afar_alike() -> None:
    changes = {**KNOWN, "fooled": 0.6, "vouches": "cells", "crowd": 6, "enough": 3}
    setup = setup_of("softmax", tuple(changes.items()))
    traces = engines_agree(setup, build_rule("hedgerow-known"))
    crowd = [vertex for vertex, beside in enumerate(setup.neighbours) if not beside]
    assert len(crowd) == 6
    assert any(np.isin(trace.edges.senders, crowd).any() for trace in traces)


@pytest.mark.parametrize("rule", ["mean", "hedgerow-known"])
def test_far_peers_are_heard_alike_where_everybody_has_a_say(rule: str) -> None:
    check(rule, **{**KNOWN, "strangers": None, "fooled": 0.2, "last_line": False})


PEACE: Mapping[str, object] = {"nodes": 6, "rounds": 4, "topology": {"name": "regular", "degree": 3}, "attack": None}


def clouds(build: Callable[[], nn.Module], optimizer: Optimizer, wild: float = 1.0) -> Task:
    """Three clouds of points in eight dimensions; those of class 2 lie `wild` times as far out."""
    draw = np.random.default_rng(5)
    labels = np.arange(300) % 3
    inputs = (3 * draw.normal(size=(3, 8))[labels] + draw.normal(size=(300, 8))).astype(np.float32)
    inputs[labels == 2] *= wild
    return Task(build, (inputs, labels), (inputs[:90], labels[:90]), optimizer=optimizer)


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))


class Tempered(nn.Module):
    """A model with a parameter of shape (): a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(inputs) * self.scale  # type: ignore[no-any-return]


class Hollow(nn.Module):
    """A model with a tensor without numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(0, 4))
        self.last = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(inputs) + self.nothing.sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize("rule", DECIDING)
def test_training_that_diverges_everywhere_diverges_alike(rule: str) -> None:
    setup = prepare(Scenario.of({**PEACE, "epochs": 4}), clouds(chain, Sgd(1e20, weight_decay=1.0)))
    traces = engines_agree(setup, build_rule(rule))
    assert all(len(trace.diverged) == 6 for trace in traces)
    for trace in traces:
        assert torch.equal(trace.trained[trace.diverged], trace.start[trace.diverged])


@pytest.mark.parametrize("optimizer", [Sgd(0.1), Sgd(0.05, momentum=0.9, keep_state=True)], ids=["plain", "momentum"])
@pytest.mark.parametrize("build", [chain, normed])
def test_some_nodes_diverge_and_the_others_go_on_alike(build: Callable[[], nn.Module], optimizer: Optimizer) -> None:
    scenario = Scenario.of({**PEACE, "partition": {"name": "classes", "k": 1}})
    traces = engines_agree(prepare(scenario, clouds(build, optimizer, wild=1e37)), build_rule("mean"))
    assert all(0 < len(trace.diverged) < 6 for trace in traces)


@pytest.mark.parametrize("optimizer", [Sgd(0.1), Sgd(0.05, momentum=0.9, keep_state=True)], ids=["plain", "momentum"])
@pytest.mark.parametrize("build", [Tempered, Hollow])
@pytest.mark.parametrize("rule", ["mean", "hedgerow"])
def test_parameters_of_odd_shapes_are_trained_alike(
    build: Callable[[], nn.Module], optimizer: Optimizer, rule: str
) -> None:
    engines_agree(prepare(Scenario.of(PEACE), clouds(build, optimizer)), build_rule(rule))


def running() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def test_running_statistics_of_a_training_that_diverges_are_forgotten_alike() -> None:
    scenario = Scenario.of({**PEACE, "partition": {"name": "classes", "k": 1}})
    with pytest.warns(TaskWarning):
        task = clouds(running, Sgd(0.1), wild=1e37)
    traces = engines_agree(prepare(scenario, task), build_rule("mean"))
    assert all(0 < len(trace.diverged) < 6 for trace in traces)
    for trace in traces:
        assert trace.buffers is not None
        assert all(bool(torch.isfinite(value).all()) for each in trace.buffers for value in each.values())
