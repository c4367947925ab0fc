"""One attacker, many names: training, following, sleeping, groups."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from views import small_task

from simulator.adversary import Adversary
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare


def setup_of(attack: object, **changes: object) -> Setup:
    scenario = Scenario.of(
        {
            "name": "small",
            "nodes": 8,
            "rounds": 5,
            "topology": "ring",
            "partition": "iid",
            "attack": attack,
            "phi": 1,
            "held_out": 0.1,
            **changes,
        }
    )
    return prepare(scenario, small_task())


def trained(setup: Setup, start: Tensor, rows: Tensor, round: int = 0, who: int = 0) -> Tensor:
    address = int(setup.addresses[setup.honest + who])
    return setup.learner.train(start, setup.data, rows, setup.seed, address, round)[0]


def honest_of(setup: Setup, round: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(round)
    return setup.initial[: setup.honest] + 0.01 * torch.randn(setup.honest, setup.learner.dimension, generator=draw)


def test_label_flip_sends_one_model_trained_on_the_poisoned_rows() -> None:
    setup = setup_of("label-flip")
    adversary = Adversary(setup)
    sent = adversary.act(0, honest_of(setup))
    wanted = trained(setup, setup.initial[setup.honest], setup.shards[setup.honest].train)
    assert len(sent) == setup.sybils
    assert torch.equal(sent, wanted.expand(setup.sybils, -1))


def test_its_own_model_is_the_mean_of_what_it_hears_and_a_copy_per_sybil() -> None:
    setup = setup_of("label-flip")
    adversary = Adversary(setup)
    honest = honest_of(setup)
    sent = adversary.act(0, honest)
    wanted = torch.cat([honest[list(adversary.heard)], sent]).mean(dim=0)
    assert torch.allclose(adversary.params, wanted, atol=1e-6)
    assert adversary.heard == tuple(range(8))


def test_the_copy_it_keeps_is_the_trained_model_not_the_crafted_one() -> None:
    plain, noisy = (Adversary(setup_of(attack)) for attack in ("label-flip", "label-flip+gaussian"))
    honest = honest_of(setup_of("label-flip"))
    assert not torch.equal(plain.act(0, honest), noisy.act(0, honest))
    assert torch.equal(plain.params, noisy.params)


def test_an_engine_may_bring_its_own_training() -> None:
    setup = setup_of("label-flip")
    seen = []

    def train(params: Tensor, rows: Tensor, address: int, round: int) -> Tensor:
        seen.append((rows, address, round))
        return params + 1

    sent = Adversary(setup, train=train).act(0, honest_of(setup))
    assert torch.equal(sent[0], setup.initial[setup.honest] + 1)
    assert torch.equal(seen[0][0], setup.shards[setup.honest].train)
    assert seen[0][1:] == (int(setup.addresses[setup.honest]), 0)


def test_two_adversaries_of_one_setup_do_the_same() -> None:
    setup = setup_of("label-flip+orthogonal-noise")
    first, second = Adversary(setup), Adversary(setup)
    for round in range(3):
        honest = honest_of(setup, round)
        assert torch.equal(first.act(round, honest), second.act(round, honest))


def test_a_sleeper_is_honest_until_it_wakes() -> None:
    setup = setup_of({"name": "sleeper+label-flip", "wake": 1})
    adversary = Adversary(setup)
    sent = adversary.act(0, honest_of(setup))
    for sybil in range(setup.sybils):
        assert torch.equal(sent[sybil], trained(setup, setup.initial[setup.honest], setup.share, who=sybil))
    assert not torch.equal(sent[0], sent[1])
    start = adversary.params
    awake = adversary.act(1, honest_of(setup, 1))
    assert torch.equal(awake[0], trained(setup, start, setup.shards[setup.honest].train, round=1))


def test_groups_of_sybils_train_on_rows_of_their_own() -> None:
    setup = setup_of({"name": "dba", "parts": 2, "extra": 20}, sybils=3, phi=None)
    sent = Adversary(setup).act(0, honest_of(setup))
    rows = setup.shards[setup.honest].train
    start = setup.initial[setup.honest]
    for sybil in range(3):
        group = sybil % 2
        assert torch.equal(sent[sybil], trained(setup, start, rows[group::2], who=group))


def test_more_groups_than_sybils_leave_rows_unused() -> None:
    setup = setup_of({"name": "dba", "parts": 4, "extra": 20}, sybils=1, phi=None)
    sent = Adversary(setup).act(0, honest_of(setup))
    rows = setup.shards[setup.honest].train
    assert torch.equal(sent[0], trained(setup, setup.initial[setup.honest], rows[0::4]))


def test_honest_models_that_are_not_finite_are_not_heard() -> None:
    setup = setup_of("none+alie")
    adversary = Adversary(setup)
    honest = honest_of(setup)
    honest[3] = float("nan")
    sent = adversary.act(0, honest)
    assert bool(torch.isfinite(sent).all())
    assert bool(torch.isfinite(adversary.params).all())


def test_training_that_diverges_leaves_the_model_as_it_was() -> None:
    setup = setup_of("label-flip", lr=3e38)
    adversary = Adversary(setup)
    sent = adversary.act(0, honest_of(setup))
    assert torch.equal(sent[0], setup.initial[setup.honest])


def test_the_view_knows_what_honest_nodes_train() -> None:
    setup = setup_of("foreign-columns", partition={"name": "classes", "k": 2})
    sent = Adversary(setup).act(0, honest_of(setup))
    assert sent.shape == (setup.sybils, setup.learner.dimension)


def test_without_an_attack_there_is_no_adversary() -> None:
    with pytest.raises(ValueError, match="no adversary"):
        Adversary(setup_of("none"))


def test_without_sybils_nothing_is_sent() -> None:
    setup = setup_of("label-flip", phi=None, sybils=0)
    assert Adversary(setup).act(0, honest_of(setup)).shape == (0, setup.learner.dimension)
