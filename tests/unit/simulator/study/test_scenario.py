"""Scenarios: what is refused, and with which sentence; what is read; what is drawn from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from node.learning.errors import TaskError
from simulator.study.choice import Choice, RuleChoice
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.setup import prepare
from simulator.work.sweep import sweep

SCENARIOS = sorted((Path(__file__).parents[4] / "scenarios").glob("*.toml"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"crowd": 5, "phi": 1.0},
            "crowd: a crowd comes in over vouches that somebody was fooled into; set fooled and vouches",
        ),
        ({"fooled": 0.1}, "fooled: nobody fools anybody without an adversary; name an attack, or leave it out"),
        ({"far": 4}, 'far: who is far is known by vouches alone; set vouches = "low", or what Sybils do'),
        ({"vouches": "some"}, "vouches: wanted 'off', 'low', 'ring', 'clique' or 'cells', not 'some'"),
        ({"fooled": 1.1, "phi": 1.0}, "fooled: wanted at most 1, not 1.1"),
        ({"far": -1, "vouches": "low"}, "far: wanted at least 0, not -1"),
        ({"toplogy": "ring"}, "unknown key 'toplogy': did you mean 'topology'?"),
        ({"topology": "rnig"}, "unknown topology 'rnig': did you mean 'ring'?"),
        ({"rules": ["sybilwal"]}, "did you mean 'sybilwall'?"),
        ({"attack": "label-flop"}, "did you mean 'label-flip'?"),
        ({"partition": "dirichle"}, "did you mean 'dirichlet'?"),
        ({"topology": {"name": "ring", "radius": 1}}, "unknown parameter of topology ring 'radius'"),
        ({"rules": [{"name": "mean", "speed": 1}]}, "speed"),
        ({"rules": []}, "rules: at least one rule is needed"),
        ({"rules": ["mean", "mean"]}, "rules: a rule is listed twice"),
        ({"seeds": []}, "seeds: at least one is needed"),
        ({"nodes": 0}, "nodes: wanted at least 1, not 0"),
        ({"nodes": "many"}, "nodes: wanted a whole number, not "),
        ({"loss": 1.0, "engine": "world"}, "loss: wanted a number below 1, not "),
        ({"alpha": float("nan")}, "alpha: wanted a finite number, not "),
        ({"loss": 0.1, "engine": "fast"}, 'loss: the fast engine has no network; set engine = "world"'),
        ({"cuts": [{"start": 5, "stop": 5}], "engine": "world"}, "cuts: a cut stops after it starts"),
        ({"cuts": [{"start": 5, "stpo": 6}], "engine": "world"}, "unknown key 'stpo': did you mean 'stop'?"),
        ({"crashes": [{"nodes": [99], "round": 1}], "engine": "world"}, "crashes: nodes are numbered 0 to 19"),
        ({"name": "../../etc"}, "name: "),
        ({"attack": {"nme": "label-flip"}}, "attack: a table needs a name, this one has nme"),
        ({"attack": ["label-flip"]}, 'attack: wanted "label-flip" or { name = "label-flip", ... }, not a list'),
        ({"attack": ["label-flip", "clones"]}, 'attack: wanted "label-flip+clones" or'),
        ({"topology": 4}, 'topology: wanted "NAME" or { name = "NAME", ... }, not 4'),
        ({"rules": "mean"}, 'rules: wanted a list: rules = ["mean"]'),
        ({"seeds": 3}, "seeds: wanted a list: seeds = [3]"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.of(values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "near"), [("task", "digits"), ("model", "lenet")])
def test_a_task_or_model_that_nobody_knows_is_refused_before_anything_is_drawn(key: str, near: str) -> None:
    with pytest.raises(ScenarioError, match=f"did you mean '{near}'"):
        prepare(Scenario.of({key: near + "t"}))


def test_a_file_is_named_after_itself_and_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    rules, topology = '["mean", { name = "krum", f = 1 }]', '{ name = "regular", degree = 2 }'
    path.write_text(f"nodes = 5\nrules = {rules}\ntopology = {topology}\n")
    scenario = Scenario.load(path)
    assert scenario.name == "small"
    assert scenario.topology == Choice(name="regular", parameters={"degree": 2})
    assert [str(rule) for rule in scenario.rules] == ["mean", "krum(f=1)"]
    path.write_text("nodes = ")
    with pytest.raises(ScenarioError, match=r"small.toml: not TOML"):
        Scenario.load(path)
    with pytest.raises(ScenarioError, match=r"none.toml: No such file"):
        Scenario.load(tmp_path / "none.toml")


def test_the_digest_names_every_input() -> None:
    scenario = Scenario()
    assert scenario.digest() == Scenario().digest()
    assert len({scenario.digest(), scenario.but(alpha=0.4).digest(), scenario.but(rules=["mean"]).digest()}) == 3
    assert scenario.but(attack="none").attack is None


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_shipped_scenario_can_be_read(path: Path) -> None:
    assert Scenario.load(path).rounds > 0


def test_a_setup_is_a_function_of_scenario_and_seed() -> None:
    scenario = Scenario()
    one, same, other = prepare(scenario), prepare(scenario), prepare(scenario, seed=2)
    assert one.peers == same.peers != other.peers
    assert one.neighbours == same.neighbours != other.neighbours
    assert torch.equal(one.initial, same.initial)
    assert all(torch.equal(a.train, b.train) for a, b in zip(one.shards, same.shards, strict=True))
    assert len({scenario.seeds, one.seed, other.seed}) == 3


def test_nobody_attacks_unless_the_scenario_says_so() -> None:
    assert Scenario().attack is None
    assert Scenario.of({"sybils": 0, "phi": 0.0}).attack is None
    for asked in ({"sybils": 3}, {"phi": 1}, {"attack": "label-flip"}):
        assert str(Scenario.of(asked).attack) == "label-flip"
    assert Scenario.of({"attack": "none", "sybils": 3}).attack is None
    assert Scenario.demo().attack == Scenario.demo(nodes=4).attack is not None
    assert Scenario.demo(attack="none").attack is None


def test_a_scenario_without_a_name_is_called_by_its_task_and_attack() -> None:
    assert Scenario.of({"name": "mine", "phi": 1}).name == "mine"
    assert Scenario().name == "digits-no-attack"
    assert Scenario.of({"attack": "label-flip+clones"}).name == "digits-label-flip+clones"
    assert Scenario.of({"attack": "label-flip+clones"}).but(rounds=3).name == "digits-label-flip+clones"
    assert Scenario.of({"task": "my.pack:task", "phi": 1}).name == "my.pack-task-label-flip"
    assert Scenario.of({"task": "x" * 99}).name == "x" * 64
    assert (Scenario.demo().name, Scenario.demo(nodes=4).name) == ("demo", "digits-label-flip")
    assert Scenario.of({"task": "___"}).but(rounds=3).title == "no-attack"


def test_numpy_numbers_and_paths_are_taken_as_what_they_are(tmp_path: Path) -> None:
    typed = Scenario.of(
        {"nodes": np.int64(6), "rounds": np.uint8(3), "alpha": np.float32(0.5), "seeds": np.arange(2),
         "data_dir": tmp_path, "rules": [{"name": "krum", "f": np.int64(1)}, "mean"],
         "topology": {"name": "regular", "degree": np.int32(4)},
         "attack": Choice(name="label-flip", parameters={"first": np.int64(2), "every": np.bool_(False)})}
    )  # fmt: skip
    plain = Scenario.of(
        {"nodes": 6, "rounds": 3, "alpha": 0.5, "seeds": [0, 1], "data_dir": str(tmp_path),
         "rules": ["krum(f=1)", "mean"], "topology": "regular(degree=4)", "attack": "label-flip(first=2, every=false)"}
    )  # fmt: skip
    assert typed == plain
    assert typed.digest() == plain.digest()


def test_a_setup_keeps_its_laws() -> None:
    setup = prepare(Scenario.demo())
    honest, everybody = setup.honest, setup.honest + setup.sybils
    assert (honest, setup.sybils) == (20, 10)
    assert len(setup.peers) == len(setup.neighbours) == len(setup.keys) == everybody
    for vertex, beside in enumerate(setup.neighbours):
        assert [setup.peers[other] for other in beside] == sorted(setup.peers[other] for other in beside)
        assert all(vertex in setup.neighbours[other] for other in beside)
        assert vertex < honest or all(other < honest for other in beside)
    assert [setup.peers[vertex] for vertex in setup.order] == sorted(setup.peers)
    assert setup.addresses.dtype == np.uint64
    rows = torch.cat([torch.cat([shard.train, shard.held_out]) for shard in setup.shards[:honest]] + [setup.share])
    assert len(torch.unique(rows)) == len(rows) == len(setup.task.train.labels)
    assert len(setup.shards) == honest + 1
    assert bool((setup.shards[honest].train >= setup.clean).all())
    assert len(setup.data.labels) == setup.clean + len(setup.shards[honest].train)
    assert setup.initial.shape == (honest + 1, setup.learner.dimension)
    assert bool((setup.initial == setup.common).all())


def test_independent_starts_differ_and_common_ones_do_not() -> None:
    setup = prepare(Scenario.of({"initial": "independent"}))
    assert len(torch.unique(setup.initial, dim=0)) == setup.honest + 1


def test_without_an_adversary_all_data_is_honest() -> None:
    setup = prepare(Scenario.of({"attack": "none"}))
    assert (setup.sybils, setup.attack, len(setup.shards)) == (0, None, setup.honest)
    assert len(setup.share) == 0


def test_overrides_change_the_task_of_this_run_only() -> None:
    task = prepare(Scenario()).task
    changed = prepare(Scenario.of({"lr": 0.5, "batch": 7, "epochs": 3, "held_out": 0.0}), task)
    assert (changed.task.optimizer.lr, changed.task.batch_size, changed.task.local_epochs) == (0.5, 7, 3)
    assert all(len(shard.held_out) == 0 for shard in changed.shards)
    assert (task.batch_size, task.held_out) != (7, 0.0)


@pytest.mark.parametrize(
    "text",
    ["krum", "krum(f=1)", "ring(a=1.5, b=true, c=word)", 'x+y(stage.key="a, b)", z="")', 'x(a="1", b="true", c=-2)'],
)
def test_a_choice_reads_what_it_writes(text: str) -> None:
    choice = _read(text)
    assert str(choice) == text
    assert _read(str(choice)) == choice


@pytest.mark.parametrize(
    "text", ["krum(f=1", "krum)", "krum(f)", "krum(f=1,)", "krum(f=1)x", "(f=1)", "krum(f=1 g=2)", "krum(a=b=c)"]
)
def test_a_malformed_choice_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"is not of the form NAME or NAME\(key=value, \.\.\.\)$"):
        Scenario.of({"rules": [text]})
    assert [str(rule) for rule in Scenario.of({"rules": [" krum( f = 1 )"]}).rules] == ["krum(f=1)"]


def _read(text: str) -> Choice:
    return TypeAdapter(RuleChoice).validate_python(text)


def test_samples_that_do_not_go_round_are_noticed_before_a_graph_is_drawn() -> None:
    scenario = Scenario.demo(nodes=3000, topology={"name": "edge-list", "file": "missing"})
    with pytest.raises(TaskError, match="do not go round 3001 nodes"):
        sweep(scenario)
