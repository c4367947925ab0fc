"""Which neighbours Bristle looks at."""

from __future__ import annotations

import json
from pathlib import Path

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.parts.prioritizer import drawn
from aggregation.rules.bristle import buckets, quotas

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "bristle.json").read_text())


def test_quotas_are_the_recorded_ones() -> None:
    for case in GOLDEN["quotas"]:
        assert list(quotas(case["alpha"], case["k"])) == case["exact"]


def test_buckets_are_the_recorded_ones() -> None:
    for case in GOLDEN["buckets"]:
        assert [list(third) for third in buckets(case["distances"], case["ids"])] == case["buckets"]


@given(st.floats(0, 1), st.integers(0, 50))
def test_quotas_sum_to_what_is_asked(alpha: float, k: int) -> None:
    assert sum(quotas(alpha, k)) == k
    assert min(quotas(alpha, k)) >= 0


@settings(max_examples=150)
@given(st.data(), st.integers(0, 14), st.integers(1, 12), st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.75, 1.0]))
def test_the_draw_follows_the_naive_loop(data: st.DataObject, count: int, k: int, alpha: float) -> None:
    small = st.lists(st.integers(0, 6), min_size=count, max_size=count)
    distances, urgency = data.draw(small), data.draw(small)
    eligible = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    chosen = drawn(
        torch.tensor(distances, dtype=torch.float64),
        torch.tensor(eligible, dtype=torch.bool),
        torch.tensor(urgency),
        alpha,
        k,
    )
    line = [place for place in range(count) if eligible[place]]
    wanted = oracles.drawn([distances[p] for p in line], [urgency[p] for p in line], alpha, k)
    assert set(torch.nonzero(chosen).flatten().tolist()) == {line[p] for p in wanted}
    assert int(chosen.sum()) == min(k, len(line))


def test_without_priorities_the_lower_ids_are_drawn() -> None:
    chosen = drawn(torch.arange(9.0), torch.ones(9, dtype=torch.bool), None, 0.5, 4)
    assert torch.nonzero(chosen).flatten().tolist() == [0, 3, 4, 6]


@pytest.mark.parametrize(("alpha", "k"), [(-0.1, 1), (1.1, 1), (0.5, -1)])
def test_quotas_out_of_range_are_refused(alpha: float, k: int) -> None:
    with pytest.raises(ValueError, match="alpha must be in"):
        quotas(alpha, k)
