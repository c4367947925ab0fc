"""Attacks on models: the defining property of each."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import pytest
import torch
from views import clones_of, small_view

from simulator.attacks.alie import alie, ipm, quantile
from simulator.attacks.clones import boosted, clones, scaled
from simulator.attacks.crude import free_rider, gaussian, nan_model, sign_flip
from simulator.attacks.dissensus import dissensus
from simulator.attacks.envelope import largest_step, min_max, min_sum
from simulator.attacks.fang import fang_krum, fang_trimmed_mean, krum_winner
from simulator.attacks.neurotoxin import neurotoxin


def test_clones_are_one_model() -> None:
    view = small_view()
    assert torch.equal(clones()(view, clones_of(view)), view.trained.expand(4, -1))


@pytest.mark.parametrize("medians", [0.5, 1.0, 4.0])
def test_scaled_clones_lie_at_the_given_distance_towards_the_poison(medians: float) -> None:
    view = small_view()
    sent = scaled(medians)(view, clones_of(view))
    for sybil, targets in enumerate(view.targets):
        mean = view.honest[list(targets)].mean(dim=0)
        assert float((sent[sybil] - mean).norm()) == pytest.approx(medians * view.distance(), rel=1e-4)
        assert float(torch.cosine_similarity(sent[sybil] - mean, view.trained - mean, dim=0)) > 0.999


def test_scaled_clones_with_one_mean_are_all_the_same() -> None:
    view = small_view()
    sent = scaled(2.0, "all")(view, clones_of(view))
    assert torch.equal(sent, sent[:1].expand(4, -1))


def test_median_distance_without_honest_pairs_is_that_to_the_mean() -> None:
    view = small_view()
    alone = replace(view, neighbours=tuple((12,) for _ in range(12)))
    wanted = (view.honest - view.honest.mean(dim=0)).norm(dim=1).median()
    assert alone.distance() == pytest.approx(float(wanted))


def test_boosted_multiplies_the_step_or_the_params() -> None:
    view = small_view()
    step = clones_of(view) - view.start
    assert torch.allclose(boosted(5)(view, clones_of(view)) - view.start, 5 * step, atol=1e-5)
    assert torch.allclose(boosted(100, "params")(view, clones_of(view)), 100 * clones_of(view))


def test_gaussian_noise_has_its_scale_and_differs_between_sybils() -> None:
    view = small_view()
    noise = gaussian(0.3)(view, clones_of(view)) - clones_of(view)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.15)
    assert not torch.equal(noise[0], noise[1])
    assert torch.allclose(gaussian(0.3, "zero")(view, clones_of(view)), noise, atol=1e-6)


def test_sign_flip_turns_params_or_the_step() -> None:
    view = small_view()
    models = clones_of(view)
    assert torch.equal(sign_flip(2.0)(view, models), -2 * models)
    step = sign_flip(1.0, "update")(view, models) - view.start
    assert torch.allclose(step, view.start - models, atol=1e-6)


@pytest.mark.parametrize(("kind", "nans"), [("nan", 68), ("inf", 0), ("mixed", 23)])
def test_nan_models_hold_no_number(kind: str, nans: int) -> None:
    view = small_view()
    sent = nan_model(kind)(view, clones_of(view))
    assert not bool(torch.isfinite(sent).any())
    assert int(sent[0].isnan().sum()) == nans


def test_one_bad_number_is_enough() -> None:
    view = small_view()
    sent = nan_model("nan", share=0.0)(view, clones_of(view))
    assert (~torch.isfinite(sent)).sum(dim=1).tolist() == [1, 1, 1, 1]


def test_free_rider_sends_its_last_model_with_little_noise() -> None:
    view = small_view()
    assert float((free_rider(1e-3)(view, clones_of(view)) - view.start).abs().max()) < 0.01


def test_neurotoxin_leaves_alone_what_honest_nodes_move_most() -> None:
    view = small_view()
    sent = neurotoxin(0.25)(view, clones_of(view))
    loud = view.movement().abs() >= view.movement().abs().sort(descending=True).values[16]
    assert int(loud.sum()) == 17
    assert torch.equal(sent[0][loud], view.centre()[loud])
    assert torch.equal(sent[0][~loud], view.trained[~loud])


def test_alie_quantile_is_the_published_formula() -> None:
    # 50 workers, 24 of them bad: two honest ones are needed, z = Phi^-1(24 / 26).
    assert quantile(50, 24) == pytest.approx(NormalDist().inv_cdf(24 / 26))
    assert quantile(20, 12) == pytest.approx(NormalDist().inv_cdf(0.999))
    assert quantile(3, 3) == pytest.approx(NormalDist().inv_cdf(0.999))
    assert quantile(9, 1) == 0.0


def test_alie_hides_z_standard_deviations_from_the_mean() -> None:
    view = small_view()
    sent = alie(1.5)(view, clones_of(view))
    crowd = view.honest[list(view.targets[2])]
    assert torch.allclose(sent[2], crowd.mean(dim=0) - 1.5 * crowd.std(dim=0, correction=0), atol=1e-6)
    formula = alie(0.0, "all")(view, clones_of(view))
    spread = view.honest.std(dim=0, correction=0)
    assert torch.allclose(formula[0], view.centre() - quantile(16, 4) * spread, atol=1e-6)


def test_ipm_has_a_negative_inner_product_with_the_honest_movement() -> None:
    view = small_view()
    sent = ipm(0.5, "all")(view, clones_of(view))
    step = sent[0] - view.previous.mean(dim=0)
    assert float(step @ view.movement()) == pytest.approx(-0.5 * float(view.movement() @ view.movement()), rel=1e-4)


@pytest.mark.parametrize("direction", ["mean", "sign", "spread", "movement"])
def test_min_max_touches_the_largest_honest_distance(direction: str) -> None:
    view = small_view()
    sent = min_max(direction, "all")(view, clones_of(view))[0]
    largest = torch.cdist(view.honest, view.honest).max()
    assert float((view.honest - sent).norm(dim=1).max()) == pytest.approx(float(largest), rel=1e-3)


@pytest.mark.parametrize("direction", ["mean", "sign", "spread", "movement"])
def test_min_sum_touches_the_largest_honest_sum_of_squares(direction: str) -> None:
    view = small_view()
    sent = min_sum(direction)(view, clones_of(view))[1]
    crowd = view.honest[list(view.targets[1])]
    largest = torch.cdist(crowd, crowd).square().sum(dim=1).max()
    assert float((crowd - sent).square().sum()) == pytest.approx(float(largest), rel=1e-3)


def test_a_crowd_of_one_gives_no_room() -> None:
    assert largest_step(torch.ones(1, 3), torch.tensor([1.0, 0, 0]), "max") == 0.0
    assert largest_step(torch.eye(3), torch.zeros(3), "sum") == 0.0


def test_krum_winner_is_the_central_model() -> None:
    models = torch.tensor([[0.0], [1.0], [1.1], [0.9], [50.0]])
    assert krum_winner(models, faults=1) == 1


def test_fang_against_krum_is_picked_and_pushes_against_the_movement() -> None:
    view = small_view()
    sent = fang_krum()(view, clones_of(view))
    picked = 0
    for victim in range(12):
        good = [victim, *(near for near in view.neighbours[victim] if near < 12)]
        bad = [near - 12 for near in view.neighbours[victim] if near >= 12]
        picked += krum_winner(torch.cat([view.honest[good], sent[bad]]), 1) >= len(good)
    assert picked >= 6
    for sybil, targets in enumerate(view.targets):
        mean = view.honest[list(targets)].mean(dim=0)
        movement = mean - view.previous[list(targets)].mean(dim=0)
        assert bool(((sent[sybil] - mean).sign() == -movement.sign()).all())


def test_fang_against_krum_keeps_the_smallest_push_when_nothing_is_picked() -> None:
    view = small_view(honest=12, sybils=1)
    twins = view.honest[:1].expand(12, -1)
    sent = fang_krum()(replace(view, honest=twins), clones_of(view))
    assert float((sent - twins[0]).abs().max()) < 1e-4


def test_fang_against_the_trimmed_mean_lies_beyond_the_honest_extreme() -> None:
    view = small_view()
    sent = fang_trimmed_mean(2.0)(view, clones_of(view))
    for sybil, targets in enumerate(view.targets):
        now, then = view.honest[list(targets)], view.previous[list(targets)]
        rises = now.mean(dim=0) >= then.mean(dim=0)
        assert bool((sent[sybil] <= now.amin(dim=0) + 1e-6)[rises].all())
        assert bool((sent[sybil] >= now.amax(dim=0) - 1e-6)[~rises].all())
        width = (sent[sybil] - torch.where(rises, now.amin(dim=0), now.amax(dim=0))).abs()
        edge = torch.where(rises, now.amin(dim=0), now.amax(dim=0)).abs()
        assert bool((width <= edge + 1e-6).all())


def test_dissensus_with_factor_one_stops_the_mean_of_its_victim() -> None:
    view = replace(small_view(sybils=1), targets=((0,),), neighbours=((1, 2, 10, 11, 12), *small_view().neighbours[1:]))
    sent = dissensus(1.0)(view, clones_of(view))
    heard = torch.cat([view.honest[[0, 1, 2, 10, 11]], sent])
    assert torch.allclose(heard.mean(dim=0), view.honest[0], atol=1e-5)
    away = dissensus(2.0)(view, clones_of(view))
    moved = torch.cat([view.honest[[0, 1, 2, 10, 11]], away]).mean(dim=0) - view.honest[0]
    pull = (view.honest[[1, 2, 10, 11]] - view.honest[0]).sum(dim=0)
    assert float(moved @ pull) < 0


def test_dissensus_without_targets_sends_the_trained_model() -> None:
    view = small_view(sybils=1, targets=((),))
    assert torch.equal(dissensus()(view, clones_of(view))[0], view.trained)


def test_a_sybil_with_one_target_hides_among_all() -> None:
    view = small_view(sybils=1, targets=((4,),))
    assert torch.equal(view.crowd(0)[0], view.honest)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: boosted(2, of="gradient"),
        lambda: gaussian(1, around="nothing"),
        lambda: sign_flip(1, of="nothing"),
        lambda: nan_model("many"),
        lambda: neurotoxin(1.0),
        lambda: min_max("sideways"),
        lambda: small_view().crowd(0, "nobody"),
    ],
    ids=["boosted", "gaussian", "sign-flip", "nan-model", "neurotoxin", "min-max", "crowd"],
)
def test_parameters_out_of_range_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError):
        wrong()
