"""Dissensus: push neighbours apart, against the pull of gossip averaging."""

from __future__ import annotations

import torch
from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage, Strength


def dissensus(factor: float = 1.5) -> Craft:
    """For a victim i: x_i - factor * sum over honest j of (x_j - x_i) / Sybils beside i; the mean over the targets.

    With factor 1, one victim and equal weights, the victim's plain mean does not move at all; beyond 1 it moves away.

    Source: L. He, S. P. Karimireddy, M. Jaggi, "Byzantine-robust decentralized learning via ClippedGossip", arXiv
    2202.01545, equation 6. Differs: one model a Sybil, so a Sybil with several targets sends their mean.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        honest = len(view.honest)
        rows = []
        for sybil, targets in enumerate(view.targets):
            wanted = []
            for victim in targets:
                good = [near for near in view.neighbours[victim] if near < honest]
                bad = len(view.neighbours[victim]) - len(good)
                pull = (view.honest[good] - view.honest[victim]).sum(dim=0)
                wanted.append(view.honest[victim] - factor * pull / bad)
            rows.append(torch.stack(wanted).mean(dim=0) if wanted else models[sybil])
        return torch.stack(rows)

    return craft


DISSENSUS = AttackSpec(
    name="dissensus",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES, Knowledge.GRAPH}),
    build=dissensus,
    parameters={"factor": 1.5},
    strength=Strength("factor", 0.1, 20.0),
)
