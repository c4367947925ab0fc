"""Bristle: recorded vectors, naive loops, and what a score may and may not buy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from held_out import CLASSES, FEATURES, HEAD, SIZE, HeldOut, network, single
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Table, Verdict
from aggregation.registry import build_rule
from aggregation.rules import bristle

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[3] / "golden" / "bristle.json").read_text())
seeds = st.integers(0, 10**6)


def numbers(value: Any) -> Any:
    return [numbers(part) for part in value] if isinstance(value, list) else float(value)


def test_scores_and_weights_are_the_recorded_ones() -> None:
    for case in GOLDEN["score"]:
        got = bristle.score(case["mine"], case["peer"])
        assert float(got) == pytest.approx(case["score"], abs=1e-9)
        assert float(bristle.squash(got.clamp(min=-100))) == pytest.approx(case["weight_at_certainty_1"], abs=1e-9)
    for case in GOLDEN["squash"]:
        assert float(bristle.squash(case["score"])) == pytest.approx(case["weight"], abs=1e-9)


def test_certainties_are_the_recorded_ones() -> None:
    for case in GOLDEN["certainty"]:
        assert float(bristle.certainty(case["f1"])) == pytest.approx(case["certainty"], abs=1e-9)


@pytest.mark.parametrize("case", GOLDEN["integrate"], ids=lambda case: case["name"])
@pytest.mark.parametrize("form", [list, np.array, lambda v: torch.tensor(np.array(v))], ids=["list", "numpy", "tensor"])
def test_integrations_are_the_recorded_ones(case: dict[str, Any], form: Any) -> None:
    peers = numbers(case["peers"])
    got = bristle.integrate(
        form(numbers(case["own"])),
        form(peers) if peers else [],
        form(case["own_f1"]),
        form(case["peer_f1"]),
        form(case["fam"]),
        case["overlap"],
    )
    np.testing.assert_allclose(got, numbers(case["out"]), atol=1e-9)


def test_f1_of_the_test_probe_is_the_recorded_one() -> None:
    for case in GOLDEN["f1"]:
        predicted = (np.array(case["X"]) @ np.array(case["W"])).argmax(axis=1).tolist()
        got = [oracles.f1(case["y"], predicted, c) for c in case["fam"]]
        np.testing.assert_allclose(got, case["f1"], atol=1e-9)


def test_familiar_classes_may_be_a_mask_and_overlap_may_be_left_out() -> None:
    own, peers = torch.zeros(2, 3), torch.ones(1, 2, 3)
    by_name = bristle.integrate(own, peers, [0.5, 0.5], [[0.9, 0.9]], [0, 2], [None])
    by_mask = bristle.integrate(own, peers, [0.5, 0.5], [[0.9, 0.9]], torch.tensor([True, False, True]))
    assert torch.equal(by_name, by_mask)


def view(evidence: Evidence, node: int) -> tuple[np.ndarray, list[np.ndarray | None]]:
    values = evidence.table.values.double().numpy()
    rows = [values[name] if name >= 0 else None for name in evidence.neighbours[node].tolist()]
    return values[int(evidence.own[node])], [r if r is not None and np.isfinite(r).all() else None for r in rows]


def scores(probe: HeldOut, node: int, row: np.ndarray) -> list[float]:
    logits = probe.outputs(torch.tensor(row, dtype=torch.float32).expand(len(probe.inputs), 1, SIZE))[node, 0]
    predicted = logits.argmax(dim=-1).tolist()
    return [oracles.f1(probe.labels[node].tolist(), predicted, c) for c in range(CLASSES)]


def naive(evidence: Evidence, node: int, similarity: list[float], k: int = 10) -> tuple[np.ndarray, list[float]]:
    """One node's round of Bristle, coordinate by coordinate."""
    assert isinstance(evidence.probe, HeldOut)
    assert evidence.own_classes is not None
    assert evidence.peer_classes is not None
    assert evidence.priority is not None
    own, rows = view(evidence, node)
    head = [*range(HEAD.weight, HEAD.weight + FEATURES * CLASSES), *range(HEAD.bias or 0, (HEAD.bias or 0) + CLASSES)]
    column = {HEAD.weight + c * FEATURES + f: c for c in range(CLASSES) for f in range(FEATURES)}
    column |= {(HEAD.bias or 0) + c: c for c in range(CLASSES)}
    heard = [p for p, row in enumerate(rows) if row is not None and similarity[p] > 0]
    far = [float(np.linalg.norm((rows[p] - own)[head])) for p in heard]  # type: ignore[operator]
    chosen = oracles.drawn(far, [float(evidence.priority[node, p]) for p in heard], 0.4, k)
    familiar = torch.nonzero(evidence.probe.known[node]).flatten().tolist()
    mine = scores(evidence.probe, node, own)
    total, weight, influence = own.copy(), np.ones(SIZE), [0.0] * len(rows)
    for place, p in enumerate(heard):
        row = rows[p]
        if place not in chosen or row is None:
            continue
        both = int((evidence.own_classes[node] & evidence.peer_classes[node, p]).sum())
        votes = oracles.bristle_votes(mine, scores(evidence.probe, node, row), familiar, CLASSES, both)
        each = np.array([votes[column.get(i, CLASSES)] * similarity[p] for i in range(SIZE)])
        total, weight, influence[p] = total + each * row, weight + each, float(each.mean())
    return total / weight, influence


@settings(max_examples=25)
@given(seeds, st.integers(0, 7), st.sampled_from([3, 10]))
def test_the_rule_follows_the_naive_loop(seed: int, width: int, k: int) -> None:
    evidence = network(4, width, 0, seed)
    decision = build_rule("bristle", k=k).decide(evidence)
    for node in range(4):
        params, influence = naive(evidence, node, [1.0] * width, k)
        np.testing.assert_allclose(decision.params[node], params, atol=1e-5)
        np.testing.assert_allclose(decision.weights[node], influence, atol=1e-5)


@settings(max_examples=25)
@given(seeds, st.integers(0, 7))
def test_in_the_composition_similarity_multiplies_performance(seed: int, width: int) -> None:
    evidence = network(4, width, 4, seed)
    similarity = build_rule("sybilwall").decide(evidence).weights.tolist()
    decision = build_rule("sybilwall-bristle").decide(evidence)
    for node in range(4):
        params, influence = naive(evidence, node, similarity[node])
        np.testing.assert_allclose(decision.params[node], params, atol=1e-5)
        np.testing.assert_allclose(decision.weights[node], influence, atol=1e-5)


@settings(max_examples=25)
@given(seeds, st.integers(2, 5))
def test_copies_together_weigh_no_more_than_one_in_the_composition(seed: int, copies: int) -> None:
    evidence = single(network(2, 4, 0, seed, bad=0.0), 0)
    assert evidence.peer_classes is not None
    together = replace(
        evidence,
        neighbours=torch.cat([evidence.neighbours[:1].expand(copies), evidence.neighbours[1:]]),
        peer_classes=torch.cat([evidence.peer_classes[:1].expand(copies, -1), evidence.peer_classes[1:]]),
        priority=None,
    )
    rule = build_rule("sybilwall-bristle")
    assert rule.decide(together).weights[:copies].sum() <= rule.decide(evidence).weights[0] + 1e-6
    plain = build_rule("bristle")
    assert plain.decide(together).weights[:copies].sum() == pytest.approx(
        copies * float(plain.decide(evidence).weights[0]), rel=1e-5
    )


def test_verdicts_tell_harm_from_ignorance() -> None:
    evidence = single(network(2, 3, 0, 5, bad=0.0), 0)
    assert isinstance(evidence.probe, HeldOut)
    assert evidence.peer_classes is not None
    values = evidence.table.values.clone()
    truth = values[0].clone()
    values[1:4] = truth
    stop = HEAD.weight + FEATURES * CLASSES
    values[2, HEAD.weight : stop] = -truth[HEAD.weight : stop]
    labels = (
        HeldOut(evidence.probe.inputs, evidence.probe.labels, evidence.probe.known)
        .outputs(truth[None])[0]
        .argmax(dim=-1)
    )
    known = torch.tensor([(labels == c).sum() >= 1 for c in range(CLASSES)])
    classes = torch.ones_like(evidence.peer_classes)
    classes[2] = False
    evidence = replace(
        evidence,
        table=Table(values),
        probe=HeldOut(evidence.probe.inputs, labels, known),
        own_classes=torch.ones(CLASSES, dtype=torch.bool),
        peer_classes=classes,
    )
    decision = build_rule("bristle").decide(evidence)
    assert decision.verdicts.tolist() == [Verdict.TAKEN, Verdict.HARMFUL, Verdict.UNPROVEN]
    assert decision.weights[0] == pytest.approx(1)
    blind = replace(evidence, probe=HeldOut(evidence.probe.inputs, labels, torch.zeros(CLASSES, dtype=torch.bool)))
    nothing = build_rule("bristle").decide(blind)
    assert torch.equal(nothing.params, values[0])
    assert nothing.verdicts.tolist() == [Verdict.UNPROVEN] * 3
    trusting = build_rule("bristle").decide(replace(evidence, peer_classes=None))
    assert trusting.verdicts.tolist() == [Verdict.TAKEN, Verdict.HARMFUL, Verdict.TAKEN]


def test_neighbours_that_are_not_drawn_are_far() -> None:
    decision = build_rule("bristle", k=2).decide(network(3, 6, 0, 9, bad=0.0))
    assert ((decision.verdicts == Verdict.FAR).sum(dim=1) == 4).all()


def test_a_model_without_a_known_head_gets_its_foreign_weight_everywhere() -> None:
    evidence = replace(single(network(2, 3, 0, 21, bad=0.0), 0), head=None)
    decision = build_rule("bristle", k=2).decide(evidence)
    rows = [evidence.table.values[0].double().numpy(), *evidence.table.values[evidence.neighbours].double().numpy()]
    wanted = oracles.mean(rows, [1.0, *decision.weights.tolist()])
    np.testing.assert_allclose(decision.params, wanted, atol=1e-5)


def test_a_head_without_bias_is_integrated_too() -> None:
    evidence = single(network(2, 3, 0, 22, bad=0.0), 0)
    bare = replace(evidence, head=replace(HEAD, bias=None))
    a, b = (build_rule("bristle", k=2).decide(view).params for view in (evidence, bare))
    assert torch.equal(a[: HEAD.weight + FEATURES * CLASSES], b[: HEAD.weight + FEATURES * CLASSES])


def test_what_bristle_cannot_work_with_is_said() -> None:
    with pytest.raises(RuleError, match="no probe"):
        build_rule("bristle").decide(replace(network(2, 2, 0, 1), probe=None))
    for parameters in ({"alpha": 1.5}, {"k": 0}):
        with pytest.raises(RuleError, match="alpha must be in"):
            build_rule("bristle", **parameters)
