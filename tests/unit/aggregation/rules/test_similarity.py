"""FoolsGold's and SybilWall's weights: recorded vectors, edge cases, and what makes Sybils share one vote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Need, Table, Verdict
from aggregation.registry import build_rule
from aggregation.rules.foolsgold import similarity_weights, weights_from_gaps
from aggregation.rules.sybilwall import sybilwall_weights

GOLDEN = Path(__file__).parents[3] / "golden"
VECTORS = np.load(GOLDEN / "sybilwall.npz", allow_pickle=False)
INDEX = json.loads((GOLDEN / "sybilwall_index.json").read_text())


def rows(seed: int, count: int, size: int = 12, shared: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (shared * rng.normal(size=size) + rng.normal(size=(count, size))).astype(np.float32)


def evidence(
    own: np.ndarray, near: np.ndarray, far: np.ndarray | None = None, initial: np.ndarray | None = None
) -> Evidence:
    parts = [own[None], near, *([] if far is None else [far]), *([] if initial is None else [initial[None]])]
    table = Table(torch.tensor(np.concatenate(parts), dtype=torch.float32))
    n, r = len(near), 0 if far is None else len(far)
    return Evidence(
        table=table,
        own=torch.tensor(0),
        neighbours=torch.arange(1, 1 + n),
        relayed=torch.arange(1 + n, 1 + n + r),
        initial=None if initial is None else torch.tensor(1 + n + r),
    )


@pytest.mark.parametrize("case", INDEX["similarity"], ids=lambda case: case["name"])
def test_similarity_weights_are_the_recorded_ones(case: dict[str, str]) -> None:
    histories = VECTORS[case["case"] + "_histories"]
    wanted = np.nan_to_num(VECTORS[case["case"] + "_weights"], nan=0.0)
    if case["name"].startswith("zeros"):
        wanted = np.array(oracles.similarity_weights(histories.astype(float), len(histories)))
        assert (wanted[~histories.any(axis=1)] == 0).all()
    np.testing.assert_allclose(similarity_weights(torch.tensor(histories)), wanted, atol=1e-6)


@pytest.mark.parametrize("case", INDEX["aggregate"], ids=lambda case: case["case"])
def test_sybilwall_weights_are_the_recorded_ones(case: dict[str, object]) -> None:
    name, direct = str(case["case"]), int(str(case["direct"]))
    histories, wanted = VECTORS[name + "_rows"], VECTORS[name + "_weights"]
    if case["degenerate"]:
        wanted = np.array([0.0] * direct + [1.0])
    np.testing.assert_allclose(sybilwall_weights(torch.tensor(histories), direct), wanted, atol=1e-4)


@pytest.mark.parametrize("case", INDEX["aggregate"][5::6], ids=lambda case: case["case"])
def test_the_rule_gives_the_recorded_weights_from_a_table(case: dict[str, object]) -> None:
    name, direct = str(case["case"]), int(str(case["direct"]))
    histories, wanted = VECTORS[name + "_rows"], VECTORS[name + "_weights"]
    view = evidence(rows(0, 1, histories.shape[1])[0], histories[:direct], histories[direct:])
    decision = build_rule("sybilwall").decide(view)
    np.testing.assert_allclose(decision.weights, wanted[:-1] / wanted[-1], atol=1e-3)
    np.testing.assert_allclose(
        decision.params,
        oracles.mean(view.table.values.double().numpy()[: direct + 1], [wanted[-1], *wanted[:-1]]),
        atol=1e-3,
    )


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 9), st.integers(0, 5), st.sampled_from([0.0, 0.3, 1.0, 5.0]))
def test_weights_follow_the_naive_loop(seed: int, direct: int, relayed: int, shared: float) -> None:
    histories = rows(seed, direct + relayed, shared=shared)
    wanted = oracles.similarity_weights(histories.astype(float), direct)
    np.testing.assert_allclose(similarity_weights(torch.tensor(histories), direct), wanted, atol=1e-6)
    normalised = sybilwall_weights(torch.tensor(histories), direct)
    np.testing.assert_allclose(normalised, np.array([*wanted, 1.0]) / (sum(wanted) + 1), atol=1e-6)
    assert normalised.sum() == pytest.approx(1)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 4), st.sampled_from([1.0, 3.0, 100.0, 1e-3]))
def test_identical_sybils_weigh_no_more_than_one(seed: int, copies: int, honest: int, scale: float) -> None:
    own, *others = rows(seed, honest + 2, shared=0.2)
    sybils = np.stack([others[0] * scale**k if k else others[0] for k in range(copies)]).astype(np.float32)
    for name in ("foolsgold", "sybilwall"):
        alone = build_rule(name).decide(evidence(own, np.stack(others))).weights[0]
        together = build_rule(name).decide(evidence(own, np.concatenate([sybils, others[1:]]))).weights[:copies]
        assert together.sum() <= max(alone, 1e-6)


def test_neighbours_that_are_all_alike_leave_the_own_model_alone() -> None:
    row = rows(1, 1)[0]
    view = evidence(rows(2, 1)[0], np.stack([row, row, row]))
    decision = build_rule("sybilwall").decide(view)
    assert torch.equal(decision.params, view.table.values[0])
    assert decision.weights.tolist() == [0, 0, 0]
    assert decision.verdicts.tolist() == [Verdict.SIMILAR] * 3


def test_rounding_noise_between_copies_is_no_weight() -> None:
    gaps = torch.full((3, 3), 4e-10, dtype=torch.float64).fill_diagonal_(0)
    assert weights_from_gaps(gaps, 3).tolist() == [0, 0, 0]


def test_rows_without_a_direction_get_nothing_and_change_nothing() -> None:
    base = rows(3, 4)
    wanted = similarity_weights(torch.tensor(base))
    bad = np.stack([np.zeros(12), np.full(12, np.nan), np.where(np.arange(12) == 3, np.inf, base[0])]).astype(
        np.float32
    )
    got = similarity_weights(torch.tensor(np.concatenate([base, bad])))
    assert torch.equal(got[:4], wanted)
    assert got[4:].tolist() == [0, 0, 0]
    decision = build_rule("sybilwall").decide(evidence(base[0], np.concatenate([base, bad])))
    assert decision.verdicts[4:].tolist() == [Verdict.UNPROVEN, Verdict.NOT_FINITE, Verdict.NOT_FINITE]
    assert torch.isfinite(decision.params).all()


def test_one_neighbour_gets_full_weight_and_none_leaves_the_own_model() -> None:
    own, other = rows(4, 2)
    assert sybilwall_weights(torch.tensor(other[None]), 1).tolist() == [0.5, 0.5]
    assert sybilwall_weights(torch.empty(0, 12), 0).tolist() == [1.0]
    view = evidence(own, np.empty((0, 12), dtype=np.float32), other[None])
    assert torch.equal(build_rule("sybilwall").decide(view).params, view.table.values[0])


def test_a_relayed_copy_takes_the_weight_of_a_neighbour_but_is_never_averaged_in() -> None:
    own, a, b, c = rows(5, 4, shared=0.0)
    without = build_rule("sybilwall").decide(evidence(own, np.stack([a, b, c])))
    assert (without.weights > 0.5).all()
    framed = build_rule("sybilwall").decide(evidence(own, np.stack([a, b, c]), a[None]))
    assert framed.weights[0] == 0
    wanted = oracles.mean([own.astype(float), b.astype(float), c.astype(float)], [1.0, *framed.weights[1:].tolist()])
    np.testing.assert_allclose(framed.params, wanted, atol=1e-5)


def test_foolsgold_ignores_relayed_rows_and_weighs_the_own_model_like_any_other() -> None:
    own, a, b = rows(6, 3, shared=0.0)
    plain = build_rule("foolsgold").decide(evidence(own, np.stack([a, b])))
    relayed = build_rule("foolsgold").decide(evidence(own, np.stack([a, b]), a[None]))
    assert torch.equal(plain.params, relayed.params)
    raw = oracles.similarity_weights([x.astype(float) for x in (a, b, own)], 3)
    wanted = oracles.mean([x.astype(float) for x in (a, b, own)], raw)
    np.testing.assert_allclose(plain.params, wanted, atol=1e-5)
    copied = build_rule("foolsgold").decide(evidence(own, np.stack([own, b])))
    np.testing.assert_array_equal(copied.params, b)


def test_histories_less_the_common_start_are_compared_by_update() -> None:
    start, own, a, b = rows(7, 4, shared=8.0)
    rule = build_rule("sybilwall", histories="update")
    assert rule.needs == {Need.RELAYS}
    decision = rule.decide(evidence(own, np.stack([a, b, start]), initial=start))
    wanted = oracles.similarity_weights([x.astype(float) - start.astype(float) for x in (a, b)], 2)
    np.testing.assert_allclose(decision.weights, [*wanted, 0], atol=1e-5)
    assert decision.verdicts[2] == Verdict.UNPROVEN


def test_what_histories_may_be_is_said() -> None:
    with pytest.raises(RuleError, match="histories must be one of model, update"):
        build_rule("sybilwall", histories="gradient")
    own, a = rows(8, 2)
    with pytest.raises(RuleError, match="initial model"):
        build_rule("sybilwall", histories="update").decide(evidence(own, a[None]))
