"""Neurotoxin: poison only the coordinates that honest updates use least, so that training does not wash it out."""

from __future__ import annotations

from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage


def neurotoxin(top: float = 0.1) -> Craft:
    """The model, but on the `top` share of coordinates, where honest nodes moved most, the honest mean.

    Args:
        top: share of coordinates left alone, in [0, 1).

    Source: Z. Zhang et al., "Neurotoxin: durable backdoors in federated learning", ICML 2022, algorithm 1.
    Differs: the projection is done once after local training, not in every step.
    Raises:
        ValueError: share out of range.
    """
    if not 0 <= top < 1:
        raise ValueError(f"neurotoxin leaves a share in [0, 1) alone, not {top}")

    def craft(view: AttackView, models: Tensor) -> Tensor:
        size = view.movement().abs()
        loud = size.argsort(descending=True, stable=True)[: round(top * len(size))]
        out = models.clone()
        out[:, loud] = view.centre()[loud]
        return out

    return craft


NEUROTOXIN = AttackSpec(
    name="neurotoxin",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES}),
    build=neurotoxin,
    parameters={"top": 0.1},
)
