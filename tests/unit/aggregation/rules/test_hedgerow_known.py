"""The rule `hedgerow-known`: who is bounded and who is not, who leaves, and what is promised.

Its golden vectors are made by `tests/golden_known.py`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles_defence as naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from neighbours import DIMENSION, LinearProbe, alone_of, linear_views, many_nodes, one_node, probes

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Need, Rule, Verdict, Weights
from aggregation.parts.known_unbounded import known_unbounded
from aggregation.registry import build_rule
from aggregation.rules.hedgerow import hedgerow
from aggregation.rules.hedgerow_known import hedgerow_known

RULES: dict[str, dict[str, float | bool]] = {
    "as it is": {},
    "simpler": {"clip": 2.0, "gain": 0.0, "trim": 0.25, "mixing": True},
    "tighter": {"clip": 0.7, "gain": 0.1, "trim": 0.34, "threshold": 0.5},
    "open": {"clip": 0.0, "gain": 0.6, "trim": 0.0},
}
seeds = st.integers(0, 10_000)


def who_knows(
    nodes: int, width: int, seed: int, share: float = 0.5, unequal: bool = False, bad: float = 0.15
) -> Evidence:
    """Nodes that know some of their neighbours, the last one nobody; rows at unlike distances."""
    rng = np.random.default_rng(seed)
    evidence = many_nodes(nodes, width, seed, bad=bad)
    values = evidence.table.values
    values[nodes : len(values) - nodes] *= torch.tensor(10 ** rng.uniform(-1, 1, size=(len(values) - 2 * nodes, 1)))
    trusted = torch.tensor(rng.random((nodes, width)) < 0.5)
    trusted[-1:] = False
    votes = torch.tensor(10 ** rng.uniform(-1, 1, size=(nodes, width + 1))) if unequal else None
    return replace(evidence, trusted=trusted, votes=votes)


def at(evidence: Evidence, node: int) -> Evidence:
    """One node's evidence, in a table of its own."""
    assert evidence.trusted is not None
    votes = None if evidence.votes is None else evidence.votes[node]
    return replace(alone_of(evidence, node)[2], trusted=evidence.trusted[node], votes=votes)


def by_hand(rule: dict[str, float | bool], evidence: Evidence, node: int) -> tuple[np.ndarray, list[int]]:
    own, rows, single = alone_of(evidence, node)
    here = [k for k, row in enumerate(rows) if row is not None and len(naive.usable(own, [row]))]
    assert evidence.trusted is not None
    known = [bool(evidence.trusted[node, k]) for k in here]
    votes = None if evidence.votes is None else [float(evidence.votes[node, k]) for k in (0, *(k + 1 for k in here))]
    named = {"clip_factor" if key == "clip" else key: value for key, value in rule.items()}
    heard = naive.usable(own, rows)
    wanted, kept = naive.hedgerow_known(own, heard, known, linear_views(single), votes=votes, **named)  # type: ignore[arg-type]
    return wanted, [here[k] for k in kept]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("unequal", [False, True], ids=["one vote each", "unequal votes"])
@pytest.mark.parametrize(("width", "seed"), [(0, 1), (1, 2), (2, 3), (3, 7), (4, 4), (6, 8), (9, 5), (13, 6)])
def test_rule_equals_the_naive_loop(name: str, unequal: bool, width: int, seed: int) -> None:
    evidence = who_knows(8, width, seed, unequal=unequal)
    decision = hedgerow_known(**RULES[name]).decide(evidence)  # type: ignore[arg-type]
    for node in range(8):
        wanted, kept = by_hand(RULES[name], evidence, node)
        np.testing.assert_allclose(decision.params[node].double().numpy(), wanted, atol=5e-5, rtol=5e-5)
        assert decision.weights[node].nonzero().squeeze(1).tolist() == kept


@pytest.mark.parametrize("unequal", [False, True])
def test_many_nodes_decide_as_each_alone(unequal: bool) -> None:
    rule = hedgerow_known()
    evidence = who_knows(7, 8, seed=11, unequal=unequal)
    decision = rule.decide(evidence)
    for node in range(7):
        alone = rule.decide(at(evidence, node))
        torch.testing.assert_close(decision.params[node], alone.params, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(decision.weights[node], alone.weights, atol=1e-5, rtol=1e-5)
        assert decision.verdicts[node].tolist() == alone.verdicts.tolist()


@pytest.mark.parametrize("unequal", [False, True])
def test_two_leading_dimensions_equal_one(unequal: bool) -> None:
    flat = who_knows(6, 5, seed=3, unequal=unequal)
    assert flat.trusted is not None
    probe = flat.probe
    assert isinstance(probe, LinearProbe)
    square = replace(
        flat,
        own=flat.own.reshape(2, 3),
        neighbours=flat.neighbours.reshape(2, 3, 5),
        relayed=flat.relayed.reshape(2, 3, 0),
        trusted=flat.trusted.reshape(2, 3, 5),
        votes=None if flat.votes is None else flat.votes.reshape(2, 3, 6),
        probe=LinearProbe(probe.inputs.unflatten(0, (2, 3)), probe.labels.unflatten(0, (2, 3))),
    )
    first, second = hedgerow_known().decide(square), hedgerow_known().decide(flat)
    assert torch.equal(first.params.reshape(6, DIMENSION), second.params)
    assert torch.equal(first.weights.reshape(6, 5), second.weights)
    assert torch.equal(first.verdicts.reshape(6, 5), second.verdicts)


@given(seed=seeds, width=st.integers(0, 9), unequal=st.booleans(), name=st.sampled_from(list(RULES)))
def test_order_of_neighbours_does_not_matter(seed: int, width: int, unequal: bool, name: str) -> None:
    rule = hedgerow_known(**RULES[name])  # type: ignore[arg-type]
    evidence = who_knows(3, width, seed, unequal=unequal)
    order = torch.tensor(np.random.default_rng(seed).permutation(width), dtype=torch.int64)
    assert evidence.trusted is not None
    votes = None
    if evidence.votes is not None:
        votes = torch.cat([evidence.votes[:, :1], evidence.votes[:, 1:][:, order]], dim=1)
    turned = replace(
        evidence, neighbours=evidence.neighbours[:, order], trusted=evidence.trusted[:, order], votes=votes
    )
    first, second = rule.decide(evidence), rule.decide(turned)
    torch.testing.assert_close(first.params, second.params, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(first.weights[:, order], second.weights, atol=1e-6, rtol=1e-5)
    assert first.verdicts[:, order].tolist() == second.verdicts.tolist()


@given(
    seed=seeds,
    friends=st.integers(1, 9),
    strangers=st.integers(0, 4),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 1e6, 1e15]),
    unequal=st.booleans(),
    name=st.sampled_from([name for name in RULES if name != "open"]),
)
def test_few_strangers_cannot_leave_the_range_of_own_and_known_rows(
    seed: int, friends: int, strangers: int, scale: float, unequal: bool, name: str
) -> None:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=DIMENSION)
    rows = [own + rng.normal(size=DIMENSION) for _ in range(friends)]
    rows += [own + scale * rng.normal(size=DIMENSION) for _ in range(strangers)]
    trusted = torch.tensor([True] * friends + [False] * strangers)
    votes = torch.tensor(10 ** rng.uniform(-2, 2, size=1 + len(rows))) if unequal else None
    evidence = one_node(own, rows, probe=probes((), seed), trusted=trusted, votes=votes)
    decision = hedgerow_known(**RULES[name]).decide(evidence)  # type: ignore[arg-type]
    said = decision.weights > 0
    if int(said[friends:].sum()) > naive.winsor_bound(1 + int(said.sum()), float(RULES[name].get("trim", 0.2))):
        return
    honest = evidence.table.values[[0, *(1 + k for k in range(friends) if said[k])]]
    room = 1e-5 * honest.abs().max()
    assert (decision.params >= honest.min(dim=0).values - room).all()
    assert (decision.params <= honest.max(dim=0).values + room).all()


@given(seed=seeds, friends=st.integers(1, 8), factor=st.sampled_from([0.5, 1.0, 2.0]), unequal=st.booleans())
def test_known_liar_moves_the_model_by_no_more_than_the_clip(
    seed: int, friends: int, factor: float, unequal: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=30) * 10 ** rng.uniform(-2, 6) for _ in range(friends)]
    votes = 10 ** rng.uniform(-2, 2, size=friends + 1) if unequal else np.ones(friends + 1)
    tau = factor * naive.weighted_lower_median([naive.norm(row) for row in rows], votes[1:].tolist())
    evidence = one_node(np.zeros(30), rows, trusted=torch.ones(friends) > 0, votes=torch.tensor(votes))
    decision = hedgerow_known(clip=factor, views="", gain=0).decide(evidence)
    assert decision.params.double().norm() <= tau * votes[1:].sum() / votes.sum() * (1 + 1e-5)


@given(
    seed=seeds,
    width=st.integers(0, 9),
    size=st.sampled_from([1e9, 1e17, 1e19, 3e38]),
    unequal=st.booleans(),
    name=st.sampled_from(list(RULES)),
)
def test_result_is_finite_whatever_finite_rows_say(
    seed: int, width: int, size: float, unequal: bool, name: str
) -> None:
    rng = np.random.default_rng(seed)
    evidence = who_knows(3, width, seed, unequal=unequal, bad=0.3)
    values = evidence.table.values.double()
    loud = torch.tensor(rng.random(len(values)) < 0.3)
    loud[:3] = rng.random() < 0.3  # own rows too
    values[loud] = torch.tensor(size * np.sign(rng.normal(size=(int(loud.sum()), DIMENSION))))
    extreme = replace(evidence, table=type(evidence.table)(values.float()))
    decision = hedgerow_known(**RULES[name], views="parameters").decide(extreme)  # type: ignore[arg-type]
    assert torch.isfinite(decision.params).all()
    assert torch.isfinite(decision.weights).all()
    assert (decision.weights >= 0).all()
    assert (decision.weights[~extreme.present()] == 0).all()


@pytest.mark.parametrize("trusted", [None, False])
def test_node_that_hears_nobody_it_knows_decides_as_hedgerow(trusted: bool | None) -> None:
    evidence = many_nodes(7, 8, seed=12)
    if trusted is not None:
        evidence = replace(evidence, trusted=torch.zeros(7, 8, dtype=torch.bool))
    ours, plain = hedgerow_known().decide(evidence), hedgerow().decide(evidence)
    assert torch.equal(ours.params, plain.params)
    assert torch.equal(ours.weights, plain.weights)
    assert torch.equal(ours.verdicts, plain.verdicts)


@pytest.mark.parametrize("unequal", [False, True])
def test_node_that_knows_nobody_decides_as_hedgerow_beside_others_that_do(unequal: bool) -> None:
    evidence = who_knows(6, 8, seed=13, unequal=unequal)
    assert evidence.trusted is not None
    gone = evidence.neighbours.clone()
    gone[4] = torch.where(evidence.trusted[4], -1, gone[4])  # it knows some, and hears none of them
    evidence = replace(evidence, neighbours=gone)
    ours, plain = hedgerow_known().decide(evidence), hedgerow().decide(evidence)
    for node in (4, 5):
        assert torch.equal(ours.params[node], plain.params[node])
        assert torch.equal(ours.weights[node], plain.weights[node])
        assert torch.equal(ours.verdicts[node], plain.verdicts[node])
    assert not torch.equal(ours.params[0], plain.params[0])


def test_votes_count_in_any_unit_and_equal_ones_as_none() -> None:
    evidence = who_knows(5, 7, seed=14, unequal=True)
    assert evidence.votes is not None
    rule = hedgerow_known(threshold=1.0)
    for one, other in ((evidence.votes, 4 * evidence.votes), (None, torch.full((5, 8), 2.5))):
        first = rule.decide(replace(evidence, votes=one))
        second = rule.decide(replace(evidence, votes=other))
        torch.testing.assert_close(first.params, second.params)
        torch.testing.assert_close(first.weights, second.weights)


def test_golden_vectors() -> None:
    cases = json.loads((Path(__file__).parents[3] / "golden" / "hedgerow_known.json").read_text())
    assert len(cases) >= 8
    for case in cases:
        rows = [np.array(row) for row in case["rows"]]
        votes = None if case["votes"] is None else torch.tensor(case["votes"])
        evidence = one_node(np.array(case["own"]), rows, trusted=torch.tensor(case["known"]), votes=votes)
        decision = hedgerow_known(views="parameters").decide(evidence)
        assert decision.weights.nonzero().squeeze(1).tolist() == case["kept"]
        np.testing.assert_allclose(decision.params, case["params"], atol=3e-6)
        simpler = hedgerow_known(views="parameters", **RULES["simpler"]).decide(evidence)  # type: ignore[arg-type]
        np.testing.assert_allclose(simpler.params, case["simpler"], atol=3e-6)


def column(rule: Rule, values: list[float], known: list[bool]) -> float:
    evidence = one_node(np.zeros(1), [np.array([x]) for x in values], trusted=torch.tensor(known))
    return float(rule.decide(evidence).params)


def test_canary_known_row_carries_what_it_alone_knows_and_a_stranger_does_not() -> None:
    rule = hedgerow_known(clip=0, views="", gain=0)
    assert column(rule, [0.1, 0.2, 0.3, 2.0], [True] * 4) == pytest.approx(2.6 / 5)
    # rows 0, .1, .2, .3, 2: the stranger counts as .3, and by its own word and nobody else's: one of five holds it near
    assert column(rule, [0.1, 0.2, 0.3, 2.0], [True] * 3 + [False]) == pytest.approx((0.6 + 0.2 * 0.3) / 4.2)
    assert column(rule, [0.1, 0.2, 0.3, 0.2], [True] * 3 + [False]) == pytest.approx((0.6 + 0.2 * 1) / 5, abs=0.02)


def test_canary_without_leaving_out_two_known_liars_far_away_count() -> None:
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=40) for _ in range(6)] + [9 * rng.normal(size=40) for _ in range(2)]
    evidence = one_node(np.zeros(40), rows, trusted=torch.ones(8) > 0)
    decision = hedgerow_known(views="").decide(evidence)
    assert decision.verdicts.tolist()[6:] == [int(Verdict.FAR)] * 2
    assert decision.weights.tolist() == [1] * 6 + [0] * 2
    everybody = hedgerow_known(views="", gain=0).decide(evidence)
    assert everybody.weights.tolist() == [1] * 8
    three = one_node(np.zeros(40), [*rows, 9 * rng.normal(size=40)], trusted=torch.ones(9) > 0)
    assert hedgerow_known(views="").decide(three).weights.tolist() == [1] * 9  # two of three leave nobody closer


@given(
    seed=seeds,
    width=st.integers(0, 9),
    gain=st.sampled_from([0.05, 0.3, 0.6]),
    unequal=st.booleans(),
    size=st.integers(1, 3),
)
def test_who_leaves_is_as_among_all_sets_of_two(seed: int, width: int, gain: float, unequal: bool, size: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [(rng.normal(size=size) * 10 ** rng.choice([0, 0, 0.5, 1])).round(1) for _ in range(width + 1)]
    votes = 10 ** rng.uniform(-1, 1, size=width + 1) if unequal else np.ones(width + 1)
    known = torch.ones(width, dtype=torch.bool)
    evidence = one_node(rows[0], rows[1:], trusted=known, votes=torch.tensor(votes) if unequal else None)
    decision = hedgerow_known(views="", gain=gain).decide(evidence)
    models = [row.astype(np.float32).astype(np.float64) for row in rows]
    left = naive.least_spread(list(range(width + 1)), models, gain, votes.tolist())
    gone = {k - 1 for k in range(1, width + 1)} - {k - 1 for k in left}
    assert set(np.flatnonzero(decision.verdicts == int(Verdict.FAR))) == gone


def test_the_own_row_never_leaves_however_far_it_stands() -> None:
    rng = np.random.default_rng(2)
    rows = [100 + rng.normal(size=40) for _ in range(5)]
    decision = hedgerow_known(views="").decide(one_node(np.zeros(40), rows, trusted=torch.ones(5) > 0))
    assert decision.weights.tolist() == [1] * 5


@given(seed=seeds, unequal=st.booleans())
def test_nobody_leaves_where_rows_lie_alike(seed: int, unequal: bool) -> None:
    rng = np.random.default_rng(seed)
    votes = torch.tensor(10 ** rng.uniform(-1, 1, size=9)) if unequal else None
    rows = [rng.normal(size=400) for _ in range(8)]
    evidence = one_node(rng.normal(size=400), rows, trusted=torch.ones(8) > 0, votes=votes)
    assert (hedgerow_known(views="").decide(evidence).weights > 0).all()


@pytest.mark.parametrize(
    ("votes", "kept"), [(None, [False, True, True, False]), ([1.0, 9.0, 2.0, 3.0, 4.0], [False, True, True, True])]
)
def test_a_strangers_copy_takes_nobodys_vote_and_who_was_given_one_keeps_it(
    votes: list[float] | None, kept: list[bool]
) -> None:
    rng = np.random.default_rng(8)
    friend, other = rng.normal(size=DIMENSION), rng.normal(size=DIMENSION)
    evidence = one_node(
        np.zeros(DIMENSION),
        [0.99 * friend, friend, other, other],
        trusted=torch.tensor([False, True, True, True]),
        votes=None if votes is None else torch.tensor(votes),
    )
    decision = hedgerow_known(views="parameters", gain=0).decide(evidence)
    assert (decision.weights > 0).tolist() == kept


@given(seed=seeds, far=st.floats(1, 30))
def test_a_node_that_stands_apart_goes_where_those_are_whom_it_knows(seed: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    there = rng.normal(size=60)
    known = [far * there + 0.3 * rng.normal(size=60) for _ in range(4)]
    strangers = [-0.8 * far * there + 0.3 * rng.normal(size=60) for _ in range(2)]
    evidence = one_node(np.zeros(60), [*known, *strangers], trusted=torch.arange(6) < 4)
    decision = hedgerow_known(views="parameters").decide(evidence)
    assert (decision.weights[:4] == 1).all()
    assert decision.params.numpy() @ there / (far * there @ there) > 0.4


def test_only_asked_for_views_are_needed() -> None:
    assert build_rule("hedgerow-known").needs == {Need.ACTIVITY, Need.OUTPUTS, Need.VOTES}
    assert build_rule("hedgerow-known", views="parameters").needs == {Need.VOTES}


@pytest.mark.parametrize(
    "wrong", [{"clip": -1.0}, {"trim": 0.5}, {"gain": 1.0}, {"gain": -0.1}, {"threshold": 1.5}, {"views": "colour"}]
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(RuleError):
        build_rule("hedgerow-known", **wrong)


def test_integration_takes_votes_of_another_weighting_and_alone_bounds_everybody_where_nobody_is_told_apart() -> None:
    rows = [np.array([2.0, 0, 0]), np.array([0, 2.0, 0]), np.array([0, 0, 2.0]), None]
    evidence = one_node(np.zeros(3), rows, trusted=torch.ones(4) > 0)
    weights = Weights(torch.tensor(1.0), torch.tensor([1.0, 0.5, 0.0, 1.0]), evidence.absence())
    decision = known_unbounded()(evidence, weights)
    assert decision.params.tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert decision.weights.tolist() == [1, 1, 0, 0]
    alike = known_unbounded()(replace(evidence, trusted=None), weights)
    assert alike.params.tolist() == [0, 0, 0]  # of three rows the middle one is left
