"""What the shell offers after TAB is what there is."""

from __future__ import annotations

from aggregation.registry import RULES
from node.learning.registry import MODELS, PARTITIONS, TASKS
from node.show import offers
from simulator.attacks.registry import ATTACKS
from simulator.commands import attack, matrix, simulate
from simulator.live.suites import SUITES
from simulator.matrix.plan import PRESETS
from simulator.study.registry import TOPOLOGIES
from simulator.study.scenario import Scenario


def test_names_of_the_registries_are_offered() -> None:
    assert offers.RULES("") == list(RULES)
    assert offers.TASKS("") == list(TASKS)
    assert offers.MODELS("") == list(MODELS)
    assert offers.PARTITIONS("") == list(PARTITIONS)
    assert simulate.ATTACKS("") == list(ATTACKS)
    assert simulate.TOPOLOGIES("") == list(TOPOLOGIES)
    assert sorted(matrix.PRESETS("")) == sorted(PRESETS)


def test_only_what_was_begun_is_offered() -> None:
    assert offers.TASKS("fashion") == ["fashion-mnist", "fashion-mnist-head"]
    assert offers.words("auto", "fast", "world")("w") == ["world"]
    assert offers.RULES("no-such") == []


def test_the_last_of_several_attacks_is_completed() -> None:
    assert simulate.ATTACKS("label-flip+clo") == ["label-flip+clones"]


def test_short_lists_that_are_written_down_are_complete() -> None:
    assert ("all", *SUITES) == attack.SUITES
    engines = Scenario.model_fields["engine"].annotation
    assert set(simulate.ENGINES) == set(getattr(engines, "__args__", ()))
