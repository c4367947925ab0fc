"""Every attack by name, and how a spelling becomes an attack.

A module of this package takes part by holding `SPECS: tuple[AttackSpec, ...]`; frame faults live in `wire_*.py`.
Spelling: stages joined by "+". Parameters belong to the stage that declares them; `stage.parameter` says which, when two do.
`tune = true` lets the line search (simulator/orchestrator.py) set the strength of the last model stage against the rule in use.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

import simulator.attacks
from node.names import UnknownName, choose
from simulator.attacks.attack import (
    Attack,
    AttackSpec,
    Craft,
    DataStage,
    Flip,
    Stage,
    TimeStage,
)


def _collect() -> dict[str, AttackSpec]:
    found: dict[str, AttackSpec] = {}
    for module in sorted(each.name for each in pkgutil.iter_modules(simulator.attacks.__path__)):
        if module == "registry":
            continue
        loaded = importlib.import_module(f"simulator.attacks.{module}")
        for spec in getattr(loaded, "SPECS", ()):
            if spec.name in found:
                raise ValueError(f"two attacks are called '{spec.name}'")
            found[spec.name] = spec
    return found


ATTACKS: Mapping[str, AttackSpec] = _collect()


def build_attack(spelling: str, parameters: Mapping[str, object] | None = None) -> Attack:
    """The attack that a spelling stands for.

    Args:
        spelling: stages joined by "+", for example "label-flip+orthogonal-noise"; "none" is a stage too.
        parameters: by name, or by `stage.name`.

    Raises:
        UnknownName: no such stage or parameter.
        ValueError: two data stages, two time stages, or `tune` without a model stage that has a strength.
    """
    raise NotImplementedError
