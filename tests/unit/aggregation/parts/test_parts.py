"""The parts of the further rules, each by its defining property or a naive loop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import oracles_defence as naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from neighbours import many_nodes, one_node

from aggregation.errors import RuleError
from aggregation.evidence import Verdict
from aggregation.parts.clipping import adaptive_bound, breakdown_bound, lower_median, median_bound, shrink
from aggregation.parts.clusters import nearest_first, one_vote
from aggregation.parts.mixing import nearest_shares
from aggregation.parts.neighbourhood import column_blocks, difference_products, neighbourhood
from aggregation.parts.views import centred_cosines, read_views
from aggregation.parts.winsorised import sorted_sum, trim_shares, winsor_bound, winsor_shares, winsorised_mean
from aggregation.rules.bulyan import around_median, bulyan_faults
from aggregation.rules.flag import flag_coefficients
from aggregation.rules.geometric_median import weiszfeld


def test_neighbourhood_gives_distances_and_products_of_differences() -> None:
    evidence = many_nodes(5, 6, seed=1)
    around = neighbourhood(evidence)
    values = evidence.table.values.double()
    for node in range(5):
        rows = values[around.index[node]]
        assert torch.isfinite(rows).all()
        apart = torch.where(around.present[node, :, None], rows - rows[0], 0.0)
        torch.testing.assert_close(around.lengths[node], apart[1:].norm(dim=1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(around.products()[node], apart[1:] @ apart[1:].T, atol=1e-4, rtol=1e-5)
    assert around.count.tolist() == (evidence.present().sum(dim=1) + 1).tolist()


@pytest.mark.parametrize("far", [1.1e18, 1e30, 3e38])
def test_row_out_of_reach_counts_as_not_finite(far: float) -> None:
    around = neighbourhood(one_node(np.zeros(2), [np.array([far, 0]), np.ones(2)]))
    assert around.heard.tolist() == [False, True]
    assert around.verdicts.tolist() == [int(Verdict.NOT_FINITE), int(Verdict.TAKEN)]


@given(dimension=st.integers(0, 1000), rows=st.sampled_from([1, 1 << 14, 1 << 16, 1 << 30]))
def test_blocks_cover_every_column_once(dimension: int, rows: int) -> None:
    covered = list(itertools.chain.from_iterable(range(dimension)[block] for block in column_blocks(dimension, rows)))
    assert covered == list(range(dimension))


def test_difference_products_equal_the_direct_product_in_any_blocks() -> None:
    values = torch.randn(9, 300, generator=torch.Generator().manual_seed(0)) + 50
    index, anchor = torch.tensor([[1, 2, 3], [4, 4, 8]]), torch.tensor([0, 5])
    scale = torch.rand(2, 300, generator=torch.Generator().manual_seed(1))
    apart = (values[index] - values[anchor].unsqueeze(1)).double()
    torch.testing.assert_close(difference_products(values, index, anchor), apart @ apart.mT, atol=1e-3, rtol=1e-5)
    scaled = apart * scale.unsqueeze(1)
    found = difference_products(values, index.repeat(9000, 1), anchor.repeat(9000), scale.repeat(9000, 1))[-2:]
    torch.testing.assert_close(found, scaled @ scaled.mT, atol=1e-3, rtol=1e-5)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=9), st.floats(0, 1e6))
def test_clipped_length_is_at_most_the_bound(entries: list[tuple[float, bool]], bound: float) -> None:
    lengths = torch.tensor([length for length, _ in entries], dtype=torch.float64)
    present = torch.tensor([here for _, here in entries], dtype=torch.bool)
    factors = shrink(lengths, torch.tensor([bound], dtype=torch.float64))
    assert (lengths * factors <= bound * (1 + 1e-12) + 1e-300).all()
    assert (factors[lengths <= bound] == 1).all()
    here = [length for length, is_here in entries if is_here]
    assert lower_median(lengths, present).item() == (naive.lower_median(here) if here else 0)


def test_bounds_of_a_neighbourhood() -> None:
    rows = [np.array([float(k), 0]) for k in range(1, 10)]
    around = neighbourhood(one_node(np.zeros(2), rows))
    assert median_bound(around, 2.0).item() == pytest.approx(10)
    assert median_bound(around, 0.0).item() == math.inf
    assert breakdown_bound(around, 0.2).item() == pytest.approx(5)  # own and 1 .. 5 hold .6 of the weight
    assert adaptive_bound(around, 0.2).item() == pytest.approx(math.sqrt(0.1 * 140 / 0.2))  # own and 1 .. 7 hold .8


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 12), trim=st.sampled_from([0.1, 0.2, 0.34, 0.49]))
def test_winsorised_and_trimmed_means_equal_the_naive_loop(seed: int, rows: int, trim: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(3, rows, 4)).round(1)
    present = rng.random((3, rows)) < 0.8
    values[~present] = np.nan
    count = torch.tensor(present.sum(axis=1))
    bound = winsor_bound(count, trim)
    found = winsorised_mean(torch.tensor(values), torch.tensor(present), bound)
    for node in range(3):
        m = int(count[node])
        for c in range(4):
            column = values[node, present[node], c].tolist()
            wanted = naive.winsorised(column, naive.winsor_bound(m, trim)) if m else 0
            assert found[node, c] == pytest.approx(wanted, abs=1e-12)
            cut = min(2, max(0, (m - 1) // 2))
            lanes = [torch.tensor([v if v == v else 1e300], dtype=torch.float64) for v in values[node, :, c]]
            shares = trim_shares(torch.tensor(m), torch.tensor(cut), rows)
            inner = sorted(column)[cut : m - cut]
            assert sorted_sum(lanes, shares).item() == pytest.approx(sum(inner) / len(inner) if m else 0, abs=1e-12)


@given(count=st.integers(0, 60), trim=st.sampled_from([0.01, 0.2, 0.34, 0.49]))
def test_winsor_bound_leaves_a_middle(count: int, trim: float) -> None:
    bound = int(winsor_bound(torch.tensor(count), trim))
    assert bound == max(0, naive.winsor_bound(count, trim))
    assert 2 * bound < max(count, 1)
    assert int(winsor_bound(torch.tensor(count), 0)) == 0
    if count:
        assert winsor_shares(torch.tensor(count), torch.tensor(bound), 60).sum().item() == pytest.approx(1)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 8), threshold=st.sampled_from([-0.5, 0.0, 0.5, 0.9]))
def test_one_cluster_one_vote_equals_the_greedy_loop(seed: int, n: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    half = rng.uniform(-1, 1, size=(4, n, n))
    similarity = torch.tensor(half + half.transpose(0, 2, 1)) / 2
    present, before = torch.tensor(rng.random((4, n)) < 0.8), torch.tensor(rng.random((4, n)) < 0.3)
    lengths = torch.tensor(rng.random((4, n)))
    kept = one_vote(similarity, nearest_first(lengths, present, before), present, threshold)
    for node in range(4):
        line = sorted(range(n), key=lambda k: (not before[node, k], float(lengths[node, k])))
        wanted: list[int] = []
        for j in line:
            if present[node, j] and all(similarity[node, j, k] <= threshold for k in wanted):
                wanted.append(j)
        assert kept[node].nonzero().squeeze(1).tolist() == sorted(wanted)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 7), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_centred_cosines_equal_the_naive_loop(seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    rows = [scale * rng.normal(size=6) for _ in range(n)]
    stacked = torch.tensor(np.stack([*rows, np.zeros(6)]))
    present = torch.tensor([True] * n + [False])
    found = centred_cosines(stacked @ stacked.T, present)
    wanted = torch.tensor(naive.cosines(rows), dtype=torch.float64)
    torch.testing.assert_close(found[:n, :n], wanted, atol=1e-7, rtol=1e-6)
    assert (found[n] == 0).all()
    assert (found[:, n] == 0).all()


def test_rows_that_cannot_be_judged_leave_the_others_as_they_are() -> None:
    rows = torch.tensor(np.random.default_rng(0).normal(size=(4, 6)))
    products = rows @ rows.T
    products[3], products[:, 3] = torch.nan, torch.nan
    found = centred_cosines(products, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(found[:3, :3], centred_cosines(products[:3, :3], torch.ones(3, dtype=torch.bool)))
    assert (found[3] == 0).all()


def test_views_are_read_from_a_word_list() -> None:
    assert read_views("parameters, function") == ("parameters", "function")
    assert read_views(["activity"]) == ("activity",)
    assert read_views("") == ()
    with pytest.raises(RuleError, match="did you mean 'function'"):
        read_views("functions")


@given(seed=st.integers(0, 10_000), m=st.integers(1, 8))
def test_weiszfeld_weights_are_convex(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    rows = torch.tensor(rng.normal(size=(m + 1, 5)) * 10.0 ** rng.integers(-3, 9, size=(m + 1, 1)))
    present = torch.tensor([True] * m + [False])
    weights = weiszfeld(torch.cdist(rows, rows).square(), present, 8, 0.1)
    assert (weights >= 0).all()
    assert weights.sum().item() == pytest.approx(1)
    assert weights[m] == 0


@given(seed=st.integers(0, 10_000), m=st.integers(1, 8), f=st.integers(0, 3))
def test_nearest_shares_average_over_the_nearest(seed: int, m: int, f: int) -> None:
    rows = torch.tensor(np.random.default_rng(seed).normal(size=(m + 1, 3)))
    present = torch.tensor([True] * m + [False])
    f = min(f, m - 1)
    shares = nearest_shares(torch.cdist(rows, rows).square(), present, torch.tensor(f))
    assert shares[:m].sum(dim=1).tolist() == pytest.approx([1] * m)
    assert (shares[m] == 0).all()
    assert (shares[:, m] == 0).all()
    assert (torch.diagonal(shares)[:m] > 0).all()
    assert ((shares > 0).sum(dim=1)[:m] == m - f).all()


def test_bulyan_bears_as_many_faults_as_its_rows_allow() -> None:
    assert bulyan_faults(torch.tensor([1, 3, 6, 7, 10, 11, 40]), 2).tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_around_median_takes_the_nearest_values() -> None:
    def lanes() -> list[torch.Tensor]:
        return [torch.tensor([v, -v]) for v in (10.0, 1.0, 0.0, 2.0)]

    assert around_median(lanes(), 2).tolist() == [1.5, -1.5]
    assert around_median(lanes(), 3).tolist() == [1.0, -1.0]
    assert around_median(lanes(), 4).tolist() == [3.25, -3.25]


def test_flag_of_orthogonal_rows_is_finite_and_of_nothing_is_zero() -> None:
    assert torch.isfinite(flag_coefficients(torch.eye(5, dtype=torch.float64), torch.ones(5) > 0, 10)).all()
    nothing = flag_coefficients(torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3) > 0, 10)
    assert nothing.tolist() == [0, 0, 0]
