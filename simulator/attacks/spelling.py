"""How a spelling becomes an attack.

Spelling: stages joined by "+". Parameters belong to the stage that declares them; `stage.parameter` says which, when
    two do.
`tune = true` lets the line search (simulator/attacks/orchestrator.py) set the strength of the last model stage against
the rule in use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from hedgerow_registry import UnknownName
from simulator.attacks.attack import Attack, AttackSpec, Craft, DataStage, Flip, Knowledge, Stage, TimeStage
from simulator.attacks.orchestrator import tuned
from simulator.attacks.registry import ATTACKS


def build_attack(spelling: str, parameters: Mapping[str, object] | None = None) -> Attack:
    """The attack that a spelling stands for.

    Args:
        spelling: stages joined by "+", for example "label-flip+orthogonal-noise"; "none" is a stage too. Without a
            data stage the adversary's share stays as it is.
        parameters: by name, for the one stage that has it, or by `stage.name`; and `tune` (see above).

    Raises:
        UnknownName: no such stage or parameter; the message names the nearest one.
        BadReference: a `module:name` that leads nowhere, or to what is no attack.
        ValueError: two data or two time stages, a parameter of two stages, a value of the wrong type or out of range,
            or `tune` without a model stage that has a strength.
    """
    specs = [ATTACKS.find(part.strip()) for part in spelling.split("+")]
    for stage in (Stage.DATA, Stage.TIME):
        named = [spec.name for spec in specs if spec.stage is stage]
        if len(named) > 1:
            raise ValueError(
                f"attack '{spelling}' has {len(named)} {stage} stages ({', '.join(named)}); one is the most"
            )
    given = dict(parameters or {})
    tune = given.pop("tune", False)
    own = _deal(specs, given)
    tunable = [index for index, spec in enumerate(specs) if spec.strength is not None]
    if tune and not tunable:
        raise ValueError(f"attack '{spelling}' has no strength to tune")
    data, wake, crafts, faults = DataStage(None, Flip()), 0, [], []
    for index, spec in enumerate(specs):
        if tune and index == tunable[-1]:
            crafts.append(_tuned(spec, own[index]))
            continue
        built = spec.build(**own[index])
        if isinstance(built, DataStage):
            data = built
        elif isinstance(built, TimeStage):
            wake = built.wake
        elif spec.stage is Stage.WIRE:
            faults.append(built)
        elif isinstance(built, Attack):
            data, wake = built.data, built.wake or wake
            crafts.extend(built.crafts)
            faults.extend(built.faults)
        else:
            crafts.append(cast(Craft, built))
    knowledge = frozenset[Knowledge]().union(*(spec.knowledge for spec in specs))
    if tune:
        knowledge |= {Knowledge.RULE, Knowledge.UPDATES, Knowledge.GRAPH}
    return Attack(spelling, data, tuple(crafts), tuple(faults), wake, knowledge)


def _tuned(spec: AttackSpec, parameters: dict[str, object]) -> Craft:
    strength = spec.strength
    assert strength is not None
    return tuned(lambda value: cast(Craft, spec.build(**{**parameters, strength.parameter: value})), strength)


def _deal(specs: list[AttackSpec], given: Mapping[str, object]) -> list[dict[str, object]]:
    """Each stage's own parameters: its defaults, changed by what was given."""
    own = [dict(spec.parameters) for spec in specs]
    for name, value in given.items():
        stage, _, plain = name.rpartition(".")
        where = [index for index, spec in enumerate(specs) if plain in spec.parameters and stage in ("", spec.name)]
        if not where:
            known = {key for spec in specs for key in spec.parameters} | {"tune"}
            raise UnknownName("attack parameter", name, known)
        if len(where) > 1:
            both = " or ".join(f"'{specs[index].name}.{plain}'" for index in where)
            raise ValueError(f"attack parameter '{name}' belongs to more than one stage: write {both}.")
        own[where[0]][plain] = _checked(name, value, plain, specs[where[0]])
    return own


def _checked(name: str, value: object, plain: str, spec: AttackSpec) -> object:
    """The value as the default's type (a whole number will do for a fraction); finite, and a strength not negative."""
    default = spec.parameters[plain]
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise ValueError(f"attack parameter '{name}' is {value!r}; wanted {type(default).__name__}, like {default!r}.")
    if isinstance(value, float):
        least = 0.0 if spec.strength is not None and plain == spec.strength.parameter else -math.inf
        if not math.isfinite(value) or value < least:
            wanted = "a finite number" if least < 0 else "a finite number >= 0"
            raise ValueError(f"attack parameter '{name}' is {value!r}; wanted {wanted}, like {default!r}.")
    return value
