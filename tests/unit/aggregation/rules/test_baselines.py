"""Mean, median, trimmed mean, Krum and Multi-Krum against naive loops."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from held_out import network
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Table, Verdict, Weights
from aggregation.parts.integration import weighted_mean
from aggregation.registry import build_rule
from aggregation.rules.baselines import krum_scores

seeds = st.integers(0, 10**6)
widths = st.integers(0, 9)


def rows_of(evidence: Evidence, node: int) -> list[np.ndarray]:
    values = evidence.table.values.double().numpy()
    names = [int(evidence.own[node]), *evidence.neighbours[node].tolist()]
    return oracles.usable([values[name] if name >= 0 else None for name in names])


def view(*rows: list[float]) -> Evidence:
    return Evidence(
        table=Table(torch.tensor(rows, dtype=torch.float32)),
        own=torch.tensor(0),
        neighbours=torch.arange(1, len(rows)),
        relayed=torch.empty(0, dtype=torch.int64),
    )


@settings(max_examples=40)
@given(seeds, widths)
def test_mean_and_median_follow_the_naive_loop(seed: int, width: int) -> None:
    evidence = network(4, width, 0, seed, bad=0.3)
    mean, median = (build_rule(name).decide(evidence).params for name in ("mean", "median"))
    for node in range(4):
        rows = rows_of(evidence, node)
        np.testing.assert_allclose(mean[node], oracles.mean(rows, [1.0] * len(rows)), atol=1e-5)
        np.testing.assert_allclose(median[node], oracles.coordinate_median(rows), atol=1e-6)


@settings(max_examples=40)
@given(seeds, widths, st.integers(0, 4))
def test_trimmed_mean_follows_the_naive_loop(seed: int, width: int, f: int) -> None:
    evidence = network(4, width, 0, seed, bad=0.3)
    params = build_rule("trimmed-mean", f=f).decide(evidence).params
    for node in range(4):
        np.testing.assert_allclose(params[node], oracles.trimmed_mean(rows_of(evidence, node), f), atol=1e-5)


@settings(max_examples=40)
@given(seeds, widths, st.integers(0, 3), st.integers(0, 4))
def test_krum_and_multi_krum_follow_the_naive_loop(seed: int, width: int, f: int, m: int) -> None:
    evidence = network(4, width, 0, seed, bad=0.3)
    krum = build_rule("krum", f=f).decide(evidence).params
    several = build_rule("multi-krum", f=f, m=m).decide(evidence).params
    for node in range(4):
        rows = rows_of(evidence, node)
        np.testing.assert_array_equal(krum[node], oracles.multi_krum(rows, f, 1).astype(np.float32))
        np.testing.assert_allclose(several[node], oracles.multi_krum(rows, f, m), atol=1e-5)


def test_krum_scores_are_sums_of_the_smallest_distances_to_others() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 5))
    apart = torch.tensor(((rows[:, None] - rows[None]) ** 2).sum(axis=2))
    for f in range(6):
        scores = krum_scores(apart, torch.ones(7, dtype=torch.bool), f)
        np.testing.assert_allclose(scores, oracles.krum_scores(rows, f), atol=1e-9)
    some = krum_scores(apart, torch.tensor([True, False, False, False, False, False, False]), 1)
    assert some.tolist() == [0.0] + [torch.inf] * 6


def test_krum_breaks_a_tie_for_the_own_model_then_for_the_lower_peer() -> None:
    assert build_rule("krum").decide(view([1.0], [2.0])).params.tolist() == [1.0]
    decision = build_rule("krum").decide(view([9.0], [1.0], [2.0], [1.0], [2.0]))
    assert decision.params.tolist() == [1.0]
    assert decision.verdicts.tolist() == [Verdict.TAKEN, Verdict.FAR, Verdict.FAR, Verdict.FAR]
    assert decision.weights.tolist() == [1, 0, 0, 0]


def test_one_far_row_moves_the_mean_but_neither_median_nor_krum() -> None:
    rows = view([0.0], [1.0], [2.0], [1.0], [1e6])
    assert build_rule("mean").decide(rows).params.item() > 1e5
    for name in ("median", "trimmed-mean", "krum"):
        assert 0 <= build_rule(name).decide(rows).params.item() <= 2


def test_means_of_the_largest_numbers_do_not_overflow() -> None:
    rows = view([3e38], [3e38], [3e38], [3e38])
    for name in ("mean", "median", "trimmed-mean"):
        assert build_rule(name).decide(rows).params.item() == pytest.approx(3e38, rel=1e-6)


def test_a_row_of_weight_zero_is_never_read() -> None:
    evidence = view([1.0, 1.0], [torch.nan, torch.inf], [3.0, 5.0])
    weights = Weights(
        own=torch.tensor(1.0), neighbours=torch.tensor([0.0, 1.0]), verdicts=torch.zeros(2, dtype=torch.int8)
    )
    assert weighted_mean(evidence, weights).params.tolist() == [2.0, 3.0]


def test_no_weight_at_all_means_the_own_model() -> None:
    evidence = view([-0.0, 1.0], [2.0, 2.0])
    weights = Weights(own=torch.tensor(0.0), neighbours=torch.zeros(1), verdicts=torch.zeros(1, dtype=torch.int8))
    assert torch.equal(
        weighted_mean(evidence, weights).params.view(torch.int32), evidence.table.values[0].view(torch.int32)
    )


def test_only_rows_that_are_not_finite_leave_the_own_row_as_it_is() -> None:
    evidence = view([torch.nan], [torch.inf])
    for name in ("mean", "median", "krum"):
        assert build_rule(name).decide(evidence).params.isnan().all()


@pytest.mark.parametrize(
    ("name", "parameters"), [("krum", {"f": -1}), ("trimmed-mean", {"f": -1}), ("multi-krum", {"m": -1})]
)
def test_negative_counts_are_refused(name: str, parameters: dict[str, int]) -> None:
    with pytest.raises(RuleError, match="must be at least 0"):
        build_rule(name, **parameters)
