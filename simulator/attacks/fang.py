"""Fang's attacks: the largest push against the honest movement that Krum still picks; or beyond the trimmed range."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage

_VICTIMS = 8  # neighbourhoods on which a push is tried; more change little and cost as much each
_HALVINGS = 20


def krum_winner(models: Tensor, faults: int) -> int:
    """Number of the model with the smallest sum of its n - f - 2 (at least 1) smallest squared distances to others."""
    squared = torch.cdist(models.double(), models.double()).square()
    squared.fill_diagonal_(float("inf"))
    near = max(1, min(len(models) - 1, len(models) - faults - 2))
    return int(squared.sort(dim=1).values[:, :near].sum(dim=1).argmin())


def fang_krum(faults: int = 1) -> Craft:
    """mu_s - lambda sign(movement_s), lambda halved until Krum picks it for most of the victims that are tried.

    mu_s and movement_s are those of the Sybil's targets; lambda is one for all and starts where the push is four
    median honest distances long. Nothing picked: the smallest lambda.

    Source: M. Fang et al., "Local model poisoning attacks to Byzantine-robust federated learning", USENIX Security
    2020, section 4.2. Differs: each node of a graph runs Krum on its own neighbourhood.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        means, signs = _local(view)
        step = 4 * view.distance() / sqrt(models.shape[1])
        honest = len(view.honest)
        reached = [node for node, near in enumerate(view.neighbours) if near and max(near) >= honest]
        victims = reached[:: max(1, -(-len(reached) // _VICTIMS))]
        for _ in range(_HALVINGS):
            sent = means - step * signs
            picked = 0
            for node in victims:
                good = [node, *(near for near in view.neighbours[node] if near < honest)]
                bad = [near - honest for near in view.neighbours[node] if near >= honest]
                winner = krum_winner(torch.cat([view.honest[good], sent[bad]]), faults)
                picked += winner >= len(good)
            if 2 * picked >= len(victims):
                return sent
            step /= 2
        return means - step * signs

    return craft


def fang_trimmed_mean(factor: float = 2.0, scope: str = "targets") -> Craft:
    """Per coordinate beyond the honest extreme that lies against the movement.

    Honest values rise: between min / b and min (min > 0) or b min and min (min <= 0); they fall: between max and
    b max (max > 0) or max and max / b (max <= 0); uniform draws, b = factor.

    Source: M. Fang et al., USENIX Security 2020, section 4.3 (full knowledge).
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        draws = view.generator("fang-trimmed-mean").random(tuple(models.shape), dtype="float32")
        uniform = torch.from_numpy(draws).to(models.device)
        rows = []
        for sybil in range(view.sybils):
            now, then = view.crowd(sybil, scope)
            low, high = now.amin(dim=0), now.amax(dim=0)
            below = torch.where(low > 0, low / factor, low * factor)
            above = torch.where(high > 0, high * factor, high / factor)
            rises = now.mean(dim=0) >= then.mean(dim=0)
            rows.append(
                torch.where(rises, low + uniform[sybil] * (below - low), high + uniform[sybil] * (above - high))
            )
        return torch.stack(rows)

    return craft


def _local(view: AttackView) -> tuple[Tensor, Tensor]:
    """Mean honest model of each Sybil's targets and the sign of its movement: (S, d), (S, d)."""
    means: list[Tensor] = []
    signs: list[Tensor] = []
    for sybil in range(view.sybils):
        now, then = (crowd.mean(dim=0) for crowd in view.crowd(sybil))
        means.append(now)
        signs.append((now - then).sign())
    return torch.stack(means), torch.stack(signs)


FANG_KRUM = AttackSpec(
    name="fang-krum",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES, Knowledge.GRAPH, Knowledge.RULE}),
    build=fang_krum,
    parameters={"faults": 1},
)
FANG_TRIMMED_MEAN = AttackSpec(
    name="fang-trimmed-mean",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES}),
    build=fang_trimmed_mean,
    parameters={"factor": 2.0, "scope": "targets"},
)
