"""The checks that others call pass what is right, and say in a sentence what is not."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from numpy.random import Generator
from torch import Tensor, nn

from aggregation.evidence import Evidence, Weights
from aggregation.registry import RULES
from node.learning.task import Task
from simulator.attacks.attack import AttackError, AttackView
from simulator.conformance import check_attack, check_partition, check_rule, check_task, check_topology
from simulator.study.registry import TOPOLOGIES

CONVEX = ("mean", "median", "trimmed-mean", "krum", "geometric-median", "bulyan", "nnm-trimmed-mean", "hedgerow")


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_shipped_rule_keeps_the_promises(rule: str) -> None:
    check_rule(rule, convex=rule in CONVEX)


@pytest.mark.parametrize("attack", ["label-flip", "orthogonal-noise", "label-flip+mimic"])
def test_shipped_attacks_keep_the_promises(attack: str) -> None:
    check_attack(attack)


@pytest.mark.parametrize("topology", sorted(set(TOPOLOGIES) - {"edge-list"}))
def test_every_shipped_graph_keeps_the_promises(topology: str) -> None:
    check_topology(topology)


@pytest.mark.parametrize("split", ["iid", "dirichlet(alpha=0.1)", "drawn(samples=60)", "classes", "ring", "shards"])
def test_every_shipped_split_keeps_the_promises(split: str) -> None:
    check_partition(split)


def test_a_shipped_task_keeps_the_promises() -> None:
    check_task("digits")


def everyone(evidence: Evidence, weight: float = 1.0) -> Weights:
    own = torch.ones_like(evidence.own, dtype=torch.float32)
    return Weights(own, weight * evidence.present().float(), evidence.absence())


def first_wins(evidence: Evidence) -> Weights:
    found = everyone(evidence)
    found.neighbours[..., 1:] = 0
    return found


def hears_the_absent(evidence: Evidence) -> Weights:
    return Weights(everyone(evidence).own, torch.ones(evidence.neighbours.shape), evidence.absence())


def one_node_only(evidence: Evidence) -> Weights:
    found = everyone(evidence)
    if evidence.own.dim() > 0:
        found.neighbours[:] = 0
    return found


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (first_wins, "in another order give another answer"),
        (hears_the_absent, "absent or not finite has weight"),
        (one_node_only, "written for batches"),
    ],
)
def test_a_rule_that_breaks_a_promise_is_told_which(rule: object, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_rule(rule)  # type: ignore[arg-type]


def test_a_rule_of_ones_own_passes() -> None:
    check_rule(everyone, convex=True)


class Forgetful:
    def __init__(self) -> None:
        self.calls = 0

    def craft(self, view: AttackView, models: Tensor) -> Tensor:
        self.calls += 1
        return models * self.calls


class Drawing:
    def craft(self, view: AttackView, models: Tensor) -> Tensor:
        return models + torch.randn(models.shape)


class Short:
    def craft(self, view: AttackView, models: Tensor) -> Tensor:
        return models[:1]


class Swap:
    """Poison alone: the adversary trains on shifted labels."""

    def poison(self, data, rows, generator):  # type: ignore[no-untyped-def]
        part = data.take(rows)
        return type(part)(part.inputs, (part.labels + 1) % 10)


def test_an_attack_that_breaks_a_promise_is_told_which() -> None:
    with pytest.raises(AssertionError, match="other models the second time"):
        check_attack(Forgetful())
    with pytest.raises(AssertionError, match="global generator"):
        check_attack(Drawing())
    with pytest.raises(AttackError, match=r"of shape \(1, 650\); wanted torch\.float32 of shape \(2, 650\)"):
        check_attack(Short())


def test_attacks_of_ones_own_pass() -> None:
    check_attack(Swap())
    check_attack(lambda view, models: view.centre() + 0.5 * (models - view.centre()))


def loops(nodes: int, generator: Generator) -> nx.Graph[int]:
    graph = nx.complete_graph(nodes)
    graph.add_edge(0, 0)
    return graph


def restless(nodes: int, generator: Generator) -> nx.Graph[int]:
    return nx.random_labeled_tree(nodes, seed=np.random.default_rng())


def star(nodes: int, generator: Generator) -> nx.Graph[int]:
    return nx.star_graph(nodes - 1)


def test_graphs_of_ones_own() -> None:
    check_topology(star)
    with pytest.raises(AssertionError, match="its own neighbour"):
        check_topology(loops)
    with pytest.raises(AssertionError, match="gives two graphs"):
        check_topology(restless)


def in_order(labels, nodes, generator):  # type: ignore[no-untyped-def]
    return np.array_split(np.arange(len(labels)), nodes)


def twice(labels, nodes, generator):  # type: ignore[no-untyped-def]
    return [np.arange(len(labels)) for _ in range(nodes)]


def test_splits_of_ones_own() -> None:
    check_partition(in_order)
    with pytest.raises(AssertionError, match="no row twice"):
        check_partition(twice)


def test_a_task_that_diverges_is_told() -> None:
    data = (torch.randn(90, 4) * 1e30, torch.arange(90) % 3)
    with pytest.raises(AssertionError, match="diverges in its first round"):
        check_task(Task(nn.Linear(4, 3), data, data))
