"""Which engine runs what: the fast one wherever it gives the world's answer, and the record names it."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.engines import choose_engine, settled
from simulator.study.scenario import Scenario, ScenarioError
from simulator.work.cells import Finished, Started, cells_of
from simulator.work.sweep import sweep

SMALL: dict[str, object] = {
    "nodes": 5, "rounds": 4, "rules": ["sybilwall"], "sybils": 2, "evaluate_samples": 100,
    "topology": "ring", "partition": "iid(per_class=10)",
}  # fmt: skip
SYNCHRONOUS = [{}, {"attack": "none"}, {"latency": 0.0}, {"latency": 0.15}, {"attack": "label-flip+boosted"}]
ASYNCHRONOUS = [
    ("jitter", {"jitter": 0.1}),
    ("loss", {"loss": 0.1}),
    ("bandwidth", {"bandwidth": 1e6}),
    ("cuts", {"cuts": [{"start": 1, "stop": 2}]}),
    ("crashes", {"crashes": [{"nodes": [1], "round": 1}]}),
    ("latency", {"latency": 0.2}),
    ("latency", {"deadline": 0.1}),
    ("attack", {"attack": "label-flip+replay"}),
]


@pytest.mark.parametrize("changes", SYNCHRONOUS, ids=str)
def test_a_synchronous_scenario_is_for_the_fast_engine(changes: dict[str, object]) -> None:
    choice = choose_engine(Scenario.of(SMALL | changes))
    assert str(choice) == "fast engine (synchronous scenario)"
    assert choose_engine(Scenario.of(SMALL | changes | {"engine": "world"})).engine == "world"


@pytest.mark.parametrize(("key", "changes"), ASYNCHRONOUS, ids=str)
def test_what_needs_a_network_is_for_the_world_and_refused_by_the_fast_engine(
    key: str, changes: dict[str, object]
) -> None:
    assert str(choose_engine(Scenario.of(SMALL | changes))) == f"world engine ({key} matters)"
    with pytest.raises(ScenarioError, match=f'^{key}: the fast engine has no network; set engine = "world"$'):
        Scenario.of(SMALL | changes | {"engine": "fast"})


def test_the_default_is_auto_and_the_report_names_the_engine_that_ran() -> None:
    scenario = Scenario.of(SMALL)
    assert scenario.engine == "auto"
    assert settled(scenario) == scenario.but(engine="fast")
    report = sweep(scenario)
    assert report.scenario.engine == "fast"
    assert report.numbers(False) == sweep(scenario.but(engine="fast")).numbers(False)


def test_as_long_as_latency_does_not_matter_the_world_answers_as_the_fast_engine_does() -> None:
    scenario = Scenario.of(SMALL | {"latency": 1 / 6, "deadline": 1.0})
    assert choose_engine(scenario).engine == "fast"
    fast, world = (sweep(scenario.but(engine=engine)).records["sybilwall"] for engine in ("fast", "world"))
    for one, other in zip(fast, world, strict=True):
        assert (one.influence.honest, one.influence.sybil) == pytest.approx(
            (other.influence.honest, other.influence.sybil), abs=1e-4
        )
    assert fast[-1].accuracy is not None
    assert world[-1].accuracy is not None
    np.testing.assert_allclose(fast[-1].accuracy, world[-1].accuracy, atol=0.011)  # one sample of a hundred


@pytest.mark.parametrize(
    ("engine", "words", "phases"),
    [
        ("fast", ("fast engine (synchronous scenario)", "training: "), {"train", "gram", "weights", "mix", "relay"}),
        ("world", ("world engine (as asked", "5 node services", "training: "), {"services"}),
    ],
)
def test_an_engine_says_how_it_runs_and_where_its_time_went(
    engine: str, words: tuple[str, ...], phases: set[str]
) -> None:
    first, *_, last = cells_of(Scenario.of(SMALL | {"engine": engine}))[0].run()
    assert isinstance(first, Started)
    assert isinstance(last, Finished)
    assert all(word in first.about for word in words)
    assert "\n" not in first.about
    assert phases | {"prepare", "evaluate", "rest"} <= set(last.seconds)
    assert min(last.seconds.values()) >= 0
