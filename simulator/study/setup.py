"""From a scenario and a seed to all that an engine starts from, for both engines alike.

Laws:
- Everything here is a function of (scenario, seed, task); rules and engines have no part in it.
- Vertices 0 .. H-1 are honest nodes, H .. H+S-1 are Sybils of one adversary. Sybils have no links
  among themselves.
- The adversary has one share of the data (the last), however many identities it plays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossip.transport.slots import group_of
from identity.keys import PeerId, SigningKey
from node.draws import Purpose, address, bits, generator
from node.learning.dataset import Dataset
from node.learning.learner import Learner
from node.learning.partition import BY_ALPHA, Shard, hold_out, partition
from node.learning.task import Task
from node.learning.tasks import make_task
from node.trust.standing import origin_of
from simulator.attacks.attack import Attack
from simulator.attacks.spelling import build_attack
from simulator.study.acquaintance import acquaintance
from simulator.study.placement import place
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.topology import draw


@dataclass(frozen=True, slots=True)
class Setup:
    """All that an engine starts from.

    Attributes:
        scenario: as written.
        seed: of this run.
        task: model, data and training settings, the scenario's overrides applied.
        learner: trains flat vectors of params.
        data: training rows, followed by the rows that the adversary poisoned.
        clean: number of rows before the poisoned ones.
        share: (k,) the adversary's own rows as dealt, before poisoning; empty without one.
        honest: H, number of honest nodes.
        sybils: S, number of the adversary's identities.
        neighbours: for every vertex (H + S) its neighbours' vertices, in order of peer id.
        keys: signing key of every vertex, derived from (seed, vertex).
        peers: peer id of every vertex.
        addresses: (H + S,) uint64 addresses of vertices in draws (first bytes of peer ids).
        order: (H + S,) vertices in order of peer id.
        named: for every honest vertex the neighbours that it names, Sybils that it was fooled into naming among them.
        near: for every honest vertex the neighbours that it knows: named, or by vouches.
        pool: for every honest vertex the vertices that far peers are drawn from, no neighbours; by peer id.
        mutual: (m, 2) vertices: statements over which those are found, each once.
        places: address of every vertex on the in-memory network: an IP address for Sybils of a few public networks.
        origins: (H + S,) uint64 where each comes from, see `node.trust.strangers`.
        shards: row numbers of every honest node, then the adversary's if there is one.
        attack: what the adversary does, or None.
        initial: (H + 1, d) float32 starting models of honest nodes and (last) of the adversary; read only, and
            one in memory where all start from it.
        common: (d,) the network's common initial model (histories `update`).
        network: 32 bytes that name the network; signed into every header.
    """

    scenario: Scenario
    seed: int
    task: Task
    learner: Learner
    data: Dataset
    clean: int
    share: Tensor
    honest: int
    sybils: int
    neighbours: tuple[tuple[int, ...], ...]
    keys: tuple[SigningKey, ...]
    peers: tuple[PeerId, ...]
    addresses: NDArray[np.uint64]
    order: NDArray[np.int64]
    named: tuple[frozenset[int], ...]
    near: tuple[frozenset[int], ...]
    pool: tuple[tuple[int, ...], ...]
    mutual: NDArray[np.int64]
    places: tuple[str, ...]
    origins: NDArray[np.uint64]
    shards: tuple[Shard, ...]
    attack: Attack | None
    initial: Tensor
    common: Tensor
    network: bytes

    def __repr__(self) -> str:
        """In one line, without data and models."""
        return f"Setup({self.scenario.name}, seed {self.seed}: {self.honest} honest nodes, {self.sybils} Sybils)"


def prepare(scenario: Scenario, task: Task | None = None, *, seed: int | None = None) -> Setup:
    """Draw the data split, the graph, the keys and the starting models of one run.

    Args:
        scenario: what to run.
        task: a task of the caller's own in place of the scenario's; the scenario's overrides hold for it too.
        seed: one of the scenario's seeds; absent = the first.

    Raises:
        ScenarioError: the scenario's parts do not fit together.
        TaskError: the data is missing or wrong.
        TopologyError: there is no such graph.
    """
    seed = scenario.seeds[0] if seed is None else seed
    honest = scenario.nodes
    task = _adjusted(task_of(scenario) if task is None else task, scenario)
    learner = Learner(task)
    attack = None if scenario.attack is None else build_attack(scenario.attack.name, scenario.attack.parameters)
    shares = _shares(scenario, task, honest + (attack is not None), seed)
    neighbours, keys = links(scenario, seed)
    peers = tuple(key.peer for key in keys)
    addresses = np.array([address(peer) for peer in peers], dtype=np.uint64)
    places = tuple(_place(scenario, vertex) for vertex in range(len(peers)))
    order = np.array(sorted(range(len(peers)), key=lambda vertex: peers[vertex]), dtype=np.int64)
    acquainted = acquaintance(scenario, seed, neighbours, order)
    origins = [origin_of(group_of(where), peer) for where, peer in zip(places, peers, strict=True)]

    shards = [
        hold_out(task.train.labels, share, task.held_out, generator(seed, Purpose.HOLD_OUT, vertex))
        for vertex, share in enumerate(shares[:honest])
    ]
    data, own = task.train, torch.empty(0, dtype=torch.int64)
    if attack is not None:
        own = rows = shares[honest]
        poisoned = attack.poison(data, own, generator(seed, Purpose.ATTACK))
        if poisoned is not None:
            if poisoned.classes > task.classes:
                raise ScenarioError(
                    f"attack '{scenario.attack}' teaches class {poisoned.classes - 1}, but the model has "
                    f"{task.classes} outputs: name a class from 0 to {task.classes - 1}"
                )
            rows = torch.arange(len(data.labels), len(data.labels) + len(poisoned.labels))
            data = data.joined(poisoned)
        shards.append(Shard(train=rows, held_out=torch.empty(0, dtype=torch.int64)))

    common = learner.initial(seed)
    if scenario.initial == "common":
        initial = common.expand(honest + 1, -1)  # one model in memory, however many start from it
    else:
        initial = torch.stack([learner.initial(_seed_of(seed, vertex)) for vertex in range(honest + 1)])
    return Setup(
        scenario=scenario,
        seed=seed,
        task=task,
        learner=learner,
        data=data,
        clean=len(task.train.labels),
        share=own,
        honest=honest,
        sybils=len(keys) - honest,
        neighbours=neighbours,
        keys=keys,
        peers=peers,
        addresses=addresses,
        order=order,
        named=acquainted.named,
        near=acquainted.near,
        pool=acquainted.pool,
        mutual=acquainted.mutual,
        places=places,
        origins=np.array(origins, dtype=np.uint64),
        shards=tuple(shards),
        attack=attack,
        initial=initial,
        common=common,
        network=hashlib.sha256(f"hedgerow/simulation/{scenario.digest()}/{seed}".encode()).digest(),
    )


def links(scenario: Scenario, seed: int) -> tuple[tuple[tuple[int, ...], ...], tuple[SigningKey, ...]]:
    """For every vertex its neighbours in order of peer id, and its key.

    Raises:
        TopologyError: there is no such graph.
    """
    beside = _graph(scenario, seed)
    keys = tuple(_key(seed, vertex) for vertex in range(len(beside)))
    return tuple(tuple(sorted(each, key=lambda vertex: keys[vertex].peer)) for each in beside), keys


def _place(scenario: Scenario, vertex: int) -> str:
    sybil = vertex - scenario.nodes
    return (
        f"node-{vertex}" if scenario.origins is None or sybil < 0 else f"2600:{sybil % scenario.origins:x}::{sybil:x}"
    )


def task_of(scenario: Scenario) -> Task:
    """The task that a scenario names, as it is shipped.

    Raises:
        ScenarioError: no such task or model.
        TaskError: the data is missing or wrong.
    """
    scenario.check_task()
    named = scenario.task, scenario.model, scenario.data_dir, scenario.extractor
    return make_task(*named) if ":" in scenario.task else _shipped(*named)


@lru_cache(maxsize=1)
def _shipped(name: str, model: str | None, data_dir: str | None, extractor: str | None) -> Task:
    """The cells of a sweep share one reading of the data; nobody writes to it."""
    return make_task(name, model, data_dir, extractor)


def _adjusted(task: Task, scenario: Scenario) -> Task:
    """The task with the scenario's training settings; the original stays as it is."""
    changes: dict[str, object] = {
        "batch_size": scenario.batch,
        "local_epochs": scenario.epochs,
        "local_steps": scenario.steps,
        "held_out": scenario.held_out,
        "optimizer": None if scenario.lr is None else replace(task.optimizer, lr=scenario.lr),
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    return replace(task, **changes) if changes else task  # type: ignore[arg-type]


def _graph(scenario: Scenario, seed: int) -> list[list[int]]:
    """Neighbours of every vertex, in no order."""
    graph = draw(
        scenario.topology.name,
        scenario.nodes,
        generator(seed, Purpose.TOPOLOGY),
        scenario.topology.parameters,
    )
    beside = [list(graph[vertex]) for vertex in range(scenario.nodes)]
    if scenario.attack is None:
        return beside
    sybils = scenario.sybils
    if sybils is None and scenario.phi is None:
        sybils = (scenario.nodes + 1) // 2
    places = place(
        graph,
        generator(seed, Purpose.PLACEMENT),
        phi=scenario.phi,
        sybils=sybils,
        placement=scenario.placement,
        degree=scenario.sybil_degree,
    )
    for targets in places:
        for target in targets:
            beside[target].append(len(beside))
        beside.append(list(targets))
    return beside + [[] for _ in range(scenario.crowd)]


def _shares(scenario: Scenario, task: Task, count: int, seed: int) -> tuple[Tensor, ...]:
    parameters: dict[str, float | int | None] = {}
    for name, value in scenario.partition.parameters.items():
        if isinstance(value, str):
            raise ScenarioError(f"partition: {name} is a number, not '{value}'")
        parameters[name] = value
    if scenario.partition.name in BY_ALPHA:
        parameters.setdefault("alpha", scenario.alpha)
    draws = generator(seed, Purpose.PARTITION)
    return partition(scenario.partition.name, task.train.labels, count, draws, **parameters)


def _key(seed: int, vertex: int) -> SigningKey:
    return SigningKey(bits(seed, Purpose.KEYS, vertex, np.arange(4)).astype("<u8").tobytes())


def _seed_of(seed: int, vertex: int) -> int:
    return int(bits(seed, Purpose.INITIAL, vertex)) >> 1
