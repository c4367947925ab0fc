"""Does a rule, an attack, a graph, a split or a task of your own keep what hedgerow relies on? One call each.

    from simulator.conformance import check_rule

    def test_my_rule_is_a_rule() -> None:
        check_rule("mine:near_half")          # or the object itself

Laws:
- A check plays the real thing: both engines, real models, real draws. It takes a few seconds at most.
- What fails is one sentence: what was found, and what is relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from aggregation.evidence import Evidence, Rule, Table
from aggregation.registry import build_rule
from node.learning.learner import Learner
from node.learning.partition import SHARED, hold_out, partition
from node.learning.probe import LocalProbe
from node.learning.registry import PARTITIONS
from node.learning.task import Task
from node.learning.tasks import make_task
from simulator.fast.engine import FastEngine, Options
from simulator.study.records import Trace
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare
from simulator.study.topology import TopologyError, draw
from simulator.world import engine as world

NEAR = 1e-5
"""How far models of the two engines may be apart, and a rule's answers for two orders of the same neighbours."""
_NODES = (1, 2, 3, 8, 16, 33)
_SMALL: Mapping[str, object] = {
    "nodes": 6,
    "rounds": 3,
    "topology": {"name": "regular", "degree": 3},
    "sybils": 2,
    "sybil_degree": 3,
    "evaluate_samples": 50,
    "steps": 3,
}


def check_rule(rule: str | Rule | Callable[..., object], *, convex: bool = False) -> None:
    """Check a rule.

    It is asked with 0, 1 and 7 neighbours, some of them absent or not finite, in two orders, for one node and for many
    at once in both engines.

    Args:
        rule: a name with or without parameters, `module:name`, or the object.
        convex: it promises to stay within the range of the finite models, coordinate by coordinate.

    Raises:
        AssertionError: what it does not keep.
        NameFault, RuleError, ScenarioError: it is no rule.
    """
    scenario = Scenario.of({**_SMALL, "rules": [rule], "attack": "label-flip"})
    choice = scenario.rules[0]
    mine = build_rule(choice.name, **choice.parameters)
    for neighbours in (0, 1, 7):
        evidence = _evidence(neighbours)
        decision = mine.decide(evidence)
        if not torch.isfinite(decision.params).all():
            raise AssertionError(
                f"{choice}: with {neighbours} neighbours, some of them not finite, the model it decides is not finite; "
                "a neighbour whose row is not `evidence.present()` counts nothing"
            )
        unheard = decision.weights[~evidence.present()]
        if unheard.numel() and float(unheard.abs().max()) > 0:
            raise AssertionError(f"{choice}: a neighbour that is absent or not finite has weight; wanted 0")
        turned = torch.arange(neighbours).flip(0)
        other = mine.decide(replace(evidence, neighbours=evidence.neighbours[turned]))
        apart = float((other.params - decision.params).abs().max())
        if apart > NEAR or not torch.allclose(other.weights, decision.weights[turned], atol=NEAR):
            raise AssertionError(
                f"{choice}: the same neighbours in another order give another answer (models {apart:.2g} apart); who "
                "stands where must not matter"
            )
        if convex:
            here = torch.cat([evidence.own.view(1), evidence.neighbours[evidence.present()]])
            rows = evidence.table.values[here]
            low, high = rows.min(dim=0).values - NEAR, rows.max(dim=0).values + NEAR
            if bool(((decision.params < low) | (decision.params > high)).any()):
                raise AssertionError(f"{choice}: the model it decides leaves the range of the models it was given")
    engines_agree(prepare(scenario), mine)


def check_attack(attack: object, *, rule: str = "mean") -> None:
    """Check an attack: the same twice, the same in both engines, and nobody else's random numbers touched.

    Args:
        attack: a spelling, a table of name and parameters, or the object.
        rule: of the honest nodes.

    Raises:
        AssertionError: what it does not keep.
        NameFault, AttackError, ScenarioError: it is no attack.
    """
    scenario = Scenario.of({**_SMALL, "rules": [rule], "attack": attack})
    setup, found = prepare(scenario), []
    for _ in range(2):
        before = _global_draws()
        engine, traces = FastEngine(setup, build_rule(rule), Options(threads=1)), list[Trace]()
        for _ in range(scenario.rounds):
            engine.step(traces.append)
        engine.close()
        found.append(torch.stack([trace.sent for trace in traces]))
        if _global_draws() != before:
            raise AssertionError(
                f"{scenario.attack}: it draws from torch's or NumPy's global generator; draw from view.generator(...), "
                "so that a run can be repeated"
            )
    if not torch.equal(found[0].nan_to_num(), found[1].nan_to_num()):
        raise AssertionError(
            f"{scenario.attack}: the same run gives other models the second time; keep no state, and draw from "
            "view.generator(...) only"
        )
    engines_agree(setup, build_rule(rule))


def check_topology(topology: object) -> None:
    """Check a graph: connected, without loops, a function of its generator, for some number of nodes up to 33.

    Args:
        topology: a name with or without parameters, `module:name`, or the function.

    Raises:
        AssertionError: what it does not keep.
        NameFault, ScenarioError: it is no topology.
    """
    choice = Scenario.of({"topology": topology}).topology
    drawn = 0
    for nodes in _NODES:
        try:
            one, two = (draw(choice.name, nodes, np.random.default_rng(3), choice.parameters) for _ in range(2))
        except TopologyError:
            continue
        drawn += 1
        if nx.number_of_selfloops(one):
            raise AssertionError(f"{choice}: with {nodes} nodes some node is its own neighbour")
        if set(map(frozenset, one.edges)) != set(map(frozenset, two.edges)):
            raise AssertionError(f"{choice}: the same generator gives two graphs of {nodes} nodes; draw from it only")
    if drawn < 2:
        raise AssertionError(f"{choice}: no graph for any of {', '.join(map(str, _NODES[1:]))} nodes")


def check_partition(split: object) -> None:
    """Check a split of data: rows that exist, none twice, a function of its generator.

    Args:
        split: a name with or without parameters, `module:name`, or the function.

    Raises:
        AssertionError: what it does not keep.
        NameFault, ScenarioError: it is no partition.
    """
    choice = Scenario.of({"partition": split}).partition
    PARTITIONS.find(choice.name)
    labels = torch.arange(600) % 10
    numbers = {key: value for key, value in choice.parameters.items() if not isinstance(value, str)}
    for nodes in (1, 2, 7, 20):
        one, two = (partition(choice.name, labels, nodes, np.random.default_rng(3), **numbers) for _ in range(2))
        rows = torch.cat(one)
        twice = any(len(torch.unique(some)) < len(some) for some in (one if choice.name in SHARED else [rows]))
        if len(one) != nodes or twice or int(rows.min()) < 0 or int(rows.max()) >= 600:
            raise AssertionError(f"{choice}: {nodes} nodes need {nodes} lists of rows 0 to 599, no row twice")
        if not all(torch.equal(a, b) for a, b in zip(one, two, strict=True)):
            raise AssertionError(f"{choice}: the same generator gives two splits; draw from it only")


def check_task(task: str | Task) -> None:
    """Check a task: one initial model a seed, training that repeats itself and stays finite, an accuracy.

    Args:
        task: a name, `module:name`, or the task.

    Raises:
        AssertionError: what it does not keep.
        NameFault, TaskError: it is no task.
    """
    mine = make_task(task) if isinstance(task, str) else task
    learner, again = Learner(mine), Learner(mine)
    start = learner.initial(1)
    if not torch.equal(start, again.initial(1)):
        raise AssertionError(f"task '{mine.name}': one seed gives two initial models; nodes must start from one")
    rows = torch.arange(min(64, len(mine.train)))
    (trained, state), (repeated, _) = (each.train(start, mine.train, rows, 1, 7, 0) for each in (learner, again))
    if not torch.isfinite(trained).all():
        raise AssertionError(f"task '{mine.name}': training diverges in its first round; take a smaller learning rate")
    if torch.equal(trained, start):
        raise AssertionError(f"task '{mine.name}': training changes nothing")
    if not torch.equal(trained, repeated):
        raise AssertionError(f"task '{mine.name}': the same training gives two models; draw nothing of your own")
    accuracy = float(learner.accuracy(trained, mine.test, state.buffers))
    assert 0 <= accuracy <= 1


def engines_agree(setup: Setup, rule: Rule, compiled: bool | None = None) -> list[Trace]:
    """Play a scenario in both engines, each round from identical inputs.

    Args:
        setup: of the run.
        rule: of the honest nodes.
        compiled: numba kernels in the array engine; None = when numba is there.

    Returns:
        The world's rounds.

    Raises:
        AssertionError: models more than 1e-5 apart, other weights, other verdicts, or training that diverges at others.
    """
    traces, ours = list[Trace](), list[Trace]()
    for _ in world.run(setup, rule, traces.append):
        pass
    engine = FastEngine(setup, rule, Options(compiled=compiled))
    for theirs in traces:
        engine.params = theirs.start
        engine.step(ours.append)
        mine = ours[-1]
        _near("trained models", mine.trained, theirs.trained)
        # a model that was refused or kept back reads as NaN on one side only
        here = torch.isfinite(theirs.sent).all(dim=1)
        size = max(1.0, float(theirs.sent[here].abs().max())) if here.any() else 1.0
        _near("models sent", mine.sent[here] / size, theirs.sent[here] / size)
        _near(f"{rule.name}: integrated models", mine.integrated, theirs.integrated)
        if not np.array_equal(mine.diverged, theirs.diverged):
            raise AssertionError(
                f"training diverges at {mine.diverged} in one engine, at {theirs.diverged} in the other"
            )
        for what in ("senders", "receivers", "verdicts", "away"):
            if not np.array_equal(getattr(mine.edges, what), getattr(theirs.edges, what)):
                raise AssertionError(f"{rule.name}: {what} differ between the engines; is it written for batches?")
        if not np.allclose(mine.edges.weights, theirs.edges.weights, rtol=0, atol=NEAR):
            raise AssertionError(f"{rule.name}: weights differ between the engines; is it written for batches?")
    engine.close()
    return traces


def _global_draws() -> tuple[bytes, str]:
    """Where the process's own generators stand."""
    return torch.random.get_rng_state().numpy().tobytes(), repr(np.random.get_state(legacy=False))


def _near(what: str, ours: Tensor, theirs: Tensor) -> None:
    if not torch.equal(torch.isfinite(ours), torch.isfinite(theirs)):
        raise AssertionError(f"{what} are finite in one engine only")
    apart = torch.where(torch.isfinite(ours), ours - theirs, 0.0)
    gap = float(apart.abs().max()) if apart.numel() else 0.0
    if gap > NEAR:
        raise AssertionError(
            f"{what} of the two engines are {gap:.2g} apart ({NEAR:g} is borne); is it written for batches?"
        )


def _evidence(neighbours: int) -> Evidence:
    """What one node knows in a round on digits: its own model, neighbours' (the last three: absent, NaN, infinite)."""
    task = make_task("digits")
    learner = Learner(task)
    start = learner.initial(1)
    shares = partition("dirichlet", task.train.labels, 8, np.random.default_rng(1), alpha=0.5)
    shards = [hold_out(task.train.labels, share, task.held_out, np.random.default_rng(2)) for share in shares]
    models = [
        learner.train(start, task.train, shard.train, 1, place, 0)[0] for place, shard in enumerate(shards, start=1)
    ]
    nothing, infinite = torch.full_like(start, torch.nan), start.clone().index_fill_(0, _FIRST, torch.inf)
    values = torch.stack([*models, nothing, infinite, start])
    rows = torch.arange(1, 1 + neighbours)
    if neighbours > 3:
        rows[-3:] = torch.tensor([-1, len(models), len(models) + 1])
    own_classes = torch.bincount(task.train.labels[shards[0].train], minlength=learner.classes) > 0
    return Evidence(
        table=Table(values),
        own=torch.tensor(0),
        neighbours=rows,
        relayed=torch.tensor([-1]),
        start=torch.tensor(len(models) + 2),
        initial=torch.tensor(len(models) + 2),
        round=1,
        rounds=10,
        head=learner.head,
        own_classes=own_classes,
        honest=torch.ones(neighbours, dtype=torch.bool),
        probe=LocalProbe(learner, task.train, shards[0], values[0]),
    )


_FIRST = torch.tensor([0])
