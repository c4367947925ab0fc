"""The rule `hedgerow-bristle`: who may speak for a column, and how far anybody can move it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles
import oracles_defence as naive
import pytest
import torch
from held_out import CLASSES, FEATURES, HEAD, SIZE, HeldOut, network, single
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Need, Table, Verdict
from aggregation.parts.winsorised import winsor_bound
from aggregation.registry import build_rule
from aggregation.rules.hedgerow_bristle import spoken_columns

GOLDEN = Path(__file__).parents[3] / "golden" / "hedgerow_bristle.json"
REST = CLASSES
column = np.full(SIZE, REST)
for _c in range(CLASSES):
    column[HEAD.weight + _c * FEATURES : HEAD.weight + (_c + 1) * FEATURES] = _c
    column[(HEAD.bias or 0) + _c] = _c
seeds = st.integers(0, 10**6)


def f1_of(probe: HeldOut, row: np.ndarray) -> list[float]:
    predicted = probe.outputs(torch.tensor(row, dtype=torch.float32)[None])[0].argmax(dim=-1).tolist()
    return [oracles.f1(probe.labels.tolist(), predicted, c) for c in range(CLASSES)]


def loop(evidence: Evidence, trim: float = 0.2, clip: float = 2.0) -> np.ndarray:
    """One node's round without views, coordinate by coordinate."""
    assert isinstance(evidence.probe, HeldOut)
    assert evidence.own_classes is not None
    assert evidence.peer_classes is not None
    values = evidence.table.values.double().numpy()
    own = values[int(evidence.own)]
    here = [p for p, name in enumerate(evidence.neighbours.tolist()) if name >= 0 and np.isfinite(values[name]).all()]
    apart = {p: values[int(evidence.neighbours[p])] - own for p in here}
    tau = clip * naive.lower_median([naive.norm(v) for v in apart.values()]) if here else 0.0
    familiar = torch.nonzero(evidence.probe.known).flatten().tolist()
    mine = f1_of(evidence.probe, own)
    speaks: dict[int, list[int]] = {c: [] for c in range(CLASSES + 1)}
    for p in here:
        both = int((evidence.own_classes & evidence.peer_classes[p]).sum())
        votes = oracles.bristle_votes(mine, f1_of(evidence.probe, own + apart[p]), familiar, CLASSES, both)
        untested = both == 0 or not familiar
        for c in range(CLASSES + 1):
            claimed = c == REST or bool(evidence.peer_classes[p, c])
            if claimed and (untested or votes[c] > 0):
                speaks[c].append(p)
    out = own.copy()
    for i in range(SIZE):
        c = int(column[i])
        if not speaks[c]:
            continue
        own_speaks = c == REST or bool(evidence.own_classes[c])
        rows = [0.0] * own_speaks + [float(naive.clip(apart[p], tau)[i]) for p in speaks[c]]
        out[i] += naive.winsorised(rows, naive.winsor_bound(len(rows), trim))
    return out


@settings(max_examples=25)
@given(seeds, st.integers(0, 7))
def test_the_rule_follows_the_naive_loop(seed: int, width: int) -> None:
    evidence = network(4, width, 0, seed)
    decision = build_rule("hedgerow-bristle", views="").decide(evidence)
    for node in range(4):
        np.testing.assert_allclose(decision.params[node], loop(single(evidence, node)), atol=1e-4)


def test_decisions_are_the_recorded_ones() -> None:
    for case in json.loads(GOLDEN.read_text()):
        evidence = network(3, case["width"], 0, case["seed"])
        np.testing.assert_allclose(evidence.table.values[0].double(), case["own"], atol=1e-6)
        decision = build_rule("hedgerow-bristle", views="").decide(evidence)
        np.testing.assert_allclose(decision.params[0], case["params"], atol=1e-5)
        np.testing.assert_allclose(decision.weights[0], case["weights"], atol=1e-6)
        assert decision.verdicts[0].tolist() == case["verdicts"]


@settings(max_examples=50)
@given(seeds, st.integers(2, 7), st.sampled_from([1.0, 30.0, 1e6]))
def test_few_dishonest_speakers_cannot_leave_the_honest_range_of_a_column(seed: int, width: int, scale: float) -> None:
    evidence = single(network(3, width, 0, seed, bad=0.0), 0)
    assert evidence.own_classes is not None
    assert evidence.peer_classes is not None
    values = evidence.table.values.clone()
    liar = int(evidence.neighbours[0])
    values[liar] = values[int(evidence.own)] + scale * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    evidence = replace(evidence, table=Table(values))
    decision = build_rule("hedgerow-bristle", views="", clip=0, test=False).decide(evidence)
    for c in range(CLASSES):
        names = [0] * bool(evidence.own_classes[c])
        names += [int(evidence.neighbours[p]) for p in range(1, width) if evidence.peer_classes[p, c]]
        count = len(names) + bool(evidence.peer_classes[0, c])
        here = torch.tensor(column == c)
        if count == len(names) or count < 3 or int(winsor_bound(torch.tensor(count), 0.2)) < 1:
            continue
        rows = values[names][:, here]
        assert (decision.params[here] >= rows.min(dim=0).values - 1e-4 * scale).all()
        assert (decision.params[here] <= rows.max(dim=0).values + 1e-4 * scale).all()


@settings(max_examples=25)
@given(seeds, st.integers(0, CLASSES - 1))
def test_who_does_not_train_a_class_cannot_move_its_column(seed: int, number: int) -> None:
    evidence = single(network(2, 5, 0, seed, bad=0.0), 0)
    assert evidence.peer_classes is not None
    masks = evidence.peer_classes.clone()
    masks[0, number] = False
    evidence = replace(evidence, peer_classes=masks)
    values = evidence.table.values.clone()
    here = torch.tensor(column == number)
    values[int(evidence.neighbours[0]), here] += 5
    rule = build_rule("hedgerow-bristle", views="", clip=0, test=False)
    before, after = rule.decide(evidence), rule.decide(replace(evidence, table=Table(values)))
    assert torch.equal(before.params, after.params)
    believing = build_rule("hedgerow-bristle", views="", clip=0, test=False, claims=False, trim=0)
    moved = believing.decide(evidence).params - believing.decide(replace(evidence, table=Table(values))).params
    assert (moved[here] != 0).all()


def test_column_that_nobody_speaks_for_stays_bit_by_bit() -> None:
    evidence = single(network(2, 4, 0, 3, bad=0.0), 0)
    assert evidence.peer_classes is not None
    silent = replace(evidence, peer_classes=torch.zeros_like(evidence.peer_classes))
    decision = build_rule("hedgerow-bristle", test=False).decide(silent)
    here = torch.tensor(column != REST)
    assert torch.equal(decision.params[here], evidence.table.values[0, here])
    assert not torch.equal(decision.params, evidence.table.values[0])


def test_without_neighbours_the_own_model_comes_back_bit_by_bit() -> None:
    evidence = network(4, 3, 0, 7)
    values = evidence.table.values.clone()
    values[0, 3] = -0.0
    nobody = replace(evidence, table=Table(values), neighbours=torch.full((4, 3), -1))
    decision = build_rule("hedgerow-bristle").decide(nobody)
    assert torch.equal(decision.params.view(torch.int32), values[nobody.own].view(torch.int32))
    assert (decision.verdicts == int(Verdict.ABSENT)).all()


def test_a_failed_test_is_harm_and_only_the_masks_silence_is_unproven() -> None:
    evidence = single(network(2, 3, 0, 5, bad=0.0), 0)
    assert isinstance(evidence.probe, HeldOut)
    assert evidence.peer_classes is not None
    values = evidence.table.values.clone()
    values[1:4] = values[0].clone()
    stop = HEAD.weight + FEATURES * CLASSES
    values[2, HEAD.weight : stop] = -values[0, HEAD.weight : stop]
    labels = evidence.probe.outputs(values[:1])[0].argmax(dim=-1)
    known = torch.tensor([int((labels == c).sum()) >= 1 for c in range(CLASSES)])
    evidence = replace(
        evidence,
        table=Table(values),
        probe=HeldOut(evidence.probe.inputs, labels, known),
        own_classes=torch.ones(CLASSES, dtype=torch.bool),
        peer_classes=torch.ones_like(evidence.peer_classes),
    )
    decision = build_rule("hedgerow-bristle", threshold=1.0).decide(evidence)
    assert decision.verdicts.tolist() == [Verdict.TAKEN, Verdict.HARMFUL, Verdict.TAKEN]
    assert decision.weights.tolist() == [1, 0, 1]
    assert torch.equal(decision.params, values[0])


def test_unbounded_it_is_bristle_after_the_votes() -> None:
    evidence = network(4, 6, 0, 31)
    mixed = build_rule("hedgerow-bristle", views="", bounded=False).decide(evidence)
    plain = build_rule("bristle").decide(evidence)
    torch.testing.assert_close(mixed.params, plain.params)


def test_only_what_is_used_is_asked_for() -> None:
    assert build_rule("hedgerow-bristle").needs == {Need.SCORES, Need.CLASSES, Need.ACTIVITY, Need.OUTPUTS}
    assert build_rule("hedgerow-bristle", views="", test=False).needs == {Need.CLASSES}
    assert build_rule("hedgerow-bristle", views="", test=False, claims=False).needs == frozenset()


def test_what_it_cannot_work_with_is_said() -> None:
    with pytest.raises(RuleError, match="no probe"):
        build_rule("hedgerow-bristle", views="").decide(replace(network(2, 2, 0, 1), probe=None))
    with pytest.raises(RuleError, match="clip must be"):
        spoken_columns(clip=-1.0)
    with pytest.raises(RuleError, match="trim must lie"):
        spoken_columns(trim=0.5)
