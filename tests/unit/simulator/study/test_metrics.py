"""Accuracy and attack success of many models at once, against plain loops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from views import CLASSES, small_task

from node.learning.task import Task
from simulator.attacks.attack import Flip, Shift
from simulator.attacks.trigger import Trigger
from simulator.study.metrics import Evaluator, subset, success_of, wanted
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.setup import Setup, prepare


def setup_of(attack: object, **changes: object) -> Setup:
    values = {"name": "small", "nodes": 6, "rounds": 2, "topology": "ring", "partition": "iid", "attack": attack}
    return prepare(Scenario.of(values | changes), small_task())


def models_of(setup: Setup, count: int = 5) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(count, setup.learner.dimension, generator=draw)


def predictions(setup: Setup, params: Tensor, inputs: Tensor) -> list[int]:
    pixels = inputs.to(torch.float32).flatten(1) / 255
    weight, bias = params[:64].view(CLASSES, 16), params[64:]
    return (pixels @ weight.T + bias).argmax(dim=1).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("attack", ["none", "label-flip", "gaussian"])
def test_accuracy_and_flips_equal_a_loop(attack: str) -> None:
    setup = setup_of(attack)
    params = models_of(setup)
    accuracy, success = Evaluator(setup).measure(params)
    labels = setup.task.test.labels.tolist()
    for row, model in enumerate(params):
        guess = predictions(setup, model, setup.task.test.inputs)
        assert float(accuracy[row]) == pytest.approx(
            sum(g == true for g, true in zip(guess, labels, strict=True)) / len(labels)
        )
        pairs = [(g, true) for g, true in zip(guess, labels, strict=True) if true in (0, 1)]
        assert float(success[row]) == pytest.approx(sum(g == 1 - true for g, true in pairs) / len(pairs))


def test_backdoor_success_equals_a_loop() -> None:
    setup = setup_of({"name": "backdoor", "target": 2})
    params = models_of(setup)
    _, success = Evaluator(setup).measure(params)
    others = (setup.task.test.labels != 2).nonzero().flatten()
    triggered = Trigger().stamp(setup.task.test.inputs[others], 255)
    for row, model in enumerate(params):
        guess = predictions(setup, model, triggered)
        assert float(success[row]) == pytest.approx(sum(g == 2 for g in guess) / len(guess))


def test_shift_counts_every_class() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    assert wanted(Shift(1), labels, 4).tolist() == [1, 2, 3, 0]
    assert float(success_of(torch.tensor([1, 2, 2, 0]), labels, Shift(1), 4)) == 0.75


def test_flip_counts_only_its_two_classes() -> None:
    assert wanted(Flip(1, 3), torch.tensor([0, 1, 2, 3]), 4).tolist() == [-1, 3, -1, 1]


def test_models_that_are_not_finite_score_nothing() -> None:
    setup = setup_of("label-flip")
    params = models_of(setup, 3)
    clean = Evaluator(setup).measure(params)[0]
    params[1, 5] = float("nan")
    accuracy, success = Evaluator(setup).measure(params)
    assert float(accuracy[1]) == 0.0
    assert float(success[1]) == 0.0
    assert torch.equal(accuracy[[0, 2]], clean[[0, 2]])


def test_no_models_give_no_numbers() -> None:
    setup = setup_of("label-flip")
    accuracy, success = Evaluator(setup).measure(models_of(setup, 1)[:0])
    assert accuracy.shape == (0,)
    assert success.shape == (0,)


def test_a_subset_is_drawn_by_class_from_the_seed_and_stated() -> None:
    setup = setup_of("label-flip", evaluate_samples=20)
    evaluator = Evaluator(setup)
    kept = setup.task.test.labels[evaluator.samples]
    assert torch.bincount(kept).tolist() == [5, 5, 5, 5]
    assert torch.equal(evaluator.samples, Evaluator(setup).samples)
    assert not torch.equal(evaluator.samples, subset(setup.task.test.labels, 20, setup.seed + 1))
    params = models_of(setup, 1)
    guess = predictions(setup, params[0], setup.task.test.inputs[evaluator.samples])
    hits = sum(g == true for g, true in zip(guess, kept.tolist(), strict=True))
    assert float(evaluator.measure(params)[0]) == pytest.approx(hits / 20)


def test_a_subset_larger_than_the_test_set_is_the_test_set_and_rare_classes_stay() -> None:
    labels = torch.tensor([0] * 99 + [1])
    assert len(subset(labels, 1000, 0)) == 100
    assert 99 in subset(labels, 10, 0).tolist()


def test_a_test_set_without_the_attacked_classes_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"aims at classes 8 and 9, .* only of 0, 1, 2, 3: name two of these"):
        Evaluator(setup_of({"name": "none+gaussian", "first": 8, "second": 9}))


def only(task: Task, kind: int) -> Task:
    """The task with a test set of one class."""
    return replace(task, test=task.test.take((task.test.labels == kind).nonzero().flatten()))


@pytest.mark.parametrize("kind", range(CLASSES))
def test_without_an_attack_a_test_set_of_one_class_will_do(kind: int) -> None:
    scenario = Scenario.of({"nodes": 6, "rounds": 2, "topology": "ring", "partition": "iid", "attack": None})
    setup = prepare(scenario, only(small_task(), kind))
    params = models_of(setup)
    accuracy, success = Evaluator(setup).measure(params)
    guesses = [predictions(setup, model, setup.task.test.inputs) for model in params]
    assert accuracy.tolist() == pytest.approx([guess.count(kind) / len(guess) for guess in guesses])
    assert bool(torch.isnan(success).all()) == (kind > 1)


def test_a_backdoor_whose_target_is_all_there_is_is_refused() -> None:
    scenario = Scenario.of({"nodes": 6, "topology": "ring", "attack": {"name": "backdoor", "target": 2}})
    with pytest.raises(ScenarioError, match="name another target"):
        Evaluator(prepare(scenario, only(small_task(), 2)))


@pytest.mark.parametrize("attack", [{"name": "label-flip", "second": 9}, {"name": "backdoor", "target": 4}])
def test_an_attack_that_teaches_a_class_beyond_the_outputs_is_refused(attack: object) -> None:
    with pytest.raises(ScenarioError, match="the model has 4 outputs: name a class from 0 to 3"):
        setup_of(attack)
