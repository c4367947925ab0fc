"""What an attack is: stages that poison data, craft models, choose the time or break frames; and what is success.

Laws:
- An attack is written as its stages joined by "+": `label-flip+orthogonal-noise`, `sleeper+backdoor+scaled-clones`.
  Data stages poison the adversary's training rows; model stages run left to right, each turning the (S, d) models of
  the stage before it into its own; with no model stage every Sybil sends one and the same trained model (clones).
- An attack holds no state and draws only from `AttackView.generator`: the same view gives the same models, in any
  engine.
- One model per Sybil and round, signed once: an attack on a single victim goes through the Sybils that have that
  victim as target.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.evidence import Rule
from node.draws import Purpose, generator
from node.learning.dataset import Dataset
from node.learning.learner import Learner
from simulator.attacks.trigger import Trigger


class AttackError(ValueError):
    """An attack of a user's own that returns what no attack can; the message says what is wanted."""


class Knowledge(StrEnum):
    """What an attack has to know. None knows keys or honest nodes' private samples."""

    SHARD = "own shard"
    DATA = "all training samples"
    UPDATES = "all updates"
    GRAPH = "who is whose neighbour"
    RULE = "the rule and its parameters"


SCOPES = ("targets", "all")


class Stage(StrEnum):
    """Where an attack acts."""

    DATA = "data"
    MODEL = "model"
    TIME = "time"
    WIRE = "wire"


@dataclass(frozen=True, slots=True)
class Flip:
    """Success: share of test samples of two classes that are predicted as the other one."""

    first: int = 0
    second: int = 1


@dataclass(frozen=True, slots=True)
class Shift:
    """Success: share of all test samples, of any class c, that are predicted as c + by (modulo the classes)."""

    by: int = 1


@dataclass(frozen=True, slots=True)
class Backdoor:
    """Success: share of triggered test samples of other classes that are predicted as the target."""

    trigger: Trigger
    target: int = 1


Measure = Flip | Shift | Backdoor


@dataclass(frozen=True, slots=True, eq=False)
class Faced:
    """Who hears whom in a round, link by link, where nodes tell those that they know from strangers.

    Attributes:
        receivers: (E,) honest nodes, ascending.
        senders: (E,) whom they hear, near or far; for each receiver in the order of its rule's columns.
        known: (E,) bool: a peer that the receiver knows.
    """

    receivers: NDArray[np.int32]
    senders: NDArray[np.int32]
    known: NDArray[np.bool_]

    def reached(self, honest: int) -> list[int]:
        """Honest nodes that hear a Sybil, ascending."""
        return [int(node) for node in np.unique(self.receivers[self.senders >= honest])]

    def heard_by(self, node: int) -> tuple[list[int], list[bool]]:
        """Whom a node hears, and which of them it knows."""
        links = slice(*np.searchsorted(self.receivers, [node, node + 1]).tolist())
        return self.senders[links].tolist(), self.known[links].tolist()


@dataclass(frozen=True, slots=True)
class AttackView:
    """All that the adversary knows when it crafts the models of a round. A = its address in draws.

    Attributes:
        round: number of the round, from 0.
        seed: seed of the run.
        address: uint64 address of the adversary in draws.
        honest: (H, d) honest models of this round, after local training (the adversary speaks last).
        previous: (H, d) the same one round earlier; in round 0 the initial models.
        start: (d,) the adversary's own model before its local training.
        trained: (d,) and after it, on its (poisoned) rows; with several groups, the first group's.
        targets: for each Sybil, the honest nodes it has a link with, ascending.
        neighbours: for each honest node, its neighbours: below H honest, from H on Sybils, ascending.
        classes: (H, c) bool: which classes each honest node trains (the signed class mask).
        learner: the shared learner.
        data: all training rows: the task's, then the adversary's poisoned ones.
        public: number of the task's own rows, at the beginning of `data`.
        samples: the adversary's rows of `data` (poisoned, if the attack poisons).
        clean: its own share as it was before poisoning.
        rule: what honest nodes use, or None when unknown.
        rounds: rounds of the whole run, or None when open-ended.
        faced: who hears whom in this round; None: every honest node hears its neighbours, and knows none of them.
    """

    round: int
    seed: int
    address: int
    honest: Tensor
    previous: Tensor
    start: Tensor
    trained: Tensor
    targets: tuple[tuple[int, ...], ...]
    neighbours: tuple[tuple[int, ...], ...]
    classes: Tensor
    learner: Learner
    data: Dataset
    public: int
    samples: Tensor
    clean: Tensor
    rule: Rule | None = None
    rounds: int | None = None
    faced: Faced | None = None

    @property
    def sybils(self) -> int:
        """Number of identities, S."""
        return len(self.targets)

    def centre(self) -> Tensor:
        """Mean of the honest models of this round: (d,)."""
        return self.honest.mean(dim=0)

    def movement(self) -> Tensor:
        """Where honest nodes are going: mean of this round's models minus mean of the last round's: (d,)."""
        return self.centre() - self.previous.mean(dim=0)

    def crowd(self, sybil: int, scope: str = "targets") -> tuple[Tensor, Tensor]:
        """Honest models that a Sybil hides among: this round's (k, d) and the last round's (k, d), k >= 1.

        Args:
            sybil: number of the Sybil.
            scope: "targets": its own targets, if there are two or more, else all; "all": all honest nodes.

        Raises:
            ValueError: another scope.
        """
        if scope not in SCOPES:
            raise ValueError(f"unknown scope '{scope}': known: {', '.join(SCOPES)}.")
        if scope == "all" or len(self.targets[sybil]) < 2:
            return self.honest, self.previous
        rows = list(self.targets[sybil])
        return self.honest[rows], self.previous[rows]

    def distance(self) -> float:
        """Median distance between the models of honest neighbours; without such a pair, to the honest mean."""
        count = len(self.honest)
        pairs = [(i, j) for i, near in enumerate(self.neighbours) for j in near if i < j < count]
        away = self.honest - self.centre()
        if not pairs:
            return float(away.norm(dim=1).median())
        ends = torch.tensor(pairs)
        return float(torch.cdist(away, away)[ends[:, 0], ends[:, 1]].median())

    def generator(self, salt: str, *, lasting: bool = False) -> np.random.Generator:
        """A fresh generator of this round and stage (of all rounds, if lasting): the same salt, the same draws."""
        where = self.address ^ zlib.crc32(salt.encode())
        return generator(self.seed, Purpose.ATTACK, where, 0 if lasting else self.round)

    def normal(self, salt: str, *shape: int) -> Tensor:
        """Standard normal float32 draws of this round and stage."""
        draws = self.generator(salt).standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(draws).to(self.honest.device)


Poison = Callable[[Dataset, Tensor, np.random.Generator], Dataset]
"""(task's training data, own rows (k,), generator) -> the adversary's training rows, in its stead."""

Craft = Callable[[AttackView, Tensor], Tensor]
"""(view, models (S, d) of the stage before) -> models (S, d)."""


@dataclass(frozen=True, slots=True)
class DataStage:
    """What a data attack builds.

    Attributes:
        poison: the adversary's rows from its share; None: the share as it is.
        measure: what counts as success.
        groups: Sybils are dealt into so many groups, each trained on its own rows: row r belongs to group r % groups,
            Sybil s to group s % groups.
        follow: after each round the adversary goes on from the mean of what it hears; else from its own models' mean.
    """

    poison: Poison | None
    measure: Measure
    groups: int = 1
    follow: bool = True


@dataclass(frozen=True, slots=True)
class TimeStage:
    """What a time attack builds: behave before `wake`, attack from that round on."""

    wake: int


@dataclass(frozen=True, slots=True)
class Strength:
    """The one parameter that the line search tunes, and its bounds (searched on a logarithmic scale)."""

    parameter: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AttackSpec:
    """One stage by name.

    Attributes:
        name: as users write it.
        stage: where it acts.
        knowledge: what the adversary must know.
        build: makes the stage from its parameters: DATA a DataStage, MODEL a Craft, TIME a TimeStage, WIRE a frame
            fault.
        parameters: names and defaults.
        strength: what the line search may tune, or None.
    """

    name: str
    stage: Stage
    knowledge: frozenset[Knowledge]
    build: Callable[..., object]
    parameters: Mapping[str, object] = field(default_factory=dict)
    strength: Strength | None = None


@dataclass(frozen=True, slots=True)
class Attack:
    """A whole attack, ready to act.

    Attributes:
        name: its spelling.
        data: rows and measure.
        crafts: model stages, in order; empty means clones.
        faults: what the wire stages built (used by the world and the harness; the array engine has no frames).
        wake: first round of the attack; before it the adversary behaves as an honest node under S names.
        knowledge: union over stages.
    """

    name: str
    data: DataStage = DataStage(None, Flip())
    crafts: tuple[Craft, ...] = ()
    faults: tuple[object, ...] = ()
    wake: int = 0
    knowledge: frozenset[Knowledge] = frozenset()

    @property
    def measure(self) -> Measure:
        """What counts as success."""
        return self.data.measure

    @property
    def groups(self) -> int:
        """How many groups of Sybils train on rows of their own."""
        return self.data.groups

    def poison(self, data: Dataset, shard: Tensor, generator: np.random.Generator) -> Dataset | None:
        """The adversary's own training rows, to be appended to the shared data; None: its share stays as it is."""
        return None if self.data.poison is None else self.data.poison(data, shard, generator)

    def craft(self, view: AttackView, models: Tensor) -> Tensor:
        """What each Sybil sends: (S, d) from the (S, d) models it trained."""
        for stage in self.crafts:
            models = stage(view, models)
        return models
