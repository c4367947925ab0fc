"""A little is enough: hide within the spread of honest models; and inner-product manipulation: walk backwards."""

from __future__ import annotations

from statistics import NormalDist

import torch
from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage, Strength

_MOST = 0.999  # with half of the nodes or more the quantile would be infinite


def quantile(nodes: int, bad: int) -> float:
    """z = Phi^-1((n - m - s) / (n - m)), s = floor(n/2 + 1) - m: the farthest that a majority still covers; 0 to 3.09.

    Source: G. Baruch et al., "A little is enough", NeurIPS 2019, equation 3 and algorithm 3.
    Differs: bounded where the published formula is infinite (m >= n/2) or negative.
    """
    good = nodes - bad
    needed = nodes // 2 + 1 - bad
    share = (good - needed) / good if good > 0 else _MOST
    return NormalDist().inv_cdf(min(max(share, 0.5), _MOST))


def alie(z: float = 0.0, scope: str = "targets") -> Craft:
    """mu - z sigma per coordinate; z = 0: by the formula over all nodes.

    Args:
        z: distance in standard deviations.
        scope: whose mean and standard deviation: the Sybil's "targets" or "all".
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        much = z or quantile(len(view.honest) + view.sybils, view.sybils)
        rows = []
        for sybil in range(view.sybils):
            crowd, _ = view.crowd(sybil, scope)
            rows.append(crowd.mean(dim=0) - much * crowd.std(dim=0, correction=0))
        return torch.stack(rows)

    return craft


def ipm(factor: float = 0.5, scope: str = "targets") -> Craft:
    """Before - factor * movement: the inner product with the honest movement is negative.

    Source: C. Xie et al., "Fall of empires: breaking Byzantine-tolerant SGD by inner product manipulation", UAI 2019.
    Differs: models are exchanged here, so mu is the honest movement of this round, put onto last round's honest mean.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        rows = []
        for sybil in range(view.sybils):
            now, then = (crowd.mean(dim=0) for crowd in view.crowd(sybil, scope))
            rows.append(then - factor * (now - then))
        return torch.stack(rows)

    return craft


ALIE = AttackSpec(
    name="alie",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES}),
    build=alie,
    parameters={"z": 0.0, "scope": "targets"},
    strength=Strength("z", 0.05, 10.0),
)
IPM = AttackSpec(
    name="ipm",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES}),
    build=ipm,
    parameters={"factor": 0.5, "scope": "targets"},
    strength=Strength("factor", 0.05, 50.0),
)
