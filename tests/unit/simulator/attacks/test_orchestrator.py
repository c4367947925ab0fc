"""The line search, and what the adversary tries before it sends."""

from __future__ import annotations

from dataclasses import replace
from math import log, nan

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from views import clones_of, small_view

from aggregation.evidence import Evidence, Rule, Weights
from aggregation.registry import build_rule
from simulator.attacks.attack import Faced
from simulator.attacks.clones import boosted
from simulator.attacks.orchestrator import EVALUATIONS, Trial, line_search
from simulator.attacks.spelling import build_attack


def test_line_search_finds_a_smooth_peak_in_sixteen_evaluations() -> None:
    calls = []

    def peak(strength: float) -> float:
        calls.append(strength)
        return -((log(strength) - log(3.0)) ** 2)

    found = line_search(peak, 0.01, 100.0)
    assert len(calls) == EVALUATIONS == len(found.trials)
    assert found.strength == pytest.approx(3.0, rel=0.15)


@given(edge=some.floats(min_value=0.02, max_value=90.0))
def test_line_search_comes_close_to_the_strength_beyond_which_a_rule_refuses(edge: float) -> None:
    found = line_search(lambda strength: strength if strength <= edge else 0.0, 0.01, 100.0)
    assert edge / 1.35 <= found.strength <= edge


@pytest.mark.parametrize("sign", [1, -1])
def test_line_search_reaches_the_ends(sign: int) -> None:
    found = line_search(lambda strength: sign * strength, 0.5, 200.0)
    assert found.strength == pytest.approx(200.0 if sign > 0 else 0.5)
    assert len(found.trials) == EVALUATIONS


def test_line_search_prefers_the_weaker_of_equals_and_skips_what_is_no_number() -> None:
    assert line_search(lambda strength: 1.0, 0.1, 10.0).strength == pytest.approx(0.1)
    assert line_search(lambda strength: nan if strength < 5 else -strength, 0.1, 10.0).strength >= 5


@pytest.mark.parametrize(("low", "high", "evaluations"), [(0, 1, 16), (2, 1, 16), (1, float("inf"), 16), (1, 2, 1)])
def test_line_search_refuses_bounds_that_are_none(low: float, high: float, evaluations: int) -> None:
    with pytest.raises(ValueError, match="line search"):
        line_search(lambda strength: 0.0, low, high, evaluations=evaluations)


def test_two_evaluations_are_the_ends() -> None:
    assert [round(trial[0], 6) for trial in line_search(float, 1.0, 4.0, evaluations=2).trials] == [1.0, 4.0]


def test_push_under_the_mean_grows_with_the_strength() -> None:
    view = small_view(samples=torch.arange(5, 45))
    trial = Trial(view, build_rule("mean"), clones_of(view))
    assert len(trial.victims) == 6
    weak, strong = (trial.push(boosted(factor)(view, clones_of(view))) for factor in (1.0, 100.0))
    assert strong > weak > 0


def test_push_is_zero_when_the_rule_hears_nobody_or_nobody_hears() -> None:
    view = small_view()
    assert Trial(view, build_rule("alone"), clones_of(view)).push(clones_of(view)) == 0.0
    alone = replace(view, neighbours=tuple(() for _ in range(12)), targets=((), (), (), ()))
    assert Trial(alone, build_rule("mean"), clones_of(view)).push(clones_of(view)) == 0.0


def test_tuned_strength_is_large_against_the_mean_and_none_without_a_rule() -> None:
    view = small_view(samples=torch.arange(5, 45))
    attack = build_attack("boosted", {"tune": True})
    step = clones_of(view) - view.start
    against_mean = attack.craft(replace(view, rule=build_rule("mean")), clones_of(view)) - view.start
    assert torch.allclose(against_mean, 200 * step, rtol=1e-3, atol=1e-3)
    unknown = attack.craft(view, clones_of(view)) - view.start
    assert torch.allclose(unknown, 0.5 * step, rtol=1e-3, atol=1e-4)


def test_tuned_strength_stays_within_what_the_median_takes() -> None:
    view = small_view()
    attack = build_attack("ipm", {"tune": True})
    rule = build_rule("median")
    trial = Trial(view, rule, clones_of(view))
    pushes = [trial.push(build_attack("ipm", {"factor": factor}).craft(view, clones_of(view))) for factor in (0.05, 50)]
    best = trial.push(attack.craft(replace(view, rule=rule), clones_of(view)))
    assert best >= max(pushes) - 1e-6


def test_trials_are_made_on_those_who_hear_a_sybil_near_or_far_and_know_who_is_trusted_there() -> None:
    view = small_view()
    receivers, senders = np.array([0, 0, 4, 4, 4, 9, 9]), np.array([1, 2, 3, 5, 13, 8, 12])
    known = np.array([True, True, False, True, True, True, False])
    view = replace(view, faced=Faced(receivers.astype(np.int32), senders.astype(np.int32), known))
    told: list[Evidence] = []

    def weigh(evidence: Evidence) -> Weights:
        told.append(evidence)
        here = evidence.present().float()
        return Weights(torch.ones(evidence.own.shape), here, evidence.absence())

    trial = Trial(view, Rule("told", weigh, build_rule("mean").integration), clones_of(view))
    assert trial.victims == (4, 9)
    assert told[0].neighbours.shape == (2, 3)
    assert told[0].trusted is not None
    assert told[0].trusted.tolist() == [[False, True, True], [True, False, False]]
    assert trial.push(clones_of(view) + 1.0) != 0.0
