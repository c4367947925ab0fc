"""What a rule is to the registry, and how a weighting and an integration become a rule.

A module of rules defines `SPECS: tuple[RuleSpec, ...]`; `aggregation.registry` lists those modules. Nothing is found by
scanning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from aggregation.evidence import Integration, Need, Rule, Weighting

Parameter = bool | int | float | str


class RuleError(ValueError):
    """A rule was asked for by a name, with a parameter, or on evidence that it cannot work with."""


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule that users can name.

    Attributes:
        name: as users write it.
        source: paper or code the rule comes from.
        summary: one sentence.
        build: makes the rule; its keyword arguments are the parameters.
        parameters: every parameter and its default.
    """

    name: str
    source: str
    summary: str
    build: Callable[..., Rule]
    parameters: Mapping[str, Parameter]

    def make(self, **parameters: Parameter) -> Rule:
        """The rule with these parameters, the others at their defaults.

        Raises:
            RuleError: a parameter that the rule does not have, a value of another type than its default (an int may
                stand for a float), or one out of its range; the message names the rule.
        """
        for name, value in parameters.items():
            if name not in self.parameters:
                raise RuleError(unknown(f"parameter of rule '{self.name}'", name, self.parameters))
            default = self.parameters[name]
            fits = type(value) is type(default) or (type(default) is float and type(value) is int)
            if not fits:
                expected, got = type(default).__name__, type(value).__name__
                raise RuleError(f"parameter '{name}' of rule '{self.name}' must be {expected}, not {got} ({value!r})")
        try:
            return self.build(**{**self.parameters, **parameters})
        except RuleError as error:
            raise RuleError(f"rule '{self.name}': {error}") from error


def compose(weighting: Weighting, integration: Integration, name: str, needs: Iterable[Need] = ()) -> Rule:
    """A rule from whom to believe and how to combine."""
    return Rule(name=name, weighting=weighting, integration=integration, needs=frozenset(needs))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One sentence for a word that nobody knows: it names the nearest right one."""
    words = sorted(known)
    near = get_close_matches(name, words, n=1, cutoff=0.5)
    if near:
        return f"unknown {kind} '{name}': did you mean '{near[0]}'?"
    return f"unknown {kind} '{name}': " + (f"known: {', '.join(words)}" if words else "it has none")
