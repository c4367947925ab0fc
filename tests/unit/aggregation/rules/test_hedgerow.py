"""The rule `hedgerow`: its guarantee, and canaries that show what each of its parts is for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles_defence as naive
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from neighbours import CLASSES, LinearProbe, many_nodes, one_node, probes

from aggregation.evidence import Evidence, Need, Rule, Verdict, Weights
from aggregation.parts.mixing import held_near
from aggregation.parts.neighbourhood import neighbourhood
from aggregation.parts.winsorised import clipped_winsorised_mean, winsor_bound
from aggregation.registry import build_rule
from aggregation.rules.hedgerow import hedgerow, one_cluster_one_vote

FEATURES = 40  # more than a node has samples: there are directions in which its own inputs see nothing
WIDE = FEATURES * CLASSES


def wide_probe(seed: int, dead: int = 0) -> LinearProbe:
    probe = probes((), seed, FEATURES)
    probe.inputs[:, FEATURES - dead :] = 0
    return probe


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def honest_rows(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    return [unit(rng.normal(size=WIDE)) for _ in range(count)]


def pull(
    rule: Rule, honest: list[np.ndarray], sybils: list[np.ndarray], target: np.ndarray, probe: LinearProbe
) -> float:
    """How far the own model (at 0) is moved along the attack's direction."""
    decision = rule.decide(one_node(np.zeros(WIDE), [*honest, *sybils], probe=probe))
    return float(decision.params.double().numpy() @ unit(target))


@given(
    seed=st.integers(0, 10_000),
    good=st.integers(1, 9),
    bad=st.integers(0, 3),
    scale=st.sampled_from([1e-3, 1.0, 3.0, 1e3, 1e15]),
    kind=st.sampled_from(["noise", "shift", "clones", "copies"]),
)
def test_few_dishonest_votes_cannot_leave_the_honest_range(
    seed: int, good: int, bad: int, scale: float, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=WIDE)
    honest = [own + rng.normal(size=WIDE) for _ in range(good)]
    direction = rng.normal(size=WIDE)
    made = {
        "noise": lambda: own + scale * rng.normal(size=WIDE),
        "shift": lambda: own + scale * np.abs(direction),
        "clones": lambda: own + scale * direction,
        "copies": lambda: honest[0] + 1e-3 * scale * rng.normal(size=WIDE),
    }
    evidence = one_node(own, [*honest, *(made[kind]() for _ in range(bad))], probe=wide_probe(seed))
    decision = hedgerow().decide(evidence)
    kept = decision.weights > 0
    m = int(kept.sum()) + 1
    assume(m >= 3)
    assume(int(kept[good:].sum()) <= int(winsor_bound(torch.tensor(m), 0.2)))
    honest_kept = evidence.table.values[[0, *(1 + k for k in range(good) if kept[k])]]
    slack = 1e-5 * honest_kept.abs().max()
    assert (decision.params >= honest_kept.min(dim=0).values - slack).all()
    assert (decision.params <= honest_kept.max(dim=0).values + slack).all()


@given(
    seed=st.integers(0, 10_000),
    good=st.integers(0, 8),
    clones=st.integers(1, 9),
    far=st.sampled_from([0.01, 0.5, 1, 2, 1e6]),
)
def test_identical_sybils_share_one_vote(seed: int, good: int, clones: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    honest = honest_rows(rng, good)
    clone = far * unit(rng.normal(size=WIDE))
    decision = hedgerow().decide(one_node(np.zeros(WIDE), [*honest, *[clone] * clones], probe=wide_probe(seed)))
    assert int((decision.weights[good:] > 0).sum()) <= 1
    spare = decision.verdicts[good:][decision.weights[good:] == 0]
    assert (spare == int(Verdict.DUPLICATE)).all()


@pytest.mark.parametrize("clones", [2, 3, 5])
def test_identical_sybils_at_the_centre_of_the_neighbourhood_share_one_vote(clones: int) -> None:
    honest = honest_rows(np.random.default_rng(0), 6)
    centre = (
        sum(honest) / 7
    )  # so the mean over all rows, clones included, is where the clones are: they have no direction
    evidence = one_node(np.zeros(WIDE), [*honest, *[centre] * clones], probe=wide_probe(0))
    decision = hedgerow(clip=0).decide(evidence)
    assert int((decision.weights[6:] > 0).sum()) == 1


@given(seed=st.integers(0, 10_000), good=st.integers(1, 8), factor=st.sampled_from([0.5, 1.0, 2.0]))
def test_no_mean_of_clipped_rows_is_longer_than_the_clip(seed: int, good: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=WIDE) * 10 ** rng.uniform(-2, 4) for _ in range(good)]
    tau = factor * naive.lower_median([naive.norm(row) for row in rows])
    rule = hedgerow(clip=factor, views="", trim=0)
    decision = rule.decide(one_node(np.zeros(WIDE), rows))
    assert decision.params.double().norm() <= tau * good / (good + 1) * (1 + 1e-5)
    assert (decision.weights == 1).all()
    longer = [naive.norm(row) > tau * (1 + 1e-9) for row in rows]
    assert (decision.verdicts == int(Verdict.CLIPPED)).tolist() == longer


def test_canary_without_clipping_few_huge_rows_carry_the_model_away() -> None:
    rng = np.random.default_rng(1)
    honest, target = honest_rows(rng, 7), unit(rng.normal(size=WIDE))
    sybils = [300 * (target + unit(rng.normal(size=WIDE))) for _ in range(2)]
    assert pull(hedgerow(), honest, sybils, target, wide_probe(1)) < 0.5
    assert pull(hedgerow(clip=0), honest, sybils, target, wide_probe(1)) > 10


def test_canary_without_clusters_clones_outvote_honest_rows() -> None:
    rng = np.random.default_rng(2)
    honest, target = honest_rows(rng, 7), unit(rng.normal(size=WIDE))
    sybils = [target] * 7
    assert pull(hedgerow(), honest, sybils, target, wide_probe(2)) < 0.2
    assert pull(hedgerow(threshold=1), honest, sybils, target, wide_probe(2)) > 0.4


def test_from_far_behind_honest_rows_look_alike_and_share_a_vote() -> None:
    rng = np.random.default_rng(7)
    rows = honest_rows(rng, 2)
    ahead = 10 * unit(rng.normal(size=WIDE))  # a node that went back to an old model, or has just begun
    near, far = (
        hedgerow().decide(one_node(np.zeros(WIDE), [row + shift for row in rows], probe=wide_probe(7)))
        for shift in (np.zeros(WIDE), ahead)
    )
    assert sum(near.verdicts == int(Verdict.DUPLICATE)) == 0
    assert sum(far.verdicts == int(Verdict.DUPLICATE)) == 1


def test_canary_without_the_function_view_noise_that_own_inputs_do_not_see_hides_sybils() -> None:
    rng = np.random.default_rng(3)
    probe = wide_probe(3)
    honest, target = honest_rows(rng, 7), unit(rng.normal(size=WIDE))
    blind = np.linalg.svd(probe.inputs.double().numpy())[2][12:]  # directions of inputs that no own sample has
    noise = [unit((rng.normal(size=(CLASSES, len(blind))) @ blind).ravel()) for _ in range(7)]
    sybils = [target + 1.5 * q for q in noise]
    assert pull(hedgerow(), honest, sybils, target, probe) < 0.2
    assert pull(hedgerow(views="parameters,activity", mixing=False), honest, sybils, target, probe) > 0.4


def test_canary_without_the_activity_view_noise_on_dead_inputs_hides_sybils() -> None:
    rng = np.random.default_rng(4)
    probe = wide_probe(4, dead=20)
    alive = np.tile(np.arange(FEATURES) < 20, CLASSES)
    honest, target = honest_rows(rng, 7), unit(rng.normal(size=WIDE) * alive)
    sybils = [target + 1.5 * unit(rng.normal(size=WIDE) * ~alive) for _ in range(7)]
    assert pull(hedgerow(views="parameters,activity"), honest, sybils, target, probe) < 0.2
    assert pull(hedgerow(views="parameters", slack=0), honest, sybils, target, probe) > 0.4


def test_canary_without_the_parameter_view_sybils_whose_likeness_own_data_cannot_see_keep_their_votes() -> None:
    rng = np.random.default_rng(5)
    probe = wide_probe(5, dead=20)
    alive = np.tile(np.arange(FEATURES) < 20, CLASSES)
    honest, target = honest_rows(rng, 7), unit(rng.normal(size=WIDE) * ~alive)
    sybils = [target + 0.1 * unit(rng.normal(size=WIDE) * alive) for _ in range(7)]
    assert pull(hedgerow(), honest, sybils, target, probe) < 0.2
    assert pull(hedgerow(views="activity,function"), honest, sybils, target, probe) > 0.4


def test_canary_without_the_bound_per_coordinate_one_row_moves_one_coordinate() -> None:
    rng = np.random.default_rng(6)
    honest, target = honest_rows(rng, 7), np.eye(WIDE)[0]
    assert pull(hedgerow(), honest, [2 * target], target, wide_probe(6)) < 0.1
    assert pull(hedgerow(trim=0), honest, [2 * target], target, wide_probe(6)) > 0.2


def test_canary_without_mixing_one_row_that_stands_apart_counts_like_any_other() -> None:
    rng = np.random.default_rng(9)
    honest, target = honest_rows(rng, 7), unit(rng.normal(size=WIDE))
    evidence = one_node(np.zeros(WIDE), [*honest, 3 * target], probe=wide_probe(9))
    mixed, alike = hedgerow().decide(evidence), hedgerow(mixing=False).decide(evidence)
    assert alike.weights.tolist() == [1] * 8
    # of nine rows eight are near: nobody but itself holds the last one, which itself leaves out one other
    assert mixed.weights[:7].min() >= 8 / 9 - 1e-6
    assert mixed.weights[7].item() == pytest.approx(1 / 9)
    moved = pull(hedgerow(), honest, [3 * target], target, wide_probe(9))
    assert moved < 0.7 * pull(hedgerow(mixing=False), honest, [3 * target], target, wide_probe(9))


@pytest.mark.parametrize(("slack", "moved"), [(0.0, 0.2), (0.5, 0.2), (1.0, 0.22), (2.0, 0.26), (7.0, 0.3)])
def test_row_beyond_the_inner_range_counts_by_the_slack_and_the_result_stays_within(slack: float, moved: float) -> None:
    rule = hedgerow(clip=0, views="", mixing=False, slack=slack)
    decision = rule.decide(one_node(np.zeros(1), [np.array([x]) for x in (0.1, 0.2, 0.3, 2.0)]))
    # inner range [.1, .3]: own row counts as max(0, .1 - .2 slack), the highest as min(2, .3 + .2 slack)
    assert decision.params.item() == pytest.approx(moved)


@given(
    seed=st.integers(0, 10_000),
    good=st.integers(2, 9),
    trim=st.sampled_from([0.2, 0.34, 0.49]),
    slack=st.sampled_from([0.0, 0.3, 1.0, 5.0, 1e30]),
    mixing=st.booleans(),
)
def test_result_stays_in_the_inner_range_whatever_the_slack(
    seed: int, good: int, trim: float, slack: float, mixing: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=30) * 10 ** rng.uniform(-2, 6) for _ in range(good)]
    rule = hedgerow(clip=0, views="", trim=trim, mixing=mixing, slack=slack)
    found = rule.decide(one_node(np.zeros(30), rows)).params.double().numpy()
    ordered = np.sort(np.array([np.zeros(30), *rows]), axis=0)
    b = naive.winsor_bound(good + 1, trim)
    low, high = ordered[b], ordered[good - b]
    room = 1e-5 * np.abs(ordered).max(axis=0)
    assert (found >= low - room).all()
    assert (found <= high + room).all()
    if slack == 1e30 and not mixing:
        np.testing.assert_allclose(found, ordered.mean(axis=0).clip(low, high), atol=float(room.max()), rtol=1e-5)


@given(seed=st.integers(0, 10_000), good=st.integers(0, 9), trim=st.sampled_from([0.0, 0.2, 0.34, 0.49]))
def test_rows_count_by_how_many_hold_them_near(seed: int, good: int, trim: float) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=WIDE) * 10 ** rng.uniform(-2, 2) for _ in range(good)]
    evidence = one_node(np.zeros(WIDE), rows)
    around = neighbourhood(evidence)
    kept = torch.tensor(rng.random(good) < 0.7)
    m = int(kept.sum()) + 1
    bound = winsor_bound(torch.tensor(m), trim)
    held = held_near(around, kept, bound)
    assert held[1:][~kept].tolist() == [0] * (good - m + 1)
    there = torch.cat([held[:1], held[1:][kept]])
    assert float(there.sum()) == pytest.approx(m - int(bound))
    assert float(there.min()) >= 1 / m - 1e-12
    assert float(there.max()) <= 1
    if int(bound) == 0:
        assert (there == 1).all()


def test_golden_vectors() -> None:
    cases = json.loads((Path(__file__).parents[3] / "golden" / "hedgerow.json").read_text())
    for case in cases:
        rows = [np.array(row) for row in case["rows"]]
        decision = hedgerow(views="parameters").decide(one_node(np.array(case["own"]), rows))
        assert decision.weights.nonzero().squeeze(1).tolist() == case["kept"]
        np.testing.assert_allclose(decision.params, case["params"], atol=2e-6)
        strict = hedgerow(views="parameters", slack=0).decide(one_node(np.array(case["own"]), rows))
        np.testing.assert_allclose(strict.params, case["winsorised"], atol=2e-6)


@pytest.mark.parametrize("name", ["hedgerow", "hedgerow-bristle"])
@pytest.mark.parametrize("known", [(True,) * 4, (False,) * 4, (True, False, True, False)])
def test_who_is_known_makes_no_difference(name: str, known: tuple[bool, ...]) -> None:
    rule = build_rule(name, test=False) if "bristle" in name else build_rule(name)
    rows = honest_rows(np.random.default_rng(7), 3)
    evidence = one_node(np.zeros(WIDE), [0.99 * rows[0], *rows], probe=wide_probe(7))
    told = rule.decide(replace(evidence, trusted=torch.tensor(known), votes=torch.arange(1.0, 6.0)))
    untold = rule.decide(evidence)
    assert torch.equal(told.params, untold.params)
    assert torch.equal(told.weights, untold.weights)
    assert torch.equal(told.verdicts, untold.verdicts)


def test_neighbour_that_breaks_the_model_here_has_no_vote() -> None:
    probe = LinearProbe(torch.tensor([[1e20, 0.0], [0.0, 1.0]]), torch.zeros(2, dtype=torch.int64))
    rows = [np.zeros(6), np.zeros(6), np.zeros(6)]
    rows[0][0], rows[1][1], rows[2][3] = 1e17, 1e17, 2e17  # finite, but 1e37 times own inputs of 1e20 is not
    evidence = one_node(np.zeros(6), rows, probe=replace(probe, inputs=probe.inputs * torch.tensor([1e3, 1.0])))
    decision = hedgerow(views="function").decide(evidence)
    assert decision.verdicts[0] == int(Verdict.NOT_FINITE)
    assert (decision.weights > 0).tolist() == [False, True, True]
    assert torch.isfinite(decision.params).all()


def test_only_asked_for_views_are_needed() -> None:
    assert hedgerow().needs == {Need.ACTIVITY, Need.OUTPUTS}
    assert hedgerow(views=("parameters",)).needs == frozenset()
    assert hedgerow(views="").needs == frozenset()
    assert build_rule("hedgerow", views="parameters, function").needs == {Need.OUTPUTS}


def test_votes_of_the_weighting_equal_the_naive_loop() -> None:
    evidence = many_nodes(12, 7, seed=21, bad=0.0)
    weigh = one_cluster_one_vote(2.0, ("parameters",), 0.4)
    votes = weigh(evidence).neighbours
    for node in range(12):
        own = evidence.table.values[evidence.own[node]].double().numpy()
        rows = [evidence.table.values[k].double().numpy() for k in evidence.neighbours[node].tolist()]
        _, kept = naive.hedgerow(own, rows, [lambda v: v], 2.0, 0.4)
        assert votes[node].nonzero().squeeze(1).tolist() == kept


def test_parts_refuse_parameters_out_of_range() -> None:
    with pytest.raises(ValueError):
        clipped_winsorised_mean(clip=-1.0)
    with pytest.raises(ValueError):
        clipped_winsorised_mean(trim=0.5)
    for slack in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="slack"):
            clipped_winsorised_mean(slack=slack)


@pytest.mark.parametrize(("clip", "threshold"), [(-1.0, 0.9), (2.0, 1.5)])
def test_weighting_refuses_parameters_out_of_range(clip: float, threshold: float) -> None:
    with pytest.raises(ValueError):
        one_cluster_one_vote(clip, (), threshold)


def test_integration_takes_votes_of_another_weighting() -> None:
    rows = [np.array([2.0, 0, 0]), np.array([0, 2.0, 0]), np.array([0, 0, 2.0])]
    evidence = one_node(np.zeros(3), rows)
    weights = Weights(torch.tensor(1.0), torch.tensor([1.0, 0.5, 0.0]), evidence.absence())
    assert clipped_winsorised_mean(trim=0)(evidence, weights).params.tolist() == pytest.approx([2 / 3, 1 / 3, 0])


def test_votes_for_absent_rows_are_ignored() -> None:
    evidence: Evidence = one_node(np.zeros(2), [np.array([2.0, 0]), None])
    weights = Weights(torch.tensor(1.0), torch.ones(2), evidence.absence())
    decision = clipped_winsorised_mean()(evidence, weights)
    assert decision.params.tolist() == [1, 0]
    assert decision.weights.tolist() == [1, 0]
