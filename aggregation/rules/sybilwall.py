"""SybilWall: FoolsGold's weights with histories that were heard of through others.

Source: T. Werthenbach, J. Pouwelse, "Towards Sybil Resilience in Decentralized Learning", arXiv 2306.15044 (2023), and
the authors' published code.

Rows are the direct neighbours first, then relayed histories; the own model is not a row and has weight 1. Relayed
histories only lower weights; they are never averaged in. A history is the newest model its author signed: the published
accumulation h += m^t - m^(t-1) telescopes to it.

Differs: weights are cut to the direct rows before they are divided by their maximum, and the own weight is 1 (the
published code misaligns them once there are relayed rows); see also `aggregation.rules.foolsgold` for floors and rows
that do not count.

The best direct neighbour always gets weight 1, also a lone one, and also when all of them are Sybils that differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Need, Rule, Weighting, Weights
from aggregation.parts.compose import compose
from aggregation.parts.integration import weighted_mean
from aggregation.rules.foolsgold import gaps_of_rows, verdicts, weights_from_gaps, weights_of_rows

HISTORIES = ("model", "update")


def sybilwall_weights(histories: Tensor, direct: int) -> Tensor:
    """Normalised weights of the direct neighbours and, last, of the own model.

    Args:
        histories: (..., m, d), direct neighbours first, then relayed histories.
        direct: how many of them are direct neighbours.

    Returns:
        (..., direct + 1) float64, at least 0, sum 1. No direct neighbour, or none that counts: own weight 1.
    """
    raw = weights_from_gaps(gaps_of_rows(torch.as_tensor(histories)), direct)
    votes = torch.cat([raw, raw.new_ones((*raw.shape[:-1], 1))], dim=-1)
    return votes / votes.sum(dim=-1, keepdim=True)


def sybilwall_weighting(histories: str = "model") -> Weighting:
    """Similarity weights of direct neighbours beside an own weight of 1.

    Args:
        histories: `model`, the newest model (as published), or `update`, the newest model less the network's common
            initial model.

    Raises:
        RuleError: another kind of history; at a decision, `update` without a common initial model.
    """
    if histories not in HISTORIES:
        raise RuleError(f"histories must be one of {', '.join(HISTORIES)}, not '{histories}'")

    def weigh(evidence: Evidence) -> Weights:
        origin = evidence.initial if histories == "update" else None
        if histories == "update" and origin is None:
            raise RuleError("histories 'update' need the network's common initial model")
        direct = evidence.neighbours.shape[-1]
        index = torch.cat([evidence.neighbours, evidence.relayed], dim=-1)
        raw, directed = weights_of_rows(evidence.table.geometry, index, direct, origin)
        raw = raw.to(evidence.table.values.dtype)
        return Weights(own=raw.new_ones(evidence.own.shape), neighbours=raw, verdicts=verdicts(evidence, raw, directed))

    return weigh


def build_sybilwall(histories: str = "model") -> Rule:
    """SybilWall with histories of this kind."""
    return compose(sybilwall_weighting(histories), weighted_mean, "sybilwall", {Need.RELAYS})
