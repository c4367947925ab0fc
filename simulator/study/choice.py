"""A choice from a registry: a name and the parameters that differ from its defaults, as text or as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from aggregation.registry import RULES
from hedgerow_registry import Registry
from node.learning.registry import PARTITIONS
from simulator.attacks.registry import ATTACKS
from simulator.study.registry import TOPOLOGIES

Value = bool | int | float | str
"""What a parameter of a rule, a topology, a partition or an attack can be."""


class Part(BaseModel):
    """A frozen, validated part of a scenario: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _plain(value: object) -> object:
    """Parameters with NumPy's numbers as Python's own: else a whole number would be taken for a fraction."""
    if not isinstance(value, Mapping):
        return value
    return {key: each.item() if isinstance(each, np.generic) else each for key, each in value.items()}


class Choice(Part):
    """A name from a registry and the parameters that differ from its defaults.

    Written `ring` or `random-geometric(radius=0.2, degree=7)`; in TOML as such a string or as a table,
    `{ name = "random-geometric", radius = 0.2 }`. What `str` writes reads as the same choice.
    """

    name: str
    parameters: Annotated[dict[str, Value], BeforeValidator(_plain)] = Field(default_factory=dict)

    def __str__(self) -> str:
        inner = ", ".join(f"{key}={_spelled(value)}" for key, value in self.parameters.items())
        return f"{self.name}({inner})" if inner else self.name


_TEXT = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf'\s*([A-Za-z_][\w.-]*)\s*=\s*({_TEXT}|[^\s,()="]+)\s*(,|$)')
_WHOLE = re.compile(r"[+-]?\d+")
_FRACTION = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")


def _value(text: str) -> Value:
    """A parameter's value: true, false, a number, a word, or any text in double quotes."""
    if text.startswith('"'):
        return str(json.loads(text))
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text


def _spelled(value: Value) -> str:
    """The text that `_value` reads as this value."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    return value if re.fullmatch(r"[\w.:/+-]+", value) and isinstance(_value(value), str) else json.dumps(value)


def _parsed(text: str) -> dict[str, object]:
    """`NAME` or `NAME(key=value, ...)` as a table.

    Raises:
        ValueError: anything else with a bracket in it, or a key twice.
    """
    name, bracket, rest = text.partition("(")
    if not bracket and ")" not in text:
        return {"name": text.strip()}
    inner = rest.rstrip().removesuffix(")")
    wrong = ValueError(f"'{text}' is not of the form NAME or NAME(key=value, ...)")
    if not name.strip() or ")" in name or inner == rest.rstrip():
        raise wrong
    parameters: dict[str, Value] = {}
    at = 0
    while inner[at:].strip():
        pair = _PAIR.match(inner, at)
        if pair is None:
            raise wrong
        if pair[1] in parameters:
            raise ValueError(f"'{text}' names {pair[1]} twice")
        try:
            parameters[pair[1]] = _value(pair[2])
        except json.JSONDecodeError:
            raise wrong from None
        at = pair.end()
    if not bracket or (parameters and inner.rstrip().endswith(",")):
        raise wrong
    return {"name": name.strip(), "parameters": parameters}


def _spelling(value: object) -> object:
    """A name and its parameters, as text or as a table."""
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, Mapping) and "parameters" not in value:
        if "name" not in value:
            raise ValueError(f"a table needs a name, this one has {', '.join(map(str, value)) or 'nothing'}")
        return {"name": value["name"], "parameters": {k: v for k, v in value.items() if k != "name"}}
    if not isinstance(value, Choice | Mapping):
        inner = value[0] if isinstance(value, list) and value else None
        word = inner if isinstance(inner, str) else "NAME"
        what = "a list" if isinstance(value, list) else repr(value)
        raise ValueError(f'wanted "{word}" or {{ name = "{word}", ... }}, not {what}')
    return value


def _choice(registry: Registry[Any], value: object) -> object:
    """A spelling, or an object of this process: it is lent a name."""
    if value is None or isinstance(value, str | Choice | Mapping | list | tuple | bool | int | float):
        return _spelling(value)
    return Choice(name=registry.lend(_name_of(value), value))


def _name_of(thing: object) -> str:
    """What to call an object of the user's: as it calls itself, or as its function or class is called."""
    own = getattr(thing, "name", None)
    return own if isinstance(own, str) and own else str(getattr(thing, "__name__", type(thing).__name__))


def _attack(value: object) -> object:
    if value is None or value == "none":
        return None
    return _choice(ATTACKS, ["+".join(map(str, value))] if isinstance(value, list) and len(value) > 1 else value)


Spelled = Annotated[Choice, BeforeValidator(_spelling)]
RuleChoice = Annotated[Choice, BeforeValidator(partial(_choice, RULES))]
TopologyChoice = Annotated[Choice, BeforeValidator(partial(_choice, TOPOLOGIES))]
PartitionChoice = Annotated[Choice, BeforeValidator(partial(_choice, PARTITIONS))]
AttackChoice = Annotated[Choice | None, BeforeValidator(_attack)]
