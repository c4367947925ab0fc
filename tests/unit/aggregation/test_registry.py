"""Rules by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from held_out import network

from aggregation.errors import RuleError
from aggregation.evidence import Need, Rule
from aggregation.registry import RULES, RuleSpec, build_rule
from hedgerow_registry import UnknownName

NAMES = {
    "mean",
    "median",
    "trimmed-mean",
    "krum",
    "multi-krum",
    "foolsgold",
    "sybilwall",
    "bristle",
    "sybilwall-bristle",
}


def test_the_registry_knows_the_rules_of_the_foundation() -> None:
    assert set(RULES) >= NAMES


@pytest.mark.parametrize("spec", RULES.values(), ids=lambda spec: spec.name)
def test_every_rule_is_built_from_its_defaults_and_carries_its_name(spec: RuleSpec) -> None:
    rule = build_rule(spec.name)
    assert isinstance(rule, Rule)
    assert rule.name == spec.name
    assert spec.make(**spec.parameters).needs == rule.needs
    assert RULES.entries[spec.name].summary.endswith(".")
    assert RULES.entries[spec.name].source


def test_only_what_is_needed_is_asked_for() -> None:
    assert build_rule("mean").needs == frozenset()
    assert build_rule("sybilwall").needs == {Need.RELAYS}
    assert build_rule("bristle").needs == {Need.SCORES, Need.CLASSES}
    assert build_rule("sybilwall-bristle").needs == {Need.RELAYS, Need.SCORES, Need.CLASSES}
    unasked = build_rule("hedgerow-bristle", claims=False, test=False)
    assert Need.CLASSES not in unasked.needs


@pytest.mark.parametrize("spec", RULES.values(), ids=lambda spec: spec.name)
def test_a_rule_that_does_not_ask_for_classes_decides_the_same_without_them(spec: RuleSpec) -> None:
    rule = build_rule(spec.name)
    if Need.CLASSES in rule.needs:
        return
    evidence = network(4, 5, 2, seed=3)
    everybody = torch.ones_like(evidence.neighbours, dtype=torch.bool)
    evidence = replace(evidence, start=torch.full((4,), 16), honest=everybody, trusted=everybody)
    assert evidence.peer_classes is not None
    said, unsaid = (
        rule.decide(replace(evidence, peer_classes=classes))
        for classes in (evidence.peer_classes, torch.ones_like(evidence.peer_classes))
    )
    assert torch.equal(said.params, unsaid.params)
    assert torch.equal(said.weights, unsaid.weights)


def test_wrong_words_are_named_with_the_nearest_right_one() -> None:
    with pytest.raises(UnknownName, match=r"unknown rule 'sibylwall': did you mean 'sybilwall'\?"):
        build_rule("sibylwall")
    with pytest.raises(UnknownName, match="unknown rule '~': known: "):
        build_rule("~")
    with pytest.raises(RuleError, match=r"unknown parameter of rule 'bristle' 'alfa': did you mean 'alpha'\?"):
        build_rule("bristle", alfa=0.3)
    with pytest.raises(RuleError, match="unknown parameter of rule 'mean' 'f': it has none"):
        build_rule("mean", f=1)


def test_values_of_another_kind_are_refused_but_an_int_may_stand_for_a_float() -> None:
    with pytest.raises(RuleError, match="'f' of rule 'krum' must be int, not float"):
        build_rule("krum", f=1.5)
    with pytest.raises(RuleError, match="must be int, not bool"):
        build_rule("krum", f=True)
    assert build_rule("bristle", alpha=1).name == "bristle"
