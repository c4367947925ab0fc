"""The registry of rules by name.

A new rule: write its module with `SPECS`, and add the module to the tuple below.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType

from aggregation.evidence import Rule
from aggregation.parts import clipping
from aggregation.parts.compose import Parameter, RuleError, RuleSpec, compose, unknown
from aggregation.rules import (
    alone,
    balance,
    baselines,
    bristle,
    bulyan,
    flag,
    fltrust,
    foolsgold,
    geometric_median,
    nnm,
    sybilwall,
    ubar,
)
from aggregation.rules import hedgerow as defence
from aggregation.rules import hedgerow_bristle as columns

__all__ = ["RULES", "Parameter", "RuleError", "RuleSpec", "build_rule", "compose"]

RULES: Mapping[str, RuleSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in chain(
            baselines.SPECS,
            foolsgold.SPECS,
            sybilwall.SPECS,
            bristle.SPECS,
            alone.SPECS,
            geometric_median.SPECS,
            bulyan.SPECS,
            nnm.SPECS,
            clipping.SPECS,
            balance.SPECS,
            ubar.SPECS,
            fltrust.SPECS,
            flag.SPECS,
            defence.SPECS,
            columns.SPECS,
        )
    }
)


def build_rule(name: str, **parameters: Parameter) -> Rule:
    """The rule of this name.

    Raises:
        RuleError: no such rule, or no such parameter, or a value of the wrong type; the message names the nearest word.
    """
    if name not in RULES:
        raise RuleError(unknown("rule", name, RULES))
    return RULES[name].make(**parameters)
