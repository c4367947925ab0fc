"""Models on another device than the processor: nothing of two devices meets, and the numbers are the same.

There is no GPU here: a stand-in plays the device (tests/elsewhere.py), so CUDA's own kernels are not tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import pytest
import torch
from elsewhere import NAME, Astray, Elsewhere, elsewhere
from torch import Tensor

from aggregation.registry import RULES, build_rule
from node.learning.models import lenet
from node.learning.optimizers import Adam, Sgd
from node.learning.task import Task
from simulator.engines import check_device
from simulator.fast.engine import FastEngine, Options
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.setup import prepare

SMALL: Mapping[str, object] = {
    "nodes": 6,
    "rounds": 2,
    "rules": ["mean"],
    "topology": {"name": "regular", "degree": 3},
    "sybils": 2,
    "sybil_degree": 3,
    "evaluate_samples": 50,
    "partition": "iid(per_class=3)",
}


def images(**settings: object) -> Task:
    draw = torch.Generator().manual_seed(1)
    inputs, labels = torch.rand(80, 1, 14, 14, generator=draw), torch.arange(80) % 4
    return Task(lambda: lenet((1, 14, 14), 4), (inputs, labels), (inputs, labels), **settings)  # type: ignore[arg-type]


def play(device: str, rule: str, training: str, task: Task | None = None, **changes: object) -> tuple[Tensor, float]:
    """Models and mean accuracy after the last round."""
    setup = prepare(Scenario.of(dict(SMALL) | changes), task)
    engine = FastEngine(setup, build_rule(rule), Options(1, compiled=False, training=training, device=device))
    records = [engine.step() for _ in range(2)]
    params = engine.params
    engine.close()
    assert isinstance(params, Elsewhere) == (device == NAME)
    assert records[-1].accuracy is not None
    return params.cpu(), float(records[-1].accuracy.mean())


def same_on_both(rule: str, training: str, task: Task | None = None, **changes: object) -> None:
    with elsewhere():
        there = play(NAME, rule, training, task, **changes)
    here = play("cpu", rule, training, task, **changes)
    assert torch.allclose(there[0], here[0], atol=1e-5, equal_nan=True)
    assert there[1] == pytest.approx(here[1], abs=0.03)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_decides_there_as_here(rule: str) -> None:
    same_on_both(rule, "fused")


@pytest.mark.parametrize("training", ["plain", "fused", "mapped"])
@pytest.mark.parametrize("changes", [{}, {"model": "mlp"}, {"steps": 2}], ids=["softmax", "mlp", "steps"])
def test_every_training_path_trains_there_as_here(training: str, changes: Mapping[str, object]) -> None:
    same_on_both("mean", training, **changes)


@pytest.mark.parametrize("optimizer", [Sgd(0.05, momentum=0.9, keep_state=True), Adam(0.01)], ids=["momentum", "adam"])
@pytest.mark.parametrize("training", ["plain", "grouped"])
def test_convolutions_and_state_are_there(training: str, optimizer: Sgd | Adam) -> None:
    task = images(optimizer=optimizer, batch_size=8)
    same_on_both("mean", training, task, evaluate_samples=None, attack="none", sybils=0)


@pytest.mark.parametrize("attack", ["none", "backdoor", "label-flip+orthogonal-noise", "nan-model"])
def test_the_adversary_stays_on_the_processor(attack: str) -> None:
    same_on_both("hedgerow", "fused", attack=attack)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.ones(3)[x.long()],
        lambda x: torch.index_select(x, 0, torch.tensor([1])),
        lambda x: x.numpy(),
        lambda x: torch.ones(3).add_(x),
        lambda x: torch.where(torch.tensor([True, False, True]), x, x),
    ],
    ids=["add", "index", "index_select", "numpy", "in place", "where"],
)
def test_the_stand_in_refuses_what_a_gpu_refuses(wrong: Callable[[Tensor], object]) -> None:
    with elsewhere():
        there = torch.arange(3.0, device=NAME)
        assert (there + 1)[torch.tensor([0, 2])].tolist() == [1.0, 3.0]
        with pytest.raises(Astray):
            wrong(there)


@pytest.mark.parametrize(
    ("device", "engine", "sentence"),
    [
        ("cudda", "fast", "is not there"),
        ("meta", "fast", "known are cpu and cuda"),
        ("cuda:97", "fast", "is not there"),
        (NAME, "world", "known are cpu and cuda"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_sentence(
    device: str, engine: Literal["fast", "world"], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=rf"^device '{device}'.*{sentence}"):
        check_device(device, engine)
