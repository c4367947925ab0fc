"""Does a rule hold against an attack? Three lines in anybody's test suite.

    from simulator.testing import resists

    def test_my_weighting_resists_clones() -> None:
        resists(weighting=my_weighting, attack="label-flip+scaled-clones", bound=0.1, accuracy_loss=0.05)

Laws:
- The same call gives the same numbers, on any machine with the same torch, whatever ran before.
- A failure says by how much, at which seed, what other rules make of the same runs, and how to look closer.
- The scenario is small (`SMALL`: digits, 20 nodes, about a second a run); any field of a scenario can be given instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aggregation.evidence import Integration, Need, Rule, Weighting
from aggregation.parts.integration import weighted_mean
from aggregation.parts.own_rule import own_rule, refuse_no_rule
from aggregation.registry import build_rule
from aggregation.rules.baselines import everyone
from node.learning.task import Task
from simulator.fast import engine as fast
from simulator.matrix.figures import outcome
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare

__all__ = ["SMALL", "Finding", "measure", "resists"]

SMALL: Mapping[str, object] = {
    "name": "resists",
    "task": "digits",
    "nodes": 20,
    "rounds": 20,
    "topology": {"name": "regular", "degree": 6},
    "alpha": 0.5,
    "phi": 1.0,
}
"""The scenario in which rules are tried, unless something else is said."""
_KEPT = 8
"""Setups kept between calls: many tests try many rules on few scenarios."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule made of an attack, after the last round.

    Attributes:
        rule, attack: names.
        seeds: seeds, in order of the arrays below.
        success: attack success, mean over honest nodes, for each seed.
        accuracy: the same for accuracy.
        worst: attack success at the worst node of all seeds.
        sybil_share: Sybils' share of the weight, mean over nodes, rounds and seeds.
        scenario: where it was measured.
    """

    rule: str
    attack: str
    seeds: tuple[int, ...]
    success: tuple[float, ...]
    accuracy: tuple[float, ...]
    worst: float
    sybil_share: float
    scenario: Scenario

    def __str__(self) -> str:
        """One line of numbers."""
        by_seed = ", ".join(f"{seed}: {value:.3f}" for seed, value in zip(self.seeds, self.success, strict=True))
        return (
            f"{self.rule}: attack success {max(self.success):.3f} (by seed {by_seed}; worst node {self.worst:.3f}), "
            f"accuracy {min(self.accuracy):.3f}, Sybils' share of weight {self.sybil_share:.3f}"
        )


def measure(
    rule: str | Rule | None = None,
    attack: str | Mapping[str, object] | None = "label-flip",
    *,
    weighting: Weighting | None = None,
    integration: Integration | None = None,
    needs: Sequence[Need] = (),
    seeds: Sequence[int] = (0,),
    task: Task | str | None = None,
    **scenario: object,
) -> Finding:
    """Run a rule against an attack.

    Args:
        rule: a name from the registry, with parameters if need be, `hedgerow(trim=0.1)`, or a Rule; absent = built
            from `weighting` and `integration`.
        attack: its spelling, or a table of name and parameters: `{"name": "label-flip+boosted", "factor": 100.0}`;
            None or "none" = nobody attacks.
        weighting: whom to believe, (evidence) -> Weights; absent = everyone alike.
        integration: how to combine, (evidence, weights) -> Decision; absent = the weighted mean.
        needs: what such a rule asks for beyond direct neighbours' models.
        seeds: of the runs.
        task: a task of one's own, or the name of a shipped one, in place of the scenario's.
        scenario: fields of a scenario in place of `SMALL`'s.

    Raises:
        ValueError: both a rule and its parts, or neither.
        RuleError: a function where a rule is wanted, or a part that returns something else than it should.
        ScenarioError: what was asked for does not exist; the message names the nearest word.
    """
    if (rule is None) == (weighting is None and integration is None):
        raise ValueError("give either a rule, or a weighting or an integration (or both of these)")
    if rule is not None:
        refuse_no_rule(rule)
    named = rule if isinstance(rule, str) else "mean"
    if isinstance(task, str):
        scenario, task = scenario | {"task": task}, None
    where = Scenario.of({**SMALL, **scenario, "attack": attack or "none", "seeds": tuple(seeds), "rules": [named]})
    if isinstance(rule, str):
        choice = where.rules[0]
        return _measured(build_rule(choice.name, **choice.parameters), where, task, str(choice))
    if rule is None:
        mine = own_rule(weighting or everyone, integration or weighted_mean, "own rule", needs)
    else:
        mine = own_rule(rule.weighting, rule.integration, rule.name, rule.needs)
    return _measured(mine, where, task)


def resists(
    rule: str | Rule | None = None,
    attack: str | Mapping[str, object] | None = "label-flip",
    bound: float = 0.1,
    *,
    accuracy_loss: float | None = None,
    weighting: Weighting | None = None,
    integration: Integration | None = None,
    needs: Sequence[Need] = (),
    seeds: Sequence[int] = (0,),
    task: Task | str | None = None,
    **scenario: object,
) -> Finding:
    """Assert that a rule holds against an attack, at every seed.

    Args:
        rule, attack, weighting, integration, needs, seeds, task, scenario: as in `measure`.
        bound: attack success (mean over honest nodes) that is still borne.
        accuracy_loss: accuracy below the oracle mean's on the same run that is still borne; None = any.

    Returns:
        What was measured, for further assertions.

    Raises:
        AssertionError: it does not hold; the message says by how much, and what other rules make of the same runs.
    """
    found = measure(
        rule,
        attack,
        weighting=weighting,
        integration=integration,
        needs=needs,
        seeds=seeds,
        task=task,
        **scenario,
    )
    own = None if isinstance(task, str) else task
    faults = []
    if not max(found.success) <= bound:
        faults.append(f"attack success {max(found.success):.3f} is above the bound {bound:g}")
    if accuracy_loss is not None:
        best = _measured(build_rule("oracle-mean"), found.scenario, own)
        loss = max(ideal - got for ideal, got in zip(best.accuracy, found.accuracy, strict=True))
        if not loss <= accuracy_loss:
            faults.append(f"accuracy is {loss:.3f} below the oracle mean's; {accuracy_loss:g} was allowed")
    if faults:
        raise AssertionError(_explain(found, faults, own))
    return found


def _measured(rule: Rule, where: Scenario, task: Task | None, name: str | None = None) -> Finding:
    where, cells = where.but(rules=["mean"]), []
    for seed in where.seeds:
        setup = _setup(where.model_dump_json(), seed) if task is None else prepare(where, task, seed=seed)
        cells.append(outcome(list(fast.run(setup, rule, options=fast.Options(threads=1))), where.nodes))
    return Finding(
        rule=name or rule.name,
        attack=str(where.attack or "no attack"),
        seeds=where.seeds,
        success=tuple(float(cell.success[-1].mean()) for cell in cells),
        accuracy=tuple(float(cell.accuracy[-1].mean()) for cell in cells),
        worst=max(float(cell.success[-1].max()) for cell in cells),
        sybil_share=float(np.mean([cell.sybil_share for cell in cells])),
        scenario=where,
    )


@lru_cache(maxsize=_KEPT)
def _setup(where: str, seed: int) -> Setup:
    return prepare(Scenario.model_validate_json(where), seed=seed)


def _explain(found: Finding, faults: Sequence[str], task: Task | None) -> str:
    others = [_measured(build_rule(name), found.scenario, task) for name in ("mean", "hedgerow", "oracle-mean")]
    where = found.scenario
    links = f"{where.sybils} Sybils" if where.phi is None else f"phi {where.phi:g}"
    return "\n".join(
        [
            f"{found.rule} does not hold against {found.attack}: {'; '.join(faults)}.",
            f"  {found}",
            *(f"  {other}" for other in others if other.rule != found.rule),
            f"  where: {where.task}, {where.nodes} nodes, {where.topology}, {where.partition} {where.alpha:g}, "
            f"{links}, {where.rounds} rounds",
            "  look closer: simulator.testing.measure(...) returns these numbers; hedgerow simulate shows each round",
        ]
    )
