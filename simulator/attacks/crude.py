"""Attacks that need no knowledge: Gaussian noise, sign flip, numbers that are none, free riding."""

from __future__ import annotations

import torch
from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage, Strength


def gaussian(scale: float = 0.3, around: str = "model") -> Craft:
    """Model + N(0, scale), each Sybil its own draw; around="zero": the noise alone.

    Raises:
        ValueError: `around` is neither "model" nor "zero".
    """
    if around not in ("model", "zero"):
        raise ValueError(f"gaussian noise is around 'model' or 'zero', not '{around}'")

    def craft(view: AttackView, models: Tensor) -> Tensor:
        noise = scale * view.normal("gaussian", *models.shape)
        return models + noise if around == "model" else noise

    return craft


def sign_flip(factor: float = 1.0, of: str = "params") -> Craft:
    """-factor * model; of="update": the step backwards, start - factor (model - start).

    Source: L. Li et al., "RSA: Byzantine-robust stochastic aggregation", AAAI 2019.
    Raises:
        ValueError: `of` is neither "params" nor "update".
    """
    if of not in ("params", "update"):
        raise ValueError(f"sign-flip turns 'params' or 'update', not '{of}'")

    def craft(view: AttackView, models: Tensor) -> Tensor:
        return -factor * models if of == "params" else view.start - factor * (models - view.start)

    return craft


NUMBERS = {"nan": (float("nan"),), "inf": (float("inf"),), "mixed": (float("nan"), float("inf"), float("-inf"))}


def nan_model(kind: str = "mixed", share: float = 1.0) -> Craft:
    """NaN or infinity in a share of the coordinates (the first ones, at least one).

    Raises:
        ValueError: unknown kind.
    """
    if kind not in NUMBERS:
        raise ValueError(f"unknown kind '{kind}': known: {', '.join(sorted(NUMBERS))}.")

    def craft(view: AttackView, models: Tensor) -> Tensor:
        out = models.clone()
        count = max(1, round(share * models.shape[1]))
        values = torch.tensor(NUMBERS[kind], dtype=models.dtype, device=models.device)
        out[:, :count] = values[torch.arange(count, device=models.device) % len(values)]
        return out

    return craft


def free_rider(noise: float = 1e-3) -> Craft:
    """The model before training, with a little noise, as if it had been trained.

    Source: Y. Fraboni et al., "Free-rider attacks on model aggregation in federated learning", AISTATS 2021.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        return view.start + noise * view.normal("free-rider", *models.shape)

    return craft


GAUSSIAN = AttackSpec(
    name="gaussian",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.SHARD}),
    build=gaussian,
    parameters={"scale": 0.3, "around": "model"},
    strength=Strength("scale", 1e-3, 10.0),
)
SIGN_FLIP = AttackSpec(
    name="sign-flip",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.SHARD}),
    build=sign_flip,
    parameters={"factor": 1.0, "of": "params"},
    strength=Strength("factor", 0.05, 20.0),
)
NAN_MODEL = AttackSpec(
    name="nan-model",
    stage=Stage.MODEL,
    knowledge=frozenset(),
    build=nan_model,
    parameters={"kind": "mixed", "share": 1.0},
)
FREE_RIDER = AttackSpec(
    name="free-rider", stage=Stage.MODEL, knowledge=frozenset(), build=free_rider, parameters={"noise": 1e-3}
)
