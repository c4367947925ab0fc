"""How a weighting and an integration become a rule."""

from __future__ import annotations

from collections.abc import Iterable

from aggregation.evidence import Integration, Need, Rule, Weighting


def compose(weighting: Weighting, integration: Integration, name: str, needs: Iterable[Need] = ()) -> Rule:
    """A rule from whom to believe and how to combine."""
    return Rule(name=name, weighting=weighting, integration=integration, needs=frozenset(needs))
