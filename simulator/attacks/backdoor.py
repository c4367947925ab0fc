"""Backdoors: images with a small trigger are learned as the target class; the trigger may be split over Sybils."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from node.learning.dataset import Dataset
from simulator.attacks.attack import AttackSpec, Backdoor, DataStage, Knowledge, Stage
from simulator.attacks.trigger import Trigger, white


def _rows(data: Dataset, shard: Tensor, extra: int, generator: np.random.Generator) -> Tensor:
    """Own share, then `extra` rows drawn from all training samples, in random order."""
    more = generator.choice(len(data), size=min(extra, len(data)), replace=False)
    rows = np.concatenate([shard.numpy(), more])
    return torch.from_numpy(generator.permutation(rows))


def _stamped(data: Dataset, rows: Tensor, chosen: Tensor, trigger: Trigger, target: int) -> tuple[Tensor, Tensor]:
    inputs, labels = data.inputs[rows], data.labels[rows].clone()
    inputs[chosen] = trigger.stamp(inputs[chosen], white(data.inputs))
    labels[chosen] = target
    return inputs, labels


def badnets(target: int = 1, size: int = 0, share: float = 0.5, extra: int = 2000) -> DataStage:
    """A share of the rows gets the trigger and the target's label; the others stay as they are, so accuracy stays too.

    Args:
        target: class that the trigger means.
        size: side of the square in pixels; 0: 3/28 of the image's side, at least 2.
        share: share of poisoned rows.
        extra: rows of all training samples added to the own share, half of them for accuracy.

    Source: T. Gu et al., "BadNets", arXiv 1708.06733.
    """
    trigger = Trigger(size or None)

    def poison(data: Dataset, shard: Tensor, generator: np.random.Generator) -> Dataset:
        rows = _rows(data, shard, extra, generator)
        chosen = torch.arange(len(rows)) < max(1, round(share * len(rows)))
        mixed = torch.from_numpy(generator.permutation(len(rows)))
        inputs, labels = _stamped(data, rows, chosen, trigger, target)
        return Dataset(inputs[mixed], labels[mixed])

    return DataStage(poison, Backdoor(trigger, target))


def distributed(target: int = 1, size: int = 0, share: float = 0.5, extra: int = 2000, parts: int = 3) -> DataStage:
    """The trigger in parts: each group of Sybils learns its own part only; success needs the whole one.

    Args:
        target, size, share, extra: as in `badnets`.
        parts: groups of Sybils.

    Source: C. Xie et al., "DBA: Distributed Backdoor Attacks against Federated Learning", ICLR 2020.
    """

    def poison(data: Dataset, shard: Tensor, generator: np.random.Generator) -> Dataset:
        rows = _rows(data, shard, extra, generator)
        group = torch.arange(len(rows)) % parts
        turn = torch.arange(len(rows)) // parts
        bad = turn < torch.ceil(torch.tensor(share * len(rows) / parts))
        inputs, labels = data.inputs[rows], data.labels[rows].clone()
        for part in range(parts):
            chosen = bad & (group == part)
            inputs[chosen] = Trigger(size or None, part, parts).stamp(inputs[chosen], white(data.inputs))
            labels[chosen] = target
        return Dataset(inputs, labels)

    return DataStage(poison, Backdoor(Trigger(size or None), target), groups=parts)


BACKDOOR = AttackSpec(
    name="backdoor",
    stage=Stage.DATA,
    knowledge=frozenset({Knowledge.SHARD, Knowledge.DATA}),
    build=badnets,
    parameters={"target": 1, "size": 0, "share": 0.5, "extra": 2000},
)
DBA = AttackSpec(
    name="dba",
    stage=Stage.DATA,
    knowledge=frozenset({Knowledge.SHARD, Knowledge.DATA}),
    build=distributed,
    parameters={"target": 1, "size": 0, "share": 0.5, "extra": 2000, "parts": 3},
)
