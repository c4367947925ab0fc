"""What a sweep will need: said where it is much, refused where it is hopeless, and neither for what is small."""

from __future__ import annotations

import pytest

from simulator.study.scenario import Scenario, ScenarioError
from simulator.work.forecast import Forecast, forecast, foretell, memory
from simulator.work.sweep import sweep

HERE = 24e9


def ahead(workers: int = 1, **changes: object) -> Forecast:
    return forecast(Scenario.of(changes), dimension=650, samples=1438, tests=359, workers=workers)


def test_the_demo_is_too_small_for_a_forecast() -> None:
    assert foretell(Scenario.demo()) is None
    assert ahead(phi=1).warning(HERE) is None


def test_what_is_hopeless_is_refused_at_once_with_what_to_change() -> None:
    with pytest.raises(ScenarioError, match=r"needs about \d+ TB of memory, and the machine has .*: take fewer sybils"):
        sweep(Scenario.of({"sybils": 1_000_000, "nodes": 5}))
    with pytest.raises(ScenarioError, match=r"take fewer nodes"):
        ahead(nodes=100_000, topology="complete").check(HERE)
    with pytest.raises(ScenarioError, match=r"24 GB: take fewer nodes"):
        forecast(Scenario.of({"nodes": 10_000}), 10_000_000, 60_000, 10_000).check(HERE)


@pytest.mark.parametrize("changes", [{"nodes": 100_000}, {"nodes": 500, "engine": "world", "rounds": 100}])
def test_what_is_long_or_large_is_said_and_allowed(changes: dict[str, object]) -> None:
    found = ahead(**changes)
    found.check(HERE)
    said = found.warning(HERE)
    assert said is not None
    assert said.startswith("this takes about ")
    assert said.endswith("of 24 GB memory, by estimate")


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"rounds": 10}, {"rounds": 100}),
        ({"nodes": 20}, {"nodes": 200}),
        ({"rules": ["mean"]}, {"rules": ["mean", "krum"]}),
        ({"seeds": [1]}, {"seeds": [1, 2, 3]}),
        ({"sybils": 2}, {"sybils": 200}),
        ({"rules": ["mean"]}, {"rules": ["sybilwall"]}),
        ({"engine": "fast"}, {"engine": "world"}),
        ({"topology": "ring", "nodes": 100}, {"topology": "complete", "nodes": 100}),
    ],
)
def test_more_of_anything_takes_longer_and_no_less_memory(less: dict[str, object], more: dict[str, object]) -> None:
    one, other = ahead(**less), ahead(**more)
    assert one.seconds < other.seconds
    assert one.bytes <= other.bytes


def test_workers_share_the_time_and_add_up_in_memory() -> None:
    one, four = ahead(nodes=1_000), ahead(nodes=1_000, workers=4)
    assert four.seconds == pytest.approx(one.seconds / 4)
    assert four.bytes > 2 * one.bytes


def test_times_and_sizes_are_told_in_the_unit_that_fits() -> None:
    for seconds, words in ((5, "5 s"), (61, "1 minute"), (7_300, "2 hours"), (9e8, "10 417 days")):
        assert f"about {words} and" in str(Forecast(seconds, 20e9, "").warning(HERE))
    assert "1.5 GB of 2.0 GB memory" in str(Forecast(1, 1.5e9, "").warning(2e9))


def test_this_machine_has_memory() -> None:
    assert memory() > 1e8
