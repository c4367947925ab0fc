"""The registry of rules: what is shipped, and what a rule of one's own may be.

A new rule: write its module, and add its line to the table. A rule is named everywhere by its name, with parameters if
need be; of an installed package (entry point in the group `hedgerow.rules`) or of a file beside the command
(`module:name`) likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aggregation.errors import RuleError
from hedgerow_registry import Entry, Registry, UnknownName, signature_of

if TYPE_CHECKING:
    from aggregation.evidence import Rule, Weights

Parameter = bool | int | float | str


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule that users can name.

    Attributes:
        name: as users write it.
        build: makes the rule; its keyword arguments are the parameters.
        parameters: every parameter and its default.
    """

    name: str
    build: Callable[..., Rule]
    parameters: Mapping[str, Parameter]

    def make(self, **parameters: Parameter) -> Rule:
        """The rule with these parameters, the others at their defaults.

        Raises:
            RuleError: a parameter that the rule does not have, a value of another type than its default (an int may
                stand for a float), one out of its range, or what was built is no rule; the message names the rule.
        """
        for name, value in parameters.items():
            if name not in self.parameters:
                raise RuleError(str(UnknownName(f"parameter of rule '{self.name}'", name, self.parameters)))
            default = self.parameters[name]
            fits = type(value) is type(default) or (type(default) is float and type(value) is int)
            if not fits:
                expected, got = type(default).__name__, type(value).__name__
                raise RuleError(f"parameter '{name}' of rule '{self.name}' must be {expected}, not {got} ({value!r})")
        try:
            return self.build(**{**self.parameters, **parameters})
        except RuleError as error:
            raise RuleError(f"rule '{self.name}': {error}") from error


def build_rule(name: str, **parameters: Parameter) -> Rule:
    """The rule of this name: of the table, of an installed package, or `module:name`.

    Raises:
        UnknownName: no such rule; the message names the nearest one.
        BadReference: `module:name` leads nowhere, or to what is no rule.
        RuleError: no such parameter, or a value of the wrong type or out of range.
    """
    return RULES.find(name).make(**parameters)


_WANTED = "a Rule, a function that makes one, or a weighting (a function of the evidence that returns Weights)"


def _accept(name: str, thing: object) -> RuleSpec:
    """A Rule, a function that makes one from its keyword arguments, or a weighting: (evidence, ...) -> Weights."""
    from aggregation.evidence import Rule

    if isinstance(thing, Rule):
        return RuleSpec(name, partial(_checked, lambda: thing), {})
    if not callable(thing):
        raise ValueError(f"a {type(thing).__name__}; wanted {_WANTED}")
    required, defaults = signature_of(thing)
    if len(required) > 1:
        raise ValueError(f"a function of {', '.join(required)}; wanted {_WANTED}")
    if required:
        return RuleSpec(name, partial(_weighed, thing, name), defaults)
    return RuleSpec(name, thing if RULES.ships(name) else partial(_checked, thing), defaults)


def _checked(make: Callable[..., object], **parameters: Parameter) -> Rule:
    from aggregation.evidence import Rule
    from aggregation.parts.own_rule import own_rule

    rule = make(**parameters)
    if not isinstance(rule, Rule):
        raise RuleError(f"the function returned a {type(rule).__name__}; wanted {_WANTED}")
    return own_rule(rule.weighting, rule.integration, rule.name, rule.needs)


def _weighed(weighting: Callable[..., Weights], name: str, **parameters: Parameter) -> Rule:
    from aggregation.parts.integration import weighted_mean
    from aggregation.parts.own_rule import own_rule

    return own_rule(partial(weighting, **parameters), weighted_mean, name)


RULES: Registry[RuleSpec] = Registry(
    "rule",
    (
        Entry(
            "mean",
            "aggregation.rules.baselines:build_mean",
            "Plain mean of own and neighbours' models.",
            "McMahan et al., arXiv 1602.05629",
        ),
        Entry(
            "median",
            "aggregation.rules.baselines:build_median",
            "Median of each coordinate, own model included.",
            "Yin et al., arXiv 1803.01498",
        ),
        Entry(
            "trimmed-mean",
            "aggregation.rules.baselines:build_trimmed_mean",
            "Mean of each coordinate without its f lowest and f highest values.",
            "Yin et al., arXiv 1803.01498; BRIDGE, arXiv 1908.08098",
        ),
        Entry(
            "krum",
            "aggregation.rules.baselines:build_krum",
            "The one model with the smallest sum of n - f - 2 squared distances to others.",
            "Blanchard et al., NeurIPS 2017",
        ),
        Entry(
            "multi-krum",
            "aggregation.rules.baselines:build_multi_krum",
            "Mean of the m models with the best Krum scores (m = 0: n - f).",
            "Blanchard et al., NeurIPS 2017",
        ),
        Entry(
            "foolsgold",
            "aggregation.rules.foolsgold:build_foolsgold",
            "Neighbours and own model weighted by how little they point the same way.",
            "Fung et al., arXiv 1808.04866, Algorithm 1",
        ),
        Entry(
            "sybilwall",
            "aggregation.rules.sybilwall:build_sybilwall",
            "Similar neighbours share one vote; histories relayed from further away count as similar too.",
            "Werthenbach and Pouwelse, arXiv 2306.15044",
        ),
        Entry(
            "bristle",
            "aggregation.rules.bristle:build_bristle",
            "Neighbours weighed class by class by F1 on own held-out samples.",
            "Verbraeken et al., arXiv 2110.11006",
        ),
        Entry(
            "sybilwall-bristle",
            "aggregation.rules.bristle:build_sybilwall_bristle",
            "Similarity (SybilWall) times performance per class (Bristle).",
            "Werthenbach and Pouwelse, arXiv 2306.15044; Verbraeken et al., arXiv 2110.11006",
        ),
        Entry(
            "alone",
            "aggregation.rules.alone:alone",
            "Listens to nobody: the lower end of every comparison.",
            "baseline",
        ),
        Entry(
            "oracle-mean",
            "aggregation.rules.alone:oracle_mean",
            "Mean of own and honest models, in a simulator: the upper end of every comparison.",
            "baseline: knows who is honest",
        ),
        Entry(
            "geometric-median",
            "aggregation.rules.geometric_median:geometric_median",
            "The point with the least sum of distances to own and neighbours' models.",
            "Pillutla, Kakade, Harchaoui, arXiv 1912.13445 (2019)",
        ),
        Entry(
            "bulyan",
            "aggregation.rules.bulyan:bulyan",
            "Repeated Krum, then the mean of the values around the median of each coordinate.",
            "El Mhamdi, Guerraoui, Rouault, arXiv 1802.07927 (2018)",
        ),
        Entry(
            "nnm-trimmed-mean",
            "aggregation.rules.nnm:nnm_trimmed_mean",
            "Trimmed mean of rows that are first mixed with their nearest.",
            "Allouah et al., arXiv 2302.01772 (2023)",
        ),
        Entry(
            "scc",
            "aggregation.rules.self_centred_clipping:scc",
            "Self-centred clipping with an adaptive bound.",
            "He, Karimireddy, Jaggi, arXiv 2202.01545 (2022)",
        ),
        Entry(
            "cs-plus",
            "aggregation.rules.self_centred_clipping:cs_plus",
            "Self-centred clipping of twice the assumed bad weight.",
            "Gaucher, Dieuleveut, Hendrikx, arXiv 2410.10418 (2024)",
        ),
        Entry(
            "balance",
            "aggregation.rules.balance:balance",
            "Mean of what lies within a shrinking ball around the own model.",
            "Fang et al., arXiv 2406.10416 (2024)",
        ),
        Entry(
            "ubar",
            "aggregation.rules.ubar:ubar",
            "Mean of the nearest neighbours that do no worse on own data.",
            "Guo et al., arXiv 2002.08569 (2020)",
        ),
        Entry(
            "fltrust",
            "aggregation.rules.fltrust:fltrust",
            "Neighbours count as far as their update points where the own update points.",
            "Cao, Fang, Liu, Gong, arXiv 2012.13995 (2020)",
        ),
        Entry(
            "flag",
            "aggregation.rules.flag:flag",
            "Mean of normalised updates within the subspace that most of them share.",
            "Almasi et al., arXiv 2302.05865 (2023)",
        ),
        Entry(
            "hedgerow",
            "aggregation.rules.hedgerow:hedgerow",
            "Clip, one cluster one vote over three views of similarity, bounded mean of mixed rows.",
            "this project",
        ),
        Entry(
            "hedgerow-known",
            "aggregation.rules.hedgerow_known:hedgerow_known",
            "Bounds strangers, by coordinate and by how many hold them near; peers that the node knows count in full.",
            "this project",
        ),
        Entry(
            "hedgerow-bristle",
            "aggregation.rules.hedgerow_bristle:hedgerow_bristle",
            "One cluster one vote, then each class from those who train it and pass the own test, bounded.",
            "this project; Verbraeken et al., arXiv 2110.11006",
        ),
    ),
    _accept,
    group="hedgerow.rules",
)
