"""Every further rule against a naive loop, and the properties that all of them share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import oracles_defence as naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from neighbours import DIMENSION, LinearProbe, alone_of, linear_views, many_nodes, one_node, probes

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Rule, Verdict
from aggregation.registry import build_rule
from aggregation.rules.alone import alone, oracle_mean
from aggregation.rules.balance import balance
from aggregation.rules.bulyan import bulyan
from aggregation.rules.flag import flag
from aggregation.rules.fltrust import fltrust
from aggregation.rules.geometric_median import geometric_median
from aggregation.rules.hedgerow import hedgerow
from aggregation.rules.nnm import nnm_trimmed_mean
from aggregation.rules.self_centred_clipping import cs_plus, scc
from aggregation.rules.ubar import ubar

NAMES = (
    "alone",
    "oracle-mean",
    "geometric-median",
    "bulyan",
    "nnm-trimmed-mean",
    "scc",
    "cs-plus",
    "balance",
    "ubar",
    "fltrust",
    "flag",
    "hedgerow",
    "hedgerow-known",
)
RULES = {name: build_rule(name) for name in NAMES}
CONVEX = [name for name in NAMES if name not in {"fltrust", "flag"}]

Oracle = Callable[[Evidence, np.ndarray, list[np.ndarray]], np.ndarray]


def _start(single: Evidence) -> np.ndarray:
    assert single.start is not None
    return single.table.values[single.start].double().numpy()


def _loss(single: Evidence) -> Callable[[np.ndarray], float]:
    probe = single.probe
    assert isinstance(probe, LinearProbe)
    return lambda x: float(probe.loss(torch.tensor(x, dtype=torch.float32).unsqueeze(0)))


ORACLES: dict[str, tuple[Rule, Oracle]] = {
    "alone": (alone(), lambda e, own, heard: own),
    "geometric-median": (geometric_median(), lambda e, own, heard: naive.geometric_median(own, heard, 8, 0.1)),
    "geometric-median, wide": (
        geometric_median(3, 2.0),
        lambda e, own, heard: naive.geometric_median(own, heard, 3, 2.0),
    ),
    "bulyan": (bulyan(), lambda e, own, heard: naive.bulyan(own, heard, 1)),
    "bulyan, 2": (bulyan(2), lambda e, own, heard: naive.bulyan(own, heard, 2)),
    "nnm": (nnm_trimmed_mean(), lambda e, own, heard: naive.nnm_trimmed_mean(own, heard, 1)),
    "nnm, 2": (nnm_trimmed_mean(2), lambda e, own, heard: naive.nnm_trimmed_mean(own, heard, 2)),
    "scc": (scc(), lambda e, own, heard: naive.scc(own, heard, 0.2)),
    "scc, .4": (scc(0.4), lambda e, own, heard: naive.scc(own, heard, 0.4)),
    "cs-plus": (cs_plus(), lambda e, own, heard: naive.cs_plus(own, heard, 0.2)),
    "cs-plus, .35": (cs_plus(0.35), lambda e, own, heard: naive.cs_plus(own, heard, 0.35)),
    "balance": (balance(1.5), lambda e, own, heard: naive.balance(own, heard, 1.5, 1.0, 0.5, 0.3)),
    "ubar": (ubar(), lambda e, own, heard: naive.ubar(own, heard, 0.4, 0.5, _loss(e))),
    "ubar, all": (ubar(1.0, 0.2), lambda e, own, heard: naive.ubar(own, heard, 1.0, 0.2, _loss(e))),
    "fltrust": (fltrust(), lambda e, own, heard: naive.fltrust(own, heard, _start(e))),
    "flag": (flag(), lambda e, own, heard: naive.flag(own, heard, _start(e), 10) if heard else own),
    "hedgerow": (hedgerow(), lambda e, own, heard: naive.hedgerow(own, heard, linear_views(e))[0]),
    "hedgerow, hard": (
        hedgerow(1.0, "parameters", 0.3, 0.34),
        lambda e, own, heard: naive.hedgerow(own, heard, linear_views(e)[:1], 1.0, 0.3, 0.34)[0],
    ),
    "hedgerow, not mixed": (
        hedgerow(mixing=False),
        lambda e, own, heard: naive.hedgerow(own, heard, linear_views(e), mixing=False)[0],
    ),
    "hedgerow, winsorised": (
        hedgerow(slack=0),
        lambda e, own, heard: naive.hedgerow(own, heard, linear_views(e), slack=0)[0],
    ),
    "hedgerow, wide": (
        hedgerow(trim=0.34, slack=2.5),
        lambda e, own, heard: naive.hedgerow(own, heard, linear_views(e), trim=0.34, slack=2.5)[0],
    ),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(("width", "seed"), [(0, 1), (1, 2), (2, 3), (4, 4), (9, 5), (13, 6)])
def test_rule_equals_naive_loop(name: str, width: int, seed: int) -> None:
    rule, oracle = ORACLES[name]
    evidence = many_nodes(8, width, seed)
    decision = rule.decide(evidence)
    for node in range(8):
        own, rows, single = alone_of(evidence, node)
        wanted = oracle(single, own, naive.usable(own, rows))
        np.testing.assert_allclose(decision.params[node].double().numpy(), wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_batch_equals_loop(name: str) -> None:
    evidence = many_nodes(7, 8, seed=11)
    decision = RULES[name].decide(evidence)
    for node in range(7):
        _, _, single = alone_of(evidence, node)
        by_itself = RULES[name].decide(single)
        torch.testing.assert_close(decision.params[node], by_itself.params, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(decision.weights[node], by_itself.weights, atol=1e-5, rtol=1e-5, check_dtype=False)
        assert decision.verdicts[node].tolist() == by_itself.verdicts.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_two_leading_dimensions_equal_one(name: str) -> None:
    flat = many_nodes(6, 5, seed=3)
    probe = flat.probe
    assert isinstance(probe, LinearProbe)
    assert flat.start is not None
    assert flat.honest is not None
    square = replace(
        flat,
        own=flat.own.reshape(2, 3),
        neighbours=flat.neighbours.reshape(2, 3, 5),
        relayed=flat.relayed.reshape(2, 3, 0),
        start=flat.start.reshape(2, 3),
        honest=flat.honest.reshape(2, 3, 5),
        probe=LinearProbe(probe.inputs.unflatten(0, (2, 3)), probe.labels.unflatten(0, (2, 3))),
    )
    torch.testing.assert_close(
        RULES[name].decide(square).params.reshape(6, DIMENSION), RULES[name].decide(flat).params, atol=1e-6, rtol=1e-6
    )


@given(
    seed=st.integers(0, 10_000),
    width=st.integers(0, 9),
    name=st.sampled_from(NAMES),
    spread=st.sampled_from([0.01, 1, 1e4]),
)
def test_order_of_neighbours_does_not_matter(seed: int, width: int, name: str, spread: float) -> None:
    evidence = many_nodes(3, width, seed, spread=spread)
    assert evidence.honest is not None
    order = torch.tensor(np.random.default_rng(seed).permutation(width), dtype=torch.int64)
    turned = replace(evidence, neighbours=evidence.neighbours[:, order], honest=evidence.honest[:, order])
    first, second = RULES[name].decide(evidence), RULES[name].decide(turned)
    torch.testing.assert_close(first.params, second.params, atol=1e-5 * max(1, spread), rtol=1e-5)
    torch.testing.assert_close(first.weights[:, order], second.weights, atol=1e-6, rtol=1e-5)
    assert first.verdicts[:, order].tolist() == second.verdicts.tolist()


@given(seed=st.integers(0, 10_000), width=st.integers(0, 9), name=st.sampled_from(NAMES))
def test_result_is_finite_and_unusable_rows_have_no_effect(seed: int, width: int, name: str) -> None:
    evidence = many_nodes(3, width, seed, bad=0.3)
    decision = RULES[name].decide(evidence)
    assert torch.isfinite(decision.params).all()
    assert torch.isfinite(decision.weights).all()
    assert decision.params.dtype == decision.weights.dtype == torch.float32
    assert ((decision.weights >= 0) & (decision.weights <= 1)).all()
    unusable = ~evidence.present()
    assert (decision.weights[unusable] == 0).all()
    blank = replace(evidence, neighbours=torch.where(unusable, -1, evidence.neighbours))
    assert torch.equal(RULES[name].decide(blank).params, decision.params)
    gone = evidence.neighbours < 0
    assert (decision.verdicts[gone] == int(Verdict.ABSENT)).all()
    assert (decision.verdicts[unusable & ~gone] == int(Verdict.NOT_FINITE)).all()


@given(seed=st.integers(0, 10_000), width=st.integers(0, 9), name=st.sampled_from(CONVEX))
def test_result_lies_within_the_range_of_usable_rows(seed: int, width: int, name: str) -> None:
    evidence = many_nodes(3, width, seed)
    decision = RULES[name].decide(evidence)
    for node in range(3):
        own, rows, _ = alone_of(evidence, node)
        heard = np.stack([own, *naive.usable(own, rows)])
        result = decision.params[node].numpy()
        assert (result >= heard.min(axis=0) - 1e-4).all()
        assert (result <= heard.max(axis=0) + 1e-4).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "neighbours", [[], [None], [None, None], [np.full(DIMENSION, np.nan)]], ids=["none", "absent", "two absent", "NaN"]
)
def test_without_neighbours_the_own_model_comes_back_bit_by_bit(name: str, neighbours: list[np.ndarray | None]) -> None:
    own = np.random.default_rng(0).normal(size=DIMENSION)
    evidence = one_node(own, neighbours, start=own - 0.1, probe=probes((), 0), honest=torch.ones(len(neighbours)) > 0)
    decision = RULES[name].decide(evidence)
    assert torch.equal(decision.params, evidence.table.values[0])
    assert decision.weights.shape == (len(neighbours),)


@pytest.mark.parametrize(
    "name", ["geometric-median", "bulyan", "nnm-trimmed-mean", "scc", "cs-plus", "hedgerow", "oracle-mean"]
)
def test_one_neighbour_is_met_halfway(name: str) -> None:
    rng = np.random.default_rng(1)
    own, other = rng.normal(size=DIMENSION), rng.normal(size=DIMENSION)
    evidence = one_node(own, [other], probe=probes((), 1), honest=torch.tensor([True]))
    torch.testing.assert_close(
        RULES[name].decide(evidence).params.double(), torch.tensor((own + other) / 2), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1e12, 1e20, 3e38])
def test_one_huge_row_does_not_break_the_result(name: str, size: float) -> None:
    rng = np.random.default_rng(2)
    own = rng.normal(size=DIMENSION)
    rows: list[np.ndarray | None] = [own + rng.normal(size=DIMENSION) for _ in range(6)]
    rows.append(size * np.sign(rng.normal(size=DIMENSION)))
    evidence = one_node(own, rows, start=own - 0.1, probe=probes((), 2), honest=torch.tensor([True] * 6 + [False]))
    decision = RULES[name].decide(evidence)
    assert torch.isfinite(decision.params).all()
    if name != "flag":
        assert decision.params.abs().max() < 20
    if size > 1e18 and name != "alone":
        assert decision.verdicts[-1] == int(Verdict.NOT_FINITE) or decision.weights[-1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_equal_stay_where_they_are(name: str) -> None:
    own = np.random.default_rng(3).normal(size=DIMENSION)
    evidence = one_node(own, [own] * 5, start=own, probe=probes((), 3), honest=torch.ones(5) > 0)
    decision = RULES[name].decide(evidence)
    torch.testing.assert_close(decision.params, evidence.table.values[0], atol=1e-6, rtol=1e-6)


def test_oracle_mean_is_the_mean_of_honest_rows() -> None:
    own, good, bad = np.zeros(3), np.full(3, 3.0), np.full(3, 90.0)
    evidence = one_node(own, [good, bad], honest=torch.tensor([True, False]))
    decision = oracle_mean().decide(evidence)
    assert decision.params.tolist() == [1.5, 1.5, 1.5]
    assert decision.verdicts.tolist() == [int(Verdict.TAKEN), int(Verdict.HARMFUL)]


def test_alone_hears_nobody() -> None:
    decision = alone().decide(one_node(np.ones(2), [np.zeros(2), None]))
    assert decision.params.tolist() == [1, 1]
    assert decision.verdicts.tolist() == [int(Verdict.UNHEARD), int(Verdict.ABSENT)]


@pytest.mark.parametrize("rule", [oracle_mean(), ubar(), fltrust(), flag(), hedgerow()], ids=lambda rule: rule.name)
def test_missing_evidence_is_named(rule: Rule) -> None:
    with pytest.raises(RuleError):
        rule.decide(one_node(np.zeros(DIMENSION), [np.ones(DIMENSION)]))


@pytest.mark.parametrize(
    ("build", "parameter", "value"),
    [
        (scc, "bad", 0.0),
        (cs_plus, "bad", 0.5),
        (balance, "gamma", 0.0),
        (balance, "alpha", 2.0),
        (ubar, "rho", 0.0),
        (ubar, "alpha", -1.0),
        (bulyan, "f", -1),
        (nnm_trimmed_mean, "f", -1),
        (geometric_median, "steps", -1),
        (geometric_median, "smoothing", 0.0),
        (flag, "steps", -1),
        (hedgerow, "clip", -1.0),
        (hedgerow, "trim", 0.5),
        (hedgerow, "threshold", 2.0),
        (hedgerow, "views", "parameters,funktion"),
    ],
)
def test_parameters_out_of_range_are_refused(build: Callable[..., Rule], parameter: str, value: object) -> None:
    with pytest.raises(RuleError):
        build(**{parameter: value})


def test_balance_in_an_open_ended_run_does_not_shrink_its_ball() -> None:
    own = np.array([1.0, 0.0])
    evidence = one_node(own, [np.array([1.25, 0.0])], round=1000)
    assert balance().decide(evidence).params.tolist() == [1.125, 0.0]
    assert balance().decide(replace(evidence, rounds=1000)).params.tolist() == [1.0, 0.0]


def test_ubar_does_not_accept_a_loss_that_is_not_a_number() -> None:
    probe = LinearProbe(torch.full((2, 1), 1e30), torch.zeros(2, dtype=torch.int64))
    evidence = one_node(np.zeros(3), [np.array([1e10, 0, 0])], probe=probe)
    decision = ubar(1.0).decide(evidence)
    assert decision.params.tolist() == [0, 0, 0]
    assert decision.verdicts.tolist() == [int(Verdict.HARMFUL)]


def test_geometric_median_minimises_the_sum_of_distances() -> None:
    rng = np.random.default_rng(5)
    own, rows = rng.normal(size=5), list(rng.normal(size=(8, 5)))
    found = geometric_median(200, 1e-6).decide(one_node(own, rows)).params.double().numpy()

    def total(z: np.ndarray) -> float:
        return sum(float(np.linalg.norm(z - x)) for x in [own, *rows])

    for _ in range(50):
        assert total(found) <= total(found + 0.05 * rng.normal(size=5)) + 1e-6


@pytest.mark.parametrize(
    "rule",
    [geometric_median(), bulyan(), nnm_trimmed_mean(), scc(), cs_plus(), hedgerow(views="")],
    ids=lambda rule: rule.name,
)
def test_a_lone_outlier_moves_the_result_no_farther_than_the_rest_are_spread(rule: Rule) -> None:
    rng = np.random.default_rng(6)
    rows: list[np.ndarray | None] = [0.1 * rng.normal(size=6) for _ in range(7)]
    decision = rule.decide(one_node(np.zeros(6), [*rows, np.full(6, 1e6)]))
    assert decision.params.norm() < 0.5


def test_fltrust_ignores_updates_against_its_own() -> None:
    start, own = np.zeros(2), np.array([1.0, 0.0])
    decision = fltrust().decide(one_node(own, [np.array([-5.0, 0.0]), np.array([7.0, 0.0])], start=start))
    torch.testing.assert_close(decision.params, torch.tensor([1.0, 0.0]))
    assert decision.weights.tolist() == [0.0, 1.0]
    assert decision.verdicts.tolist() == [int(Verdict.HARMFUL), int(Verdict.TAKEN)]


def test_flag_drops_the_direction_that_few_share() -> None:
    rng = np.random.default_rng(7)
    shared = rng.normal(size=20)
    rows = [shared + 0.05 * rng.normal(size=20) for _ in range(8)]
    odd = np.zeros(20)
    odd[0] = 100.0
    result = flag().decide(one_node(shared, [*rows, odd], start=np.zeros(20))).params.double().numpy()
    cosine = result @ shared / np.linalg.norm(result) / np.linalg.norm(shared)
    assert cosine > 0.98
    assert math.isclose(np.linalg.norm(result), np.linalg.norm(shared), rel_tol=0.15)
