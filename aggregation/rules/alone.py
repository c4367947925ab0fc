"""The two ends of every comparison: `alone` listens to nobody, `oracle-mean` knows who is honest."""

from __future__ import annotations

import torch

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Need, Rule, Verdict, Weights
from aggregation.parts.integration import weighted_mean
from aggregation.parts.neighbourhood import neighbourhood


def unheard(evidence: Evidence) -> Weights:
    """Weight 0 for every neighbour, 1 for the own model: (..., n)."""
    verdicts = evidence.absence()
    verdicts[verdicts == int(Verdict.TAKEN)] = int(Verdict.UNHEARD)
    values = evidence.table.values
    zeros = torch.zeros(evidence.neighbours.shape, dtype=values.dtype, device=values.device)
    return Weights(own=torch.ones_like(evidence.own, dtype=values.dtype), neighbours=zeros, verdicts=verdicts)


def keep(evidence: Evidence, weights: Weights) -> Decision:
    """The own model, bit for bit."""
    return Decision(
        params=evidence.table.values[evidence.own].clone(), weights=weights.neighbours, verdicts=weights.verdicts
    )


def honest(evidence: Evidence) -> Weights:
    """Weight 1 for honest neighbours, 0 for the others: (..., n).

    Raises:
        RuleError: the evidence does not say who is honest; only a simulator can.
    """
    if evidence.honest is None:
        raise RuleError("oracle-mean needs to know who is honest: it runs in a simulator only")
    around = neighbourhood(evidence)
    taken = around.heard & evidence.honest
    verdicts = around.verdicts
    verdicts[around.heard & ~evidence.honest] = int(Verdict.HARMFUL)
    values = evidence.table.values
    return Weights(
        own=torch.ones_like(evidence.own, dtype=values.dtype), neighbours=taken.to(values.dtype), verdicts=verdicts
    )


def alone() -> Rule:
    """Own model only: x_i. The lower end of every comparison."""
    return Rule("alone", unheard, keep)


def oracle_mean() -> Rule:
    """Mean of own and honest neighbours' models: the upper end, for a simulator that knows who is honest."""
    return Rule("oracle-mean", honest, weighted_mean, frozenset({Need.ORACLE}))
