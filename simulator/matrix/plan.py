"""A matrix: rules x attacks x splits of the data x networks x attackers x seeds, as one frozen, validated value.

Laws:
- A matrix is blocks; a block is a full cross product, and what it does not say it has from the matrix.
- `alone` and `oracle-mean` run in every block, and every split and network runs once without attack: a rule is read
  between these ends or not at all.
- A place that two blocks name is one place, run with the rules and seeds of both.
- Unknown keys, rules, attacks and parameters are refused by name, with the nearest word that exists.

In TOML (`simulator/matrix/presets/` holds the presets):

    name = "mine"
    rules = ["mean", { name = "hedgerow", views = "", label = "hedgerow, no views" }]
    attacks = ["label-flip", { name = "label-flip+scaled-clones", tune = true, label = "tuned clones" }]
    splits = [{ partition = "dirichlet", alpha = 0.1 }]
    networks = [{ topology = "ring", nodes = 20 }]
    attackers = [{ phi = 1.0 }, { share = 0.2, placement = "spread" }]
    seeds = [0, 1, 2]
    scenario = { task = "digits", rounds = 20 }
    [[blocks]]
    rules = ["mean", "hedgerow"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from hedgerow_registry import UnknownName, choose
from simulator.attacks.attack import Stage
from simulator.attacks.registry import ATTACKS
from simulator.matrix.dimensions import Attackers, Block, Entry, Named, Network, Part, Split
from simulator.study.choice import Choice
from simulator.study.misfit import worded
from simulator.study.scenario import Scenario, ScenarioError

PRESETS: Mapping[str, str] = {
    "smoke": "digits, eight rules, four attacks, one seed: under two minutes on two cores",
    "core": "Fashion-MNIST, the rules and attacks that matter: about an hour on two cores",
    "defence": "the cells of docs/defence.md: about an hour on two cores",
    "strangers": "Fashion-MNIST, what a limit on strangers holds and costs: about half an hour on two cores",
    "trust": "Fashion-MNIST, known peers far and near: how many are named, heard, fooled: about an hour on two cores",
    "trust-bars": "Fashion-MNIST, five seeds, what known peers far and near have to hold: about an hour on two cores",
    "withstands": "digits, three seeds, the section of the README: two minutes on two cores",
    "full": "all rules and attacks, splits, networks and numbers of attackers: days",
}
ENDS = ("alone", "oracle-mean")
"""The two rules that every block runs: listening to nobody, and knowing who is honest."""
NOBODY = "nobody"
_TAKEN = (
    *("name", "rules", "seeds", "attack", "partition", "alpha", "topology", "nodes"),
    *("sybils", "phi", "placement", "fooled"),
)


class MatrixError(ValueError):
    """A matrix that cannot be run; the message is one sentence that names the key."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One place of the matrix but for rule and seed.

    Attributes:
        attack, split, network, attackers: labels; without attack, `attackers` is "nobody".
        scenario: what is run: all rules and seeds of this place.
    """

    attack: str
    split: str
    network: str
    attackers: str
    scenario: Scenario

    @property
    def panel(self) -> tuple[str, str, str]:
        """What one heat map holds fixed: split, network, attackers."""
        return self.split, self.network, self.attackers

    @property
    def calm(self) -> bool:
        """Whether nobody attacks."""
        return self.scenario.attack is None

    def heard_by(self, rule: Choice) -> Scenario:
        """The scenario as far as a rule can tell: for the ends, who hear no attacker, only what data are poisoned."""
        attack = self.scenario.attack
        if attack is None or rule.name not in ENDS:
            return self.scenario
        return self.scenario.but(attack=_poison(attack).model_dump())


class Matrix(Part):
    """Every input of a matrix. Attributes as in the module's example; `about` is shown on the page."""

    name: str = Field(default="matrix", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    about: str = ""
    rules: tuple[Named, ...] = ()
    attacks: tuple[Named, ...] = ()
    splits: tuple[Split, ...] = (Split(alpha=0.5),)
    networks: tuple[Network, ...] = (Network(),)
    attackers: tuple[Attackers, ...] = (Attackers(phi=1.0),)
    seeds: tuple[int, ...] = (0,)
    scenario: dict[str, Any] = Field(default_factory=dict)
    blocks: tuple[Block, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A matrix from plain values.

        Raises:
            MatrixError: an unknown key, rule, attack or parameter, or a value out of range; one sentence.
        """
        try:
            found = cls.model_validate(dict(values))
        except ValidationError as error:
            raise MatrixError(_sentence(error)) from None
        found.conditions()
        return found

    @classmethod
    def load(cls, source: Path | str) -> Self:
        """A matrix from a TOML file, or a preset by name.

        Raises:
            MatrixError: no such file or preset, not TOML, or not a matrix.
        """
        path = Path(source)
        if not path.suffix and not path.is_file():
            try:
                choose("matrix", str(source), PRESETS)
            except UnknownName as error:
                raise MatrixError(f"{error} A file of your own ends in .toml.") from None
            path = _folder() / f"{source}.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise MatrixError(f"{path}: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise MatrixError(f"{path}: not TOML: {error}.") from None
        try:
            return cls.of({"name": path.stem} | values)
        except MatrixError as error:
            raise MatrixError(f"{path}: {error}") from None

    def but(self, **scenario: object) -> Self:
        """A validated copy with some fields of every scenario changed (data_dir, engine, rounds, ...)."""
        return self.of(self.model_dump() | {"scenario": self.scenario | scenario})

    def labels(self) -> dict[str, str]:
        """Label of every rule, by the name that records have."""
        whole = [*self.rules, *(rule for block in self.blocks for rule in block.rules)]
        return {end: end for end in ENDS} | {str(rule.choice): rule.title() for rule in whole}

    def conditions(self) -> tuple[Condition, ...]:
        """All places, each once, in order of the file; those without attack first in their block.

        Raises:
            MatrixError: a scenario that does not hold together.
        """
        found: dict[str, Condition] = {}
        for block in self.blocks or (Block(),):
            for condition in self._of_block(block):
                bare = condition.scenario.but(name="bare", rules=["mean"], seeds=[0]).digest()
                known = found.get(bare)
                found[bare] = condition if known is None else _joined(known, condition)
        return tuple(found.values())

    def _of_block(self, block: Block) -> list[Condition]:
        own = [rule.choice for rule in block.rules or self.rules if rule.choice.name not in ENDS]
        rules = [choice.model_dump() for choice in (*(Choice(name=end) for end in ENDS), *own)]
        out = []
        for split in block.splits or self.splits:
            for network in block.networks or self.networks:
                shared = self.scenario | block.scenario | {"rules": rules, "seeds": block.seeds or self.seeds}
                out.append(_condition(self.name, shared, "none", None, split, network, None))
                for foes in block.attackers or self.attackers:
                    for attack in block.attacks or self.attacks:
                        if attack.choice.name != "none":
                            label, choice = attack.title(), attack.choice
                            out.append(_condition(self.name, shared, label, choice, split, network, foes))
        return sorted(out, key=lambda each: not each.calm)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for block in self.blocks or (Block(),):
            if not (block.rules or self.rules):
                raise ValueError("rules: at least one rule is needed")
        for key in (*self.scenario, *(key for block in self.blocks for key in block.scenario)):
            if key in _TAKEN:
                raise ValueError(f"scenario: '{key}' is a dimension of the matrix, not a setting of all its scenarios")
        return self


def _condition(
    name: str,
    shared: Mapping[str, object],
    label: str,
    attack: Choice | None,
    split: Split,
    network: Network,
    foes: Attackers | None,
) -> Condition:
    values = (
        dict(shared)
        | {
            "name": name,
            "partition": split.partition,
            "topology": network.topology,
            "nodes": network.nodes,
            "attack": None if attack is None else attack.model_dump(),
        }
        | network.values()
    )
    if split.alpha is not None:
        values["alpha"] = split.alpha
    if foes is not None:
        values |= foes.values(network.nodes)
    try:
        scenario = Scenario.of(values)
    except ScenarioError as error:
        raise MatrixError(f"attack '{label}', {split.title()}, {network.title()}: {error}") from None
    return Condition(label, split.title(), network.title(), foes.title() if foes else NOBODY, scenario)


def _joined(known: Condition, other: Condition) -> Condition:
    """One place that two blocks name: the rules and seeds of both."""
    rules = {str(rule): rule.model_dump() for rule in (*known.scenario.rules, *other.scenario.rules)}
    seeds = tuple(dict.fromkeys((*known.scenario.seeds, *other.scenario.seeds)))
    scenario = known.scenario.but(rules=list(rules.values()), seeds=seeds)
    return Condition(known.attack, known.split, known.network, known.attackers, scenario)


def _poison(attack: Choice) -> Choice:
    """The attack's data stage alone; as it is when it breaks frames (honest nodes' rounds may feel that)."""
    stages = [ATTACKS.find(part.strip()) for part in attack.name.split("+")]
    if any(each.stage is Stage.WIRE for each in stages):
        return attack
    data = next((each for each in stages if each.stage is Stage.DATA), ATTACKS["none"])
    own = {
        plain: value
        for name, value in attack.parameters.items()
        if (plain := name.removeprefix(f"{data.name}.")) in data.parameters
    }
    return Choice(name=data.name, parameters=own)


def _folder() -> Path:
    """Where the presets lie."""
    return Path(__file__).resolve().parent / "presets"


_PARTS: Mapping[str, type[BaseModel]] = {
    "splits": Split,
    "networks": Network,
    "attackers": Attackers,
    "blocks": Block,
    "rules": Entry,
    "attacks": Entry,
}


def _sentence(error: ValidationError) -> str:
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # a wrong key explains the rest
    where = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        inside: type[BaseModel] = Matrix
        for part in where[:-1]:
            inside = _PARTS.get(part, inside)
        if where[-1] in Scenario.model_fields and where[-1] not in _TAKEN:
            return f"key '{where[-1]}' is a setting of every scenario: write it below [scenario]"
        return str(UnknownName("key", where[-1], inside.model_fields))
    text = worded(first)
    return f"{'.'.join(where)}: {text[0].lower()}{text[1:]}" if where else text
