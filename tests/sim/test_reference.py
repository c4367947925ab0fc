"""The orders of the reference scenarios, small: digits, 25 honest nodes, two attack edges each, one seed.

The whole scenarios and their bounds: `python -m benchmarks.scenarios`.
"""

from __future__ import annotations

from functools import cache

import pytest

from aggregation.registry import build_rule
from benchmarks.scenarios import BRISTLE, BRISTLE_RULES, FOLDER, REFERENCE, Found, Row, bristle_orders, off, orders
from simulator.fast.engine import Options, run
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare

ROUNDS = 25


@cache
def _setup() -> Setup:
    values = {
        "name": "reference-small",
        "task": "digits",
        "nodes": 25,
        "rounds": ROUNDS,
        "rules": ["mean"],
        "topology": "random-geometric",
        "alpha": 0.3,
        "phi": 2,
        "attack": "label-flip",
        "initial": "independent",
        "held_out": 0.0,
        "evaluate_every": ROUNDS,
    }
    return prepare(Scenario.of(values))


@cache
def _last(rule: str) -> tuple[float, float, float]:
    """Accuracy, attack success, mean weight given to Sybils in the last round."""
    *_, record = run(_setup(), build_rule(rule), options=Options(threads=1))
    assert record.accuracy is not None
    assert record.success is not None
    return float(record.accuracy.mean()), float(record.success.mean()), record.influence.sybil


def test_a_plain_mean_is_taken_over_by_sybils() -> None:
    assert _last("mean")[1] > 0.8


def test_the_median_gives_way_where_sybils_are_many() -> None:
    assert _last("median")[1] > 0.25


@pytest.mark.parametrize("rule", ["foolsgold", "sybilwall"])
def test_rules_of_similarity_see_two_identical_sybils(rule: str) -> None:
    accuracy, success, weight = _last(rule)
    assert success < 0.1
    assert weight < 0.05
    assert accuracy > _last("mean")[0] + 0.1


def test_the_orders_hold_for_the_reference_itself() -> None:
    found = {name: {row.rule: _found(row) for row in rows} for name, rows in REFERENCE.items()}
    assert all(holds for _, holds in orders(found))


def test_the_orders_of_bristle_hold_for_the_reference_itself() -> None:
    flipped = dict(zip(BRISTLE_RULES, BRISTLE["bristle-ring4-flip"], strict=True))
    assert all(holds for _, holds in bristle_orders(flipped))


@pytest.mark.parametrize("name", [*REFERENCE, *BRISTLE])
def test_every_cell_is_a_scenario_whose_attackers_are_as_the_reference_has_them(name: str) -> None:
    scenario = Scenario.load(FOLDER / f"{name}.toml")
    attack = scenario.attack
    assert (attack is None) == (name in ("bristle-iid", "bristle-ring4"))
    if attack is not None and name in BRISTLE:
        assert attack.parameters["parts"] == scenario.sybils == 5
        assert attack.parameters["every"] is True
        assert attack.parameters["follow"] is False


def test_bounds_are_wide_in_the_middle_and_tight_at_the_ends() -> None:
    assert off(Row("mean", 0.6, 0.7), _found(Row("mean", 0.63, 0.84))) == ""
    assert off(Row("mean", 0.6, 0.95), _found(Row("mean", 0.6, 0.84))) == "attack"
    assert off(Row("mean", 0.6, 0.05), _found(Row("mean", 0.65, 0.14))) == "accuracy attack"


def _found(row: Row) -> Found:
    return Found(row.accuracy, 0.0, row.success, 1.0, 0.0, 1.0, 0.0)
