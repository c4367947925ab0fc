"""Min-Max and Min-Sum: as far from the honest mean as possible while no farther from others than they are."""

from __future__ import annotations

import torch
from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage

DIRECTIONS = ("mean", "sign", "spread", "movement")


def _direction(kind: str, now: Tensor, then: Tensor) -> Tensor:
    """Unit vector to walk against: (k, d), (k, d) -> (d,); zero when the crowd gives none."""
    mean = now.mean(dim=0)
    raw = {
        "mean": lambda: mean,
        "sign": lambda: mean.sign(),
        "spread": lambda: now.std(dim=0, correction=0),
        "movement": lambda: mean - then.mean(dim=0),
    }[kind]()
    return torch.nn.functional.normalize(raw, dim=0)


def largest_step(crowd: Tensor, unit: Tensor, criterion: str) -> float:
    """Largest gamma >= 0 for which mean - gamma * unit stays within the honest distances.

    Args:
        crowd: (k, d) honest models.
        unit: (d,) unit vector (or zero: 0 comes back).
        criterion: "max": its largest distance to the crowd <= the largest distance within the crowd;
            "sum": its sum of squared distances to the crowd <= the largest such sum of a member.

    Both are quadratic in gamma, |m - g u - x|^2 = |m - x|^2 + 2 g <u, x - m> + g^2, so the roots are exact and no
    search is needed (the published code halves its step).
    """
    if len(crowd) < 2 or not bool(unit.any()):
        return 0.0
    away = (crowd - crowd.mean(dim=0)).double()
    gram = away @ away.T
    size = gram.diagonal()
    squared = (size[:, None] + size[None, :] - 2 * gram).clamp(min=0)
    along = away @ unit.double()
    if criterion == "max":
        room = (squared.max() - size).clamp(min=0)
        return float((-along + (along.square() + room).sqrt()).min())
    room = (squared.sum(dim=1).max() - size.sum()).clamp(min=0) / len(crowd)
    middle = along.mean()
    return float(-middle + (middle.square() + room).sqrt())


def _envelope(criterion: str, direction: str, scope: str) -> Craft:
    if direction not in DIRECTIONS:
        raise ValueError(f"unknown direction '{direction}': known: {', '.join(DIRECTIONS)}.")

    def craft(view: AttackView, models: Tensor) -> Tensor:
        rows = []
        for sybil in range(view.sybils):
            now, then = view.crowd(sybil, scope)
            unit = _direction(direction, now, then)
            rows.append(now.mean(dim=0) - largest_step(now, unit, criterion) * unit)
        return torch.stack(rows)

    return craft


def min_max(direction: str = "spread", scope: str = "targets") -> Craft:
    """mu - gamma u, the largest gamma whose largest distance stays within the honest ones'.

    Source: V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine", NDSS 2021, equation 7.
    """
    return _envelope("max", direction, scope)


def min_sum(direction: str = "spread", scope: str = "targets") -> Craft:
    """mu - gamma u, the largest gamma whose sum of squared distances stays within the honest ones'.

    Source: V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine", NDSS 2021, equation 8.
    """
    return _envelope("sum", direction, scope)


MIN_MAX = AttackSpec(
    name="min-max",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES}),
    build=min_max,
    parameters={"direction": "spread", "scope": "targets"},
)
MIN_SUM = AttackSpec(
    name="min-sum",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES}),
    build=min_sum,
    parameters={"direction": "spread", "scope": "targets"},
)
