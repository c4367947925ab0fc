"""`resists`: what it accepts, what it says when a rule does not hold."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Rule, Weights
from aggregation.parts.integration import weighted_mean
from aggregation.registry import build_rule
from aggregation.rules.baselines import coordinate_median, everyone
from node.learning.tasks import make_task
from simulator.study.scenario import ScenarioError
from simulator.testing import measure, resists

QUICK = {"nodes": 8, "rounds": 6, "topology": {"name": "regular", "degree": 4}, "evaluate_samples": 200}


def test_failure_says_how_much_and_what_others_do() -> None:
    with pytest.raises(AssertionError) as failure:
        resists("mean", "label-flip", bound=0.05, accuracy_loss=0.0, **QUICK)
    text = str(failure.value)
    assert "mean does not hold against label-flip: attack success" in text
    assert "is above the bound 0.05" in text
    assert "below the oracle mean's" in text
    assert "  hedgerow: attack success" in text
    assert "8 nodes" in text


def test_same_call_same_numbers() -> None:
    assert measure("median", "label-flip", **QUICK) == measure("median", "label-flip", **QUICK)


def test_own_integration_is_tried_with_everyone_heard() -> None:
    mine = measure(integration=coordinate_median, **QUICK)
    assert mine.accuracy == measure("median", **QUICK).accuracy
    assert mine.rule == "own rule"


def test_own_weighting_is_tried_with_the_weighted_mean() -> None:
    assert measure(weighting=everyone, **QUICK).accuracy == measure("mean", **QUICK).accuracy


def test_rule_is_spelled_with_its_parameters() -> None:
    found = measure("hedgerow(trim=0, views=parameters)", **QUICK)
    assert found.rule == "hedgerow(trim=0, views=parameters)"
    assert found.accuracy == measure(build_rule("hedgerow", trim=0.0, views="parameters"), **QUICK).accuracy


def test_nobody_attacks_when_the_attack_is_none() -> None:
    found = resists("mean", None, bound=0.2, accuracy_loss=0.0, **QUICK)
    assert found.attack == "no attack"


def test_worst_seed_counts() -> None:
    found = measure("mean", "label-flip", seeds=(0, 1), **QUICK)
    assert len(found.success) == 2
    with pytest.raises(AssertionError, match="by seed 0:"):
        resists("mean", "label-flip", bound=min(found.success), seeds=(0, 1), **QUICK)


def test_rule_and_parts_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="either a rule"):
        measure("mean", weighting=everyone)
    with pytest.raises(ValueError, match="either a rule"):
        measure()


def test_unknown_words_are_named() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'hedgerow'"):
        measure("hedgrow")
    with pytest.raises(ScenarioError, match="did you mean 'label-flip'"):
        measure("mean", "labelflip")
    with pytest.raises(ScenarioError, match="did you mean 'rounds'"):
        measure("mean", round=3)


def test_task_may_be_a_name_or_ones_own() -> None:
    named = measure("mean", task="digits", **QUICK)
    assert named == measure("mean", **QUICK)
    assert measure("mean", task=make_task("digits"), **QUICK).accuracy == named.accuracy
    with pytest.raises(AssertionError, match="is above the bound"):
        resists("mean", bound=-1.0, task="digits", **QUICK)


def test_example_of_the_documentation_holds() -> None:
    text = (Path(__file__).parents[3] / "docs" / "defence.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "docs/defence.md", "exec"), names)
    tests = [each for name, each in names.items() if name.startswith("test_") and callable(each)]
    assert len(tests) == 2
    for each in tests:
        each()


def test_function_in_place_of_a_rule_is_told_where_it_belongs() -> None:
    with pytest.raises(RuleError, match=r"everyone is neither .* weighting= takes .* integration= takes"):
        measure(everyone, **QUICK)
    with pytest.raises(RuleError, match="weighting is a str, not a function"):
        measure(weighting="mean", **QUICK)


def test_part_that_returns_something_else_is_told_so() -> None:
    def tensor(evidence: Evidence) -> object:
        return everyone(evidence).neighbours

    def turned(evidence: Evidence) -> Weights:
        said = everyone(evidence)
        return replace(said, neighbours=said.neighbours.mT)

    def params(evidence: Evidence, weights: Weights) -> object:
        return weighted_mean(evidence, weights).params

    def short(evidence: Evidence, weights: Weights) -> Decision:
        said = weighted_mean(evidence, weights)
        return replace(said, params=said.params[..., :-1])

    with pytest.raises(RuleError, match=r"the weighting returned a Tensor, wanted aggregation.evidence.Weights"):
        measure(weighting=tensor, **QUICK)
    with pytest.raises(RuleError, match=r"the weighting returned neighbours of shape \(\d+, \d+\), wanted \("):
        measure(weighting=turned, **QUICK)
    with pytest.raises(RuleError, match=r"the integration returned a Tensor, wanted aggregation.evidence.Decision"):
        measure(integration=params, **QUICK)
    with pytest.raises(RuleError, match="the integration returned params of shape"):
        measure(Rule("short", everyone, short), **QUICK)
