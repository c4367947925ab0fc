"""Which node holds which training samples.

A partition is a tuple of lists of row numbers, one list a node, disjoint and none empty. Every function here is pure: the same
labels and generator give the same lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """One node's own rows of a data set.

    Attributes:
        train: (k,) int64 rows that the node trains on.
        held_out: (h,) int64 rows that it keeps to judge models with; may be empty.
    """

    train: Tensor
    held_out: Tensor


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """A way to split data.

    Attributes:
        name: as users write it.
        summary: one line.
        source: where it comes from.
        parameters: name -> default.
        split: (labels (S,), nodes, generator, **parameters) -> shares.
    """

    name: str
    summary: str
    source: str
    parameters: Mapping[str, float | int | None]
    split: Callable[..., tuple[Tensor, ...]]


PARTITIONS: Mapping[str, PartitionSpec] = {}


def partition(name: str, labels: Tensor, nodes: int, generator: np.random.Generator, **params: float | int | None) -> tuple[Tensor, ...]:
    """Split the rows of `labels` (S,) over `nodes` by the partition of this name: a tuple of int64 row lists."""
    raise NotImplementedError


def explicit(shares: Sequence[Sequence[int] | Tensor], size: int) -> tuple[Tensor, ...]:
    """A partition that the user wrote down, checked: whole numbers below `size`, no node without a sample, no row twice."""
    raise NotImplementedError


def hold_out(labels: Tensor, samples: Tensor, share: float, generator: np.random.Generator) -> Shard:
    """Set aside about `share` of each class of a node's `samples` (k,); a class never loses its last training sample."""
    raise NotImplementedError
