"""Wrong labels: two classes swapped, or every class learned as the next one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from node.learning.dataset import Dataset
from simulator.attacks.attack import AttackSpec, DataStage, Flip, Knowledge, Shift, Stage


def swap(labels: Tensor, first: int, second: int) -> Tensor:
    """Labels with two classes exchanged; applied twice it changes nothing."""
    swapped = torch.where(labels == first, second, labels)
    return torch.where(labels == second, first, swapped)


def flip(first: int = 0, second: int = 1, every: bool = True) -> DataStage:
    """Own share with two classes swapped; with `every`, followed by all training samples of both classes, swapped.

    Source: T. Werthenbach, J. Pouwelse, arXiv 2306.15044; the idea: C. Fung et al., arXiv 1808.04866.
    Raises:
        ValueError: the two classes are one.
    """
    if first == second:
        raise ValueError(f"label-flip swaps two classes; both are {first}")

    def poison(data: Dataset, shard: Tensor, generator: np.random.Generator) -> Dataset:
        rows = shard
        if every:
            both = ((data.labels == first) | (data.labels == second)).nonzero().flatten()
            rows = torch.cat([shard, both])
        return Dataset(data.inputs[rows], swap(data.labels[rows], first, second))

    return DataStage(poison, Flip(first, second))


def shift(by: int = 1, every: bool = False, follow: bool = True, parts: int = 1) -> DataStage:
    """Own share (with `every`, all training samples) with class c learned as class c + by, modulo the classes.

    Without `follow` the adversary learns on its own, as attackers do who never listen: so even a few of them pull a
    plain mean all the way. With `parts` the samples are dealt to so many groups of Sybils.

    Source: J. Verbraeken et al., arXiv 2110.11006, published code.
    """

    def poison(data: Dataset, shard: Tensor, generator: np.random.Generator) -> Dataset:
        rows = torch.arange(len(data.labels)) if every else shard
        return Dataset(data.inputs[rows], (data.labels[rows] + by) % data.classes)

    return DataStage(poison, Shift(by), groups=parts, follow=follow)


LABEL_FLIP = AttackSpec(
    name="label-flip",
    stage=Stage.DATA,
    knowledge=frozenset({Knowledge.SHARD, Knowledge.DATA}),
    build=flip,
    parameters={"first": 0, "second": 1, "every": True},
)
LABEL_SHIFT = AttackSpec(
    name="label-shift",
    stage=Stage.DATA,
    knowledge=frozenset({Knowledge.SHARD, Knowledge.DATA}),
    build=shift,
    parameters={"by": 1, "every": False, "follow": True, "parts": 1},
)
