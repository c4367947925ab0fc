"""A scenario: every input of a simulation, as one frozen, validated value.

Laws:
- Two runs of one scenario, one rule and one seed are the same run, bit for bit, on any number of workers.
- Nothing outside the scenario changes a result; where and how fast it runs (workers, folders) is not in it.
- Unknown keys, rules, tasks, topologies and attacks are refused by name, with the nearest word that exists.

By default 20 honest nodes learn handwritten digits and nobody attacks. `Scenario.demo()` is the same with ten Sybils of
one adversary who swap two classes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from aggregation.registry import RULES, build_rule
from hedgerow_registry import Registry, UnknownName, choose
from node.learning.registry import MODELS, PARTITIONS, TASKS
from node.trust.last_line import LastLine
from node.trust.strangers import Strangers
from simulator.attacks.registry import ATTACKS
from simulator.attacks.spelling import build_attack
from simulator.study.choice import AttackChoice, Choice, Part, PartitionChoice, RuleChoice, TopologyChoice
from simulator.study.misfit import worded
from simulator.study.registry import TOPOLOGIES

_TRIPS = 6  # frames one after the other, see Scenario.asynchronous


DEFAULT_ATTACK = "label-flip"
"""Of the demo, and of those who ask for Sybils without saying what they do."""


class ScenarioError(ValueError):
    """A scenario that cannot be run; the message is one sentence that names the key."""


Place = Annotated[str | None, BeforeValidator(lambda value: os.fspath(value) if isinstance(value, Path) else value)]


class Cut(Part):
    """The network falls apart into two halves for some rounds, then heals.

    Attributes:
        start: first round of the cut.
        stop: first round after it.
        share: share of the honest nodes (by vertex) on the first side.
    """

    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    share: float = Field(default=0.5, gt=0, lt=1)


class Crash(Part):
    """Some nodes stop without a word, and may come back with what their disk holds.

    Attributes:
        nodes: honest vertices that stop.
        round: round at whose start they stop.
        back: round of the others at which they start again; absent = never.
    """

    nodes: tuple[int, ...]
    round: int = Field(ge=0)
    back: int | None = Field(default=None, ge=0)


class Scenario(Part):
    """Every input of a simulation.

    Attributes:
        name: short name, used in reports and file names; absent = `title`.
        task: name in node.learning's TASKS, or `module:name`.
        model: model of that task; absent = the task's own.
        data_dir: folder of the data set; absent = where the task looks by itself.
        extractor: file of a frozen extractor, for the tasks that take one.
        nodes: honest nodes.
        rounds: rounds to run.
        rules: rules to compare; each runs on its own, from identical inputs.
        seeds: seeds; each rule runs once for each.
        topology: graph between honest nodes.
        partition: how training samples are split into shares (one an honest node, one for the adversary).
        alpha: concentration of the Dirichlet partition (small = skewed).
        attack: what the adversary does; "none" = there is no adversary; absent = none either, but label-flip where
            `sybils` or `phi` says that there is one.
        sybils: identities of the adversary; overrides phi; both absent = half as many as honest nodes.
        phi: attack edges per honest node.
        placement: `dense` (each Sybil beside a cluster of near nodes), `spread` (attack edges as far apart as
            possible) or `all` (every Sybil beside every node).
        sybil_degree: most attack edges a Sybil has in `dense` and `spread`.
        initial: `common` = all start from one model, `independent` = each from its own.
        engine: `fast` = array engine, `world` = real services over an in-memory network in virtual time, `auto` =
            fast where the scenario is synchronous, else world; both give the same answer.
        evaluate_every: measure after every this many rounds (the last round is always measured).
        evaluate_samples: test samples used; absent = all.
        lr, batch, epochs, steps, held_out: override the task's own training settings.
        authors: relayed authors that a node remembers.
        age: rounds after its own for which a relayed record counts: SybilWall sees further with more, memory grows by
            one model a node and round.
        strangers: strangers that have a say at a node in a round (node.trust.strangers); absent = everybody has.
        enough: known neighbours from which on that limit holds.
        company: neighbours with a say, known or not, at a node that knows fewer.
        probation: rounds with a kept vote after which a stranger is known; 0 = never.
        known: share of the links between honest nodes on which both have named each other; attack edges are never
            among them.
        clustered: whether those links lie together: nodes live in houses, and know whoever lives in theirs.
        fooled: share of the attack edges whose honest end was fooled into naming the Sybil.
        vouches: whether "I know X" is told in the network (node.trust.vouches): `off` = who is named stays with whoever
            names; `low` = told by honest nodes, and by Sybils of those that they fooled alone; `ring` = by Sybils of
            two others too; `clique` = of all others; `cells` = of its own share of the `crowd`, who say the same of
            each other. In peace these four are the same.
        crowd: further identities of the adversary that no node has a link with: Sybils that fooled somebody vouch for
            them, in turn, so that they are heard from afar.
        far: peers that are no neighbours but known by vouches, whose models a node hears in a round (node.trust.far);
            fewer where it knows fewer.
        last_line: whether nodes hold on to their model where the rule was fooled (node.trust.last_line); absent = where
            `known`, `fooled` or `strangers` is set.
        origins: public networks that Sybils connect from; absent = as many as Sybils.
        pace: least virtual seconds a round takes (world).
        deadline: virtual seconds after which a round closes without those who are late (world).
        latency: virtual seconds a frame travels.
        jitter: largest random virtual seconds added to it.
        loss: share of frames that get lost, in [0, 1).
        bandwidth: bytes a virtual second that one node sends; absent = no limit.
        cuts: splits of the network.
        crashes: nodes that stop.
    """

    name: str = Field(default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")
    task: str = "digits"
    model: str | None = None
    data_dir: Place = None
    extractor: Place = None
    nodes: int = Field(default=20, ge=1, le=100_000)
    rounds: int = Field(default=40, ge=1, le=1_000_000)
    rules: tuple[RuleChoice, ...] = (
        Choice(name="mean"),
        Choice(name="sybilwall"),
        Choice(name="bristle"),
        Choice(name="sybilwall-bristle"),
        Choice(name="hedgerow"),
    )
    seeds: tuple[int, ...] = (1,)
    topology: TopologyChoice = Choice(name="random-geometric")
    partition: PartitionChoice = Choice(name="dirichlet")
    alpha: float = Field(default=0.5, gt=0)
    attack: AttackChoice = None
    sybils: int | None = Field(default=None, ge=0)
    phi: float | None = Field(default=None, ge=0)
    placement: Literal["dense", "spread", "all"] = "dense"
    sybil_degree: int = Field(default=7, ge=1)
    initial: Literal["common", "independent"] = "common"
    engine: Literal["auto", "fast", "world"] = "auto"
    evaluate_every: int = Field(default=1, ge=1)
    evaluate_samples: int | None = Field(default=None, ge=1)
    lr: float | None = Field(default=None, gt=0)
    batch: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    held_out: float | None = Field(default=None, ge=0, lt=1)
    authors: int = Field(default=100, ge=0)
    age: int = Field(default=16, ge=1, le=16)
    strangers: int | None = Field(default=None, ge=0)
    enough: int = Field(default=Strangers().enough, ge=0)
    company: int = Field(default=Strangers().company, ge=0)
    probation: int = Field(default=Strangers().probation, ge=0)
    known: float = Field(default=0.0, ge=0, le=1)
    clustered: bool = False
    fooled: float = Field(default=0.0, ge=0, le=1)
    vouches: Literal["off", "low", "ring", "clique", "cells"] = "off"
    crowd: int = Field(default=0, ge=0)
    far: int = Field(default=0, ge=0)
    last_line: bool | None = None
    origins: int | None = Field(default=None, ge=1)
    pace: float = Field(default=1.0, gt=0)
    deadline: float = Field(default=10.0, gt=0)
    latency: float = Field(default=0.02, ge=0)
    jitter: float = Field(default=0.0, ge=0)
    loss: float = Field(default=0.0, ge=0, lt=1)
    bandwidth: float | None = Field(default=None, gt=0)
    cuts: tuple[Cut, ...] = ()
    crashes: tuple[Crash, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A scenario from plain values (TOML, command line).

        Raises:
            ScenarioError: an unknown key or a value out of range; one sentence, with the nearest known key.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ScenarioError(_sentence(error)) from None

    @classmethod
    def demo(cls, **changes: object) -> Self:
        """What `hedgerow simulate` shows without being told more: the defaults under attack.

        Raises:
            ScenarioError: as `of`.
        """
        return cls.of({"attack": DEFAULT_ATTACK} | ({} if changes else {"name": "demo"}) | changes)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """A scenario from a TOML file; its name is the file's unless it says otherwise.

        Raises:
            ScenarioError: no such file, not TOML, or not a scenario.
        """
        path = Path(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ScenarioError(f"{path}: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ScenarioError(f"{path}: not TOML: {error}.") from None
        try:
            return cls.of({"name": path.stem} | values)
        except ScenarioError as error:
            raise ScenarioError(f"{path}: {error}") from None

    def but(self, **changes: object) -> Self:
        """A validated copy with some fields changed."""
        return self.of(self.model_dump() | changes)

    @property
    def title(self) -> str:
        """Task and attack in one word, as file names bear it: `digits-label-flip+clones`, `digits-no-attack`."""
        words = f"{self.task}-{'no-attack' if self.attack is None else self.attack.name}"
        return re.sub(r"[^A-Za-z0-9._+-]+", "-", words).lstrip("._+-")[:64]

    @property
    def adversary(self) -> bool:
        """Whether somebody attacks."""
        return self.attack is not None

    @property
    def asynchronous(self) -> str | None:
        """The key that makes timing or frames matter, so that only the world can run it; None: rounds are synchronous.

        Latency matters when what a round needs (a header, the request for its payload, the payload, and as much again
        for a relay that waits for them) may take longer than the round lasts.
        """
        for key in ("jitter", "loss", "bandwidth", "cuts", "crashes"):
            if getattr(self, key):
                return key
        if self.latency * _TRIPS > min(self.pace, self.deadline):
            return "latency"
        if self.attack is not None and build_attack(self.attack.name, self.attack.parameters).faults:
            return "attack"
        return None

    def limit(self) -> Strangers | None:
        """How far strangers are heard; None: everybody has a say."""
        return None if self.strangers is None else Strangers(self.strangers, self.enough, self.company, self.probation)

    def line(self) -> LastLine | None:
        """How far nodes let themselves be moved; None: as far as their rule says."""
        wanted = self.strangers is not None or self.tells_apart if self.last_line is None else self.last_line
        return LastLine() if wanted else None

    @property
    def tells_apart(self) -> bool:
        """Whether anybody knows anybody; rules are told then which rows come from peers that the node knows."""
        return self.known > 0 or self.fooled > 0

    def check_task(self) -> None:
        """Refuse a task or model that does not exist (who brings a task of their own names it as they like).

        Raises:
            ScenarioError: with the nearest name.
        """
        if ":" in self.task:
            return
        try:
            TASKS.find(self.task)
            if self.model is not None:
                MODELS.find(self.model)
        except UnknownName as error:
            raise ScenarioError(str(error)) from None

    def _names(self) -> Iterator[tuple[Registry[Any], str]]:
        """Everything that it names, with the registry that knows it."""
        yield from ((RULES, rule.name) for rule in self.rules)
        if self.attack is not None:
            yield from ((ATTACKS, part.strip()) for part in self.attack.name.split("+"))
        yield TOPOLOGIES, self.topology.name
        yield PARTITIONS, self.partition.name
        if ":" in self.task:
            yield TASKS, self.task

    @property
    def lent(self) -> bool:
        """Whether it names objects of this process: then only this process can run it, and nothing of it is kept."""
        return any(registry.is_lent(name) for registry, name in self._names())

    def digest(self) -> str:
        """Sixteen hex digits that name this scenario and the users' modules that it names (results are filed so)."""
        values = self.model_dump(mode="json")
        foreign = {name: print_ for registry, name in self._names() if (print_ := registry.fingerprint(name))}
        text = json.dumps(values | ({"modules": foreign} if foreign else {}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @model_validator(mode="before")
    @classmethod
    def _attacked(cls, values: object) -> object:
        """Who asks for Sybils and names no attack gets the demo's."""
        if isinstance(values, Mapping) and "attack" not in values and (values.get("sybils") or values.get("phi")):
            return {**values, "attack": DEFAULT_ATTACK}
        return values

    @model_validator(mode="after")
    def _named(self) -> Self:
        """Who gives no name gets the title."""
        if not self.name:
            object.__setattr__(self, "name", self.title)  # it is not the caller's yet
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Refuse names that do not exist and parts that do not fit."""
        for rule in self.rules:
            build_rule(rule.name, **rule.parameters)
        topology = TOPOLOGIES.find(self.topology.name)
        partition = PARTITIONS.find(self.partition.name)
        _known(f"topology {topology.name}", self.topology, topology.parameters)
        _known(f"partition {partition.name}", self.partition, partition.parameters)
        if self.attack is not None:
            build_attack(self.attack.name, self.attack.parameters)
        if not self.rules:
            raise ValueError("rules: at least one rule is needed")
        if len({str(rule) for rule in self.rules}) < len(self.rules):
            raise ValueError("rules: a rule is listed twice")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: at least one is needed, and none twice")
        if any(cut.stop <= cut.start for cut in self.cuts):
            raise ValueError("cuts: a cut stops after it starts")
        for crash in self.crashes:
            if any(not 0 <= vertex < self.nodes for vertex in crash.nodes):
                raise ValueError(f"crashes: nodes are numbered 0 to {self.nodes - 1}")
            if crash.back is not None and crash.back <= crash.round:
                raise ValueError("crashes: a node comes back after the round in which it stops")
        key = self.asynchronous
        if self.engine == "fast" and key is not None:
            raise ValueError(f'{key}: the fast engine has no network; set engine = "world"')
        if self.fooled and self.attack is None:
            raise ValueError("fooled: nobody fools anybody without an adversary; name an attack, or leave it out")
        if self.crowd and not (self.fooled and self.vouches != "off"):
            raise ValueError(
                "crowd: a crowd comes in over vouches that somebody was fooled into; set fooled and vouches"
            )
        if self.far and self.vouches == "off":
            raise ValueError('far: who is far is known by vouches alone; set vouches = "low", or what Sybils do')
        return self


def _known(kind: str, choice: Choice, parameters: Mapping[str, object]) -> None:
    for key in choice.parameters:
        choose(f"parameter of {kind}", key, parameters)


def _sentence(error: ValidationError) -> str:
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # a wrong key explains the rest
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        parts: dict[str, type[BaseModel]] = {"cuts": Cut, "crashes": Crash}
        inside = parts.get(str(first["loc"][0]), Scenario)
        return str(UnknownName("key", str(first["loc"][-1]), inside.model_fields))
    text = worded(first)
    return f"{where}: {text[0].lower()}{text[1:]}" if where else text
