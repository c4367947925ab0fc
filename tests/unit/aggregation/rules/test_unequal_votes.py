"""Unequal sites: nine hospitals that know each other, with from .6 % to half of the data as their votes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from neighbours import one_node

from aggregation.evidence import Decision, Evidence, Rule
from aggregation.rules.hedgerow_known import hedgerow_known

SHARES = np.array([0.6, 1, 2, 4, 6, 8, 10, 16.7, 51.7])
SIZE = 400


def steps(seed: int, like: float = 0.5) -> np.ndarray:
    """Nine steps from one model, partly the same way: a site that holds more takes no longer one."""
    rng = np.random.default_rng(seed)
    return like * rng.normal(size=SIZE) + (1 - like) * rng.normal(size=(9, SIZE))


def around(me: int, rows: np.ndarray, votes: np.ndarray = SHARES) -> Evidence:
    """What one site knows: its own row first, then the others'."""
    order = [me, *(k for k in range(9) if k != me)]
    own, *others = rows[order]
    known = torch.ones(8, dtype=torch.bool)
    return one_node(own, others, trusted=known, votes=torch.tensor(votes[order]))


def decided(rule: Rule, me: int, rows: np.ndarray) -> tuple[np.ndarray, Decision]:
    decision = rule.decide(around(me, rows))
    return decision.params.double().numpy(), decision


def far(a: np.ndarray, b: np.ndarray) -> float:
    """How far `a` is from `b`, over the length of `b`."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("like", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("me", [0, 4, 8], ids=["smallest", "middle", "largest"])
def test_in_peace_the_aggregate_is_near_the_mean_by_size(me: int, like: float, seed: int) -> None:
    rows = steps(seed, like)
    found, decision = decided(hedgerow_known(views="parameters"), me, rows)
    wanted = SHARES @ rows / SHARES.sum()
    assert far(found, wanted) < 0.05
    assert (decision.weights > 0).all()
    assert far(found, rows.mean(axis=0)) > 3 * far(found, wanted)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("me", [1, 4, 8])
@pytest.mark.parametrize("factor", [1000.0, -1000.0])
def test_the_smallest_site_moves_the_aggregate_little_with_a_thousand_times_its_step(
    factor: float, me: int, seed: int
) -> None:
    rule, rows = hedgerow_known(views="parameters"), steps(seed)
    before, _ = decided(rule, me, rows)
    rows[0] *= factor
    after, _ = decided(rule, me, rows)
    assert far(after, before) <= 0.05


@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_a_light_liar_that_copies_the_largest_site_does_not_take_its_vote(gain: float) -> None:
    rows = steps(3)
    rows[0] = rows[4] + 0.99 * (rows[8] - rows[4])  # at site 4 it is the nearer of the two
    _, decision = decided(hedgerow_known(views="parameters", gain=gain), 4, rows)
    assert decision.weights[[0, 7]].tolist() == pytest.approx([0.6 / 6, 51.7 / 6])


@pytest.mark.parametrize("me", range(9))
@pytest.mark.parametrize("longer", [3, 20, 100])
def test_the_step_of_a_site_with_half_of_the_data_may_be_longer_than_all_others(longer: float, me: int) -> None:
    rows = steps(4)
    rows[8] *= longer
    found, decision = decided(hedgerow_known(views="parameters"), me, rows)
    assert (decision.weights > 0).all()
    assert far(found, SHARES @ rows / SHARES.sum()) < 0.05


@pytest.mark.parametrize("seed", range(10))
def test_strangers_move_no_coordinate_beyond_what_known_sites_hold_by_weight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = steps(seed)
    strange = rows[:1] + 3 * rng.normal(size=(2, SIZE))
    order = [4, 0, 1, 2, 3, 5, 6, 7, 8]
    evidence = one_node(
        rows[4],
        [*rows[order[1:]], *strange],
        trusted=torch.tensor([True] * 8 + [False] * 2),
        votes=torch.tensor([*SHARES[order], 1e9, 1e9]),  # what somebody claims for a stranger is not read
    )
    decision = hedgerow_known(clip=0, views="", gain=0).decide(evidence)
    assert float(decision.weights[8:].max()) * SHARES[4] <= SHARES.mean() * (1 + 1e-6)
    values = decision.params.double().numpy()
    assert (values >= rows.min(axis=0) - 1e-5).all()
    assert (values <= rows.max(axis=0) + 1e-5).all()
