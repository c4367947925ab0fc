"""A simulation that nobody named is called by its task and its attack."""

from __future__ import annotations

import pytest

from simulator.study.scenario import Scenario
from simulator.study.title import title


@pytest.mark.parametrize(
    ("task", "attack", "name"),
    [
        ("digits", "label-flip+clones", "digits-label-flip+clones"),
        ("digits", None, "digits"),
        ("examples.own_task:task", None, "examples.own_task-task"),
        ("a" * 80, "alie", "a" * 64),
        ("+:", None, "simulation"),
    ],
)
def test_its_name_is_one_that_a_scenario_may_have(task: str, attack: str | None, name: str) -> None:
    assert title(task, attack) == name
    assert Scenario(name=name).name == name
