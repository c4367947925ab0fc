"""A rule of a user's own, checked at its first answer: what is wrong is told in a sentence, not deep in an engine.

Law: a checked part says what the part says, bit by bit; only its first answer is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Integration, Need, Rule, Weighting, Weights
from aggregation.parts.compose import compose
from aggregation.parts.integration import InPlace

_HOW = (
    "weighting= takes (evidence) and returns aggregation.evidence.Weights, integration= takes (evidence, weights) and "
    "returns aggregation.evidence.Decision"
)


def own_rule(weighting: Weighting, integration: Integration, name: str, needs: Iterable[Need] = ()) -> Rule:
    """A rule that raises RuleError at its first answer if that is none.

    Raises:
        RuleError: a part that is no function.
    """
    for word, part in (("weighting", weighting), ("integration", integration)):
        if not callable(part):
            raise RuleError(f"{word} is a {type(part).__name__}, not a function: {_HOW}")
    combine = InPlace(_Combined(integration)) if isinstance(integration, InPlace) else _Combined(integration)
    return compose(_Weighed(weighting), combine, name, needs)


def refuse_no_rule(rule: object) -> None:
    """Refuse what is neither a name nor a Rule.

    Raises:
        RuleError: with what to write instead.
    """
    if not isinstance(rule, str | Rule):
        what = getattr(rule, "__name__", repr(rule)) if callable(rule) else repr(rule)
        raise RuleError(f"{what} is neither the name of a rule nor a Rule; give a function as a part of one: {_HOW}")


@dataclass(slots=True)
class _Weighed:
    weighting: Weighting
    heard: bool = field(default=False, init=False)

    def __call__(self, evidence: Evidence) -> Weights:
        said = self.weighting(evidence)
        if not self.heard:
            whole = tuple(evidence.neighbours.shape)
            _check("weighting", said, Weights, {"own": whole[:-1], "neighbours": whole, "verdicts": whole})
            self.heard = True
        return said


@dataclass(slots=True)
class _Combined:
    integration: Integration
    heard: bool = field(default=False, init=False)

    def __call__(self, evidence: Evidence, weights: Weights) -> Decision:
        said = self.integration(evidence, weights)
        if not self.heard:
            whole = tuple(evidence.neighbours.shape)
            model = (*whole[:-1], evidence.table.values.shape[1])
            _check("integration", said, Decision, {"params": model, "weights": whole, "verdicts": whole})
            self.heard = True
        return said


def _check(part: str, said: object, wanted: type, shapes: dict[str, tuple[int, ...]]) -> None:
    if not isinstance(said, wanted):
        raise RuleError(f"the {part} returned a {type(said).__name__}, wanted {wanted.__module__}.{wanted.__name__}")
    for name, shape in shapes.items():
        value: object = getattr(said, name)
        if not isinstance(value, Tensor):
            raise RuleError(f"the {part} returned {name} as a {type(value).__name__}, wanted a tensor of shape {shape}")
        if tuple(value.shape) != shape:
            raise RuleError(f"the {part} returned {name} of shape {tuple(value.shape)}, wanted {shape}")
