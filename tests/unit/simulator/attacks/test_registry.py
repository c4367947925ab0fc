"""Every attack by name, spellings, and laws that hold for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from views import clones_of, small_view

from hedgerow_registry import UnknownName
from simulator.attacks.attack import Attack, AttackSpec, Backdoor, Craft, Flip, Knowledge, Shift, Stage
from simulator.attacks.registry import ATTACKS
from simulator.attacks.spelling import build_attack

MODEL = sorted(name for name, spec in ATTACKS.items() if spec.stage is Stage.MODEL)
DRAWN = ("gaussian", "free-rider", "orthogonal-noise", "pairs", "structured-noise", "null-space-decoys")


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_is_described_and_builds_with_its_defaults(name: str) -> None:
    spec = ATTACKS[name]
    assert spec.name == name
    assert ATTACKS.entries[name].source
    assert ATTACKS.entries[name].summary
    assert isinstance(build_attack(name), Attack)
    if spec.strength is not None:
        assert spec.strength.parameter in spec.parameters
        assert 0 < spec.strength.low < spec.strength.high


@pytest.mark.parametrize("name", MODEL)
def test_every_craft_is_a_function_of_the_view(name: str) -> None:
    view = small_view()
    models = clones_of(view).clone()
    before = view.honest.clone(), models.clone()
    attack = build_attack(name)
    sent = attack.craft(view, models)
    assert sent.shape == (4, view.honest.shape[1])
    assert sent.dtype == torch.float32
    assert torch.equal(view.honest, before[0])
    assert torch.equal(models, before[1])
    assert torch.equal(torch.nan_to_num(sent), torch.nan_to_num(attack.craft(view, models)))
    assert bool(torch.isfinite(sent).all()) == (name != "nan-model")


@pytest.mark.parametrize("name", DRAWN)
def test_noise_is_new_in_every_round_and_seed(name: str) -> None:
    view = small_view()
    craft = build_attack(name).craft
    models = clones_of(view)
    sent = craft(view, models)
    assert not torch.equal(sent, craft(replace(view, round=2), models))
    assert not torch.equal(sent, craft(replace(view, seed=4), models))


@pytest.mark.parametrize("name", MODEL)
def test_one_sybil_and_many_are_served_alike(name: str) -> None:
    for sybils in (1, 9):
        view = small_view(sybils=sybils)
        assert build_attack(name).craft(view, clones_of(view)).shape[0] == sybils


def test_stages_are_joined_by_plus_and_act_in_order() -> None:
    view = small_view()
    models = clones_of(view)
    chain = build_attack("sleeper+label-flip+scaled-clones+gaussian", {"wake": 7, "scale": 0.1, "medians": 1.0})
    assert chain.wake == 7
    assert chain.measure == Flip(0, 1)
    first = build_attack("scaled-clones", {"medians": 1.0}).craft(view, models)
    assert torch.equal(chain.craft(view, models), build_attack("gaussian", {"scale": 0.1}).craft(view, first))


def test_without_a_model_stage_sybils_are_clones_and_without_a_data_stage_the_share_stays() -> None:
    view = small_view()
    assert torch.equal(build_attack("label-flip").craft(view, clones_of(view)), clones_of(view))
    assert build_attack("gaussian").data.poison is None


def test_the_measure_is_that_of_the_data_stage() -> None:
    assert build_attack("gaussian").measure == Flip(0, 1)
    assert build_attack("label-shift+clones").measure == Shift(1)
    assert isinstance(build_attack("backdoor+clones").measure, Backdoor)
    assert build_attack("dba", {"parts": 2}).groups == 2


def test_knowledge_adds_up() -> None:
    assert build_attack("label-flip+dissensus").knowledge == frozenset(
        {Knowledge.SHARD, Knowledge.DATA, Knowledge.UPDATES, Knowledge.GRAPH}
    )
    assert Knowledge.RULE in build_attack("gaussian", {"tune": True}).knowledge


def test_a_parameter_of_two_stages_is_named_with_its_stage() -> None:
    with pytest.raises(ValueError, match=r"'orthogonal-noise\.c' or 'pairs\.c'"):
        build_attack("orthogonal-noise+pairs", {"c": 1.0})
    built = build_attack("orthogonal-noise+pairs", {"pairs.c": 0.1, "orthogonal-noise.c": 2})
    assert len(built.crafts) == 2


@pytest.mark.parametrize(
    ("spelling", "parameters", "words"),
    [
        ("label-flop", {}, "label-flip"),
        ("gaussian", {"scal": 1.0}, "scale"),
        ("gaussian", {"pairs.scale": 1.0}, "unknown attack parameter"),
        ("label-flip+backdoor", {}, "2 data stages"),
        ("sleeper+sleeper", {}, "2 time stages"),
        ("gaussian", {"scale": "loud"}, "wanted float"),
        ("label-flip", {"first": 1.5}, "wanted int"),
        ("label-flip", {"every": 1}, "wanted bool"),
        ("label-flip", {"tune": True}, "no strength"),
        ("gaussian", {"scale": -1}, "a finite number >= 0"),
        ("gaussian", {"scale": float("nan")}, "a finite number"),
        ("neurotoxin", {"top": float("inf")}, "a finite number"),
        ("sleeper", {"wake": -1}, "rounds begin at 0"),
    ],
)
def test_what_nobody_knows_or_cannot_be_is_refused(spelling: str, parameters: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_attack(spelling, parameters)


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(UnknownName, match="did you mean 'sign-flip'"):
        build_attack("signflip")


def test_an_attack_of_ones_own_needs_a_function_and_a_line() -> None:
    def zeros(scale: float = 0.0) -> Craft:
        return lambda view, models: models * scale

    spec = AttackSpec("zeros", Stage.MODEL, frozenset(), zeros, {"scale": 0.0})
    view = small_view()
    craft = spec.build(**spec.parameters)
    assert callable(craft)
    assert float(craft(view, clones_of(view)).abs().max()) == 0.0
