"""Clones: one model under all identities; scaled to hide among distances, or boosted to drown the others."""

from __future__ import annotations

import torch
from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage, Strength


def clones() -> Craft:
    """Every Sybil sends the model of the stage before, as it is; with one group they are all the same.

    Source: J. Douceur, "The Sybil Attack", IPTPS 2002.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        return models

    return craft


def scaled(medians: float = 2.0, scope: str = "targets") -> Craft:
    """Each Sybil s sends mu_s + medians * D * unit(model - mu_s).

    mu_s is the mean honest model of its targets, D the median distance between honest neighbours. So a Sybil is as
    far from its victims as they are from each other (times `medians`), and Sybils of different places differ.

    Args:
        medians: distance in median honest distances.
        scope: "targets" or "all" (one mean for all Sybils).

    A model equal to mu_s is sent as mu_s.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        means = torch.stack([view.crowd(sybil, scope)[0].mean(dim=0) for sybil in range(view.sybils)])
        return means + torch.nn.functional.normalize(models - means, dim=1) * (medians * view.distance())

    return craft


def boosted(factor: float = 5.0, of: str = "update") -> Craft:
    """The model's step times `factor`: start + factor (model - start); of="params": factor * model.

    Source: E. Bagdasaryan et al., "How to backdoor federated learning", arXiv 1807.00459 (model replacement).
    Raises:
        ValueError: `of` is neither "update" nor "params".
    """
    if of not in ("update", "params"):
        raise ValueError(f"boosted scales 'update' or 'params', not '{of}'")

    def craft(view: AttackView, models: Tensor) -> Tensor:
        origin = view.start if of == "update" else torch.zeros_like(view.start)
        return origin + factor * (models - origin)

    return craft


CLONES = AttackSpec(name="clones", stage=Stage.MODEL, knowledge=frozenset({Knowledge.SHARD}), build=clones)
SCALED_CLONES = AttackSpec(
    name="scaled-clones",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES, Knowledge.GRAPH}),
    build=scaled,
    parameters={"medians": 2.0, "scope": "targets"},
    strength=Strength("medians", 0.25, 16.0),
)
BOOSTED = AttackSpec(
    name="boosted",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.SHARD}),
    build=boosted,
    parameters={"factor": 5.0, "of": "update"},
    strength=Strength("factor", 0.5, 200.0),
)
