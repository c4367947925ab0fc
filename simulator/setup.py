"""From a scenario and a seed to all that an engine starts from, for both engines alike.

Laws:
- Everything here is a function of (scenario, seed, task); rules and engines have no part in it.
- Vertices 0 .. H-1 are honest nodes, H .. H+S-1 are Sybils of one adversary. Sybils have no links
  among themselves.
- The adversary has one share of the data (the last), however many identities it plays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from identity.keys import PeerId, SigningKey
from node.learning.learner import Learner
from node.learning.task import Dataset, Shard, Task
from simulator.attacks.attack import Attack
from simulator.scenario import Scenario


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
        honest: H, number of honest nodes.
        sybils: S, number of the adversary's identities.
        neighbours: for every vertex (H + S) its neighbours' vertices, in order of peer id.
        keys: signing key of every vertex, derived from (seed, vertex).
        peers: peer id of every vertex.
        addresses: (H + S,) uint64 addresses of vertices in draws (first bytes of peer ids).
        order: (H + S,) vertices in order of peer id.
        shards: row numbers of every honest node, then the adversary's if there is one.
        attack: what the adversary does, or None.
        initial: (H + 1, d) float32 starting models of honest nodes and (last) of the adversary.
        common: (d,) the network's common initial model (histories `update`).
        network: 32 bytes that name the network; signed into every header.
    """

    scenario: Scenario
    seed: int
    task: Task
    learner: Learner
    data: Dataset
    clean: int
    honest: int
    sybils: int
    neighbours: tuple[tuple[int, ...], ...]
    keys: tuple[SigningKey, ...]
    peers: tuple[PeerId, ...]
    addresses: NDArray[np.uint64]
    order: NDArray[np.int64]
    shards: tuple[Shard, ...]
    attack: Attack | None
    initial: Tensor
    common: Tensor
    network: bytes


def prepare(scenario: Scenario, task: Task | None = None, *, seed: int | None = None) -> Setup:
    """Draw the data split, the graph, the keys and the starting models of one run.

    Args:
        scenario: what to run.
        task: a task of the caller's own in place of the scenario's.
        seed: one of the scenario's seeds; absent = the first.

    Raises:
        ScenarioError: the scenario names things that do not exist or do not fit together.
    """
    raise NotImplementedError(scenario, task, seed)
