"""What holds for every rule of the foundation, whoever calls it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from held_out import SIZE, network, single
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.evidence import Decision, Table, Verdict
from aggregation.registry import build_rule

RULES = (
    "mean",
    "median",
    "trimmed-mean",
    "krum",
    "multi-krum",
    "foolsgold",
    "sybilwall",
    "bristle",
    "sybilwall-bristle",
)
seeds = st.integers(0, 10**6)


def close(a: Decision, b: Decision) -> None:
    np.testing.assert_allclose(a.params, b.params, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-5)
    assert torch.equal(a.verdicts, b.verdicts)


def of(decision: Decision, node: int) -> Decision:
    return Decision(decision.params[node], decision.weights[node], decision.verdicts[node])


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(seed=seeds, width=st.integers(0, 8))
def test_many_nodes_in_one_table_decide_as_each_alone_in_its_own(name: str, seed: int, width: int) -> None:
    rule = build_rule(name)
    evidence = network(5, width, 3, seed)
    decision = rule.decide(evidence)
    assert decision.params.shape == (5, SIZE)
    assert decision.weights.shape == decision.verdicts.shape == (5, width)
    assert decision.params.dtype == decision.weights.dtype == torch.float32
    assert decision.verdicts.dtype == torch.int8
    for node in range(5):
        close(of(decision, node), rule.decide(single(evidence, node)))


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(seed=seeds, shuffle=st.permutations(range(6)))
def test_the_order_of_neighbours_does_not_matter(name: str, seed: int, shuffle: list[int]) -> None:
    rule, evidence, order = build_rule(name), network(2, 6, 2, seed, bad=0.0), torch.tensor(shuffle)
    straight, shuffled = rule.decide(single(evidence, 1)), rule.decide(single(evidence, 1, order))
    close(Decision(straight.params, straight.weights[order], straight.verdicts[order]), shuffled)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(seed=seeds)
def test_results_are_finite_and_within_the_range_of_each_coordinate(name: str, seed: int) -> None:
    evidence = network(6, 7, 3, seed, bad=0.5)
    decision = build_rule(name).decide(evidence)
    index = torch.cat([evidence.own.unsqueeze(1), evidence.neighbours], dim=1)
    rows = evidence.table.rows(index)
    there = evidence.table.usable(index).unsqueeze(-1)
    low = torch.where(there, rows, torch.inf).amin(dim=1)
    high = torch.where(there, rows, -torch.inf).amax(dim=1)
    assert torch.isfinite(decision.params).all()
    assert (decision.params >= low - 1e-5).all()
    assert (decision.params <= high + 1e-5).all()


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(seed=seeds)
def test_weights_are_votes_and_verdicts_say_who_was_not_there(name: str, seed: int) -> None:
    evidence = network(6, 7, 3, seed, bad=0.4)
    decision = build_rule(name).decide(evidence)
    present = evidence.present()
    assert (decision.weights >= 0).all()
    assert (decision.weights[~present] == 0).all()
    assert torch.equal(decision.verdicts == Verdict.ABSENT, evidence.neighbours < 0)
    assert torch.equal(decision.verdicts == Verdict.NOT_FINITE, (evidence.neighbours >= 0) & ~present)
    counted = (decision.verdicts == Verdict.TAKEN) | (decision.verdicts == Verdict.TRIMMED)
    assert torch.equal(counted, decision.weights > 0)


@pytest.mark.parametrize("name", RULES)
def test_without_neighbours_the_own_model_comes_back_bit_by_bit(name: str) -> None:
    evidence = network(4, 3, 2, 7)
    values = evidence.table.values.clone()
    values[0, 3] = -0.0
    evidence = replace(evidence, table=Table(values))
    own = values[evidence.own].view(torch.int32)
    nobody = replace(evidence, neighbours=torch.full((4, 3), -1))
    none = replace(
        evidence,
        neighbours=torch.empty(4, 0, dtype=torch.int64),
        peer_classes=torch.empty(4, 0, 4, dtype=torch.bool),
        priority=torch.empty(4, 0),
    )
    unheard = replace(none, relayed=torch.empty(4, 0, dtype=torch.int64))
    for view in (nobody, none, unheard):
        assert torch.equal(build_rule(name).decide(view).params.view(torch.int32), own)


@pytest.mark.parametrize("name", [name for name in RULES if "bristle" not in name])
def test_an_own_model_that_is_not_finite_is_left_out(name: str) -> None:
    evidence = network(3, 4, 2, 11, bad=0.0)
    values = evidence.table.values.clone()
    values[0, 0] = torch.nan
    decision = build_rule(name).decide(replace(evidence, table=Table(values)))
    assert torch.isfinite(decision.params).all()


@pytest.mark.parametrize("name", RULES)
def test_two_leading_dimensions_are_as_good_as_one(name: str) -> None:
    evidence = network(6, 4, 2, 13)
    flat = build_rule(name).decide(evidence)
    assert evidence.own_classes is not None
    assert evidence.peer_classes is not None
    assert evidence.priority is not None
    probe = evidence.probe
    folded = replace(
        evidence,
        own=evidence.own.reshape(2, 3),
        neighbours=evidence.neighbours.reshape(2, 3, 4),
        relayed=evidence.relayed.reshape(2, 3, 2),
        own_classes=evidence.own_classes.reshape(2, 3, -1),
        peer_classes=evidence.peer_classes.reshape(2, 3, 4, -1),
        priority=evidence.priority.reshape(2, 3, 4),
        probe=replace(  # type: ignore[type-var]
            probe,
            inputs=probe.inputs.unflatten(0, (2, 3)),  # type: ignore[union-attr]
            labels=probe.labels.unflatten(0, (2, 3)),  # type: ignore[union-attr]
            known=probe.known.unflatten(0, (2, 3)),  # type: ignore[union-attr]
        ),
    )
    decision = build_rule(name).decide(folded)
    close(
        flat, Decision(decision.params.flatten(0, 1), decision.weights.flatten(0, 1), decision.verdicts.flatten(0, 1))
    )
