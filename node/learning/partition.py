"""Which node holds which training samples.

Laws:
- A partition is a tuple of lists of row numbers, one list a node, none empty and none with a row twice. Lists are
  disjoint but in `drawn`, whose nodes may hold the same rows.
- Every function here is pure: the same labels and generator give the same lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hedgerow_registry import UnknownName
from node.learning.errors import TaskError
from node.learning.registry import PARTITIONS

Rows = NDArray[np.int64]
Shares = list[Rows]

BY_ALPHA = frozenset({"dirichlet", "drawn"})
"""Partitions that a scenario's `alpha` is for."""
SHARED = frozenset({"drawn"})
"""Partitions in which two nodes may hold the same row."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """One node's own rows of a data set.

    Attributes:
        train: (k,) int64 rows that the node trains on.
        held_out: (h,) int64 rows that it keeps to judge models with; may be empty.
    """

    train: Tensor
    held_out: Tensor


def partition(
    name: str, labels: Tensor, nodes: int, generator: np.random.Generator, **params: float | int | None
) -> tuple[Tensor, ...]:
    """Split rows over nodes.

    Args:
        name: one of PARTITIONS.
        labels: (S,) int64.
        nodes: how many shares, at least 1.
        generator: source of all randomness.
        params: see the partition's `parameters`.

    Returns:
        One int64 list of rows a node, ascending. A share that would be empty gets one sample of the largest share.

    Raises:
        UnknownName: no such partition or parameter.
        TaskError: fewer samples than nodes, or a parameter out of range.
    """
    spec = PARTITIONS.find(name)
    for key in params:
        if key not in spec.parameters:
            raise UnknownName(f"parameter of partition '{name}'", key, spec.parameters)
    rows: NDArray[np.int64] = labels.numpy()
    if nodes < 1:
        raise TaskError(f"{nodes} nodes; wanted at least 1")
    if len(rows) < nodes:
        raise TaskError(f"{len(rows)} samples do not go round {nodes} nodes")
    shares = spec.split(rows, nodes, generator, **{**spec.parameters, **params})
    _fill(shares, generator)
    return tuple(torch.from_numpy(np.sort(share)) for share in shares)


def explicit(shares: Sequence[Sequence[int] | Tensor], size: int) -> tuple[Tensor, ...]:
    """A partition that the user wrote down, checked.

    Args:
        shares: row numbers, one list a node.
        size: rows of the data set.

    Raises:
        TaskError: no node, a node without a sample, a number out of range, a row given twice.
    """
    lists = tuple(torch.as_tensor(share, dtype=torch.int64) for share in shares)
    if not lists:
        raise TaskError("a partition needs at least one node")
    for node, rows in enumerate(lists):
        if rows.dim() != 1 or len(rows) == 0:
            raise TaskError(f"node {node} has no samples; every node needs at least one")
        if int(rows.min()) < 0 or int(rows.max()) >= size:
            raise TaskError(f"node {node} names a row outside 0 to {size - 1}")
    every = torch.cat(lists)
    if len(torch.unique(every)) < len(every):
        raise TaskError("a row is given twice")
    return lists


def hold_out(labels: Tensor, samples: Tensor, share: float, generator: np.random.Generator) -> Shard:
    """Set aside a share of each class of a node's samples, to judge models with.

    Args:
        labels: (S,) int64 of the whole data set.
        samples: (k,) the node's rows.
        share: in [0, 1); of n samples of a class, n x share are set aside, rounded, but never all of them.
        generator: which ones.

    Returns:
        Disjoint lists, each ascending, that together are `samples`.

    Raises:
        TaskError: share out of range.
    """
    if not 0 <= share < 1:
        raise TaskError(f"held_out is {share}; wanted 0 or more and less than 1")
    rows: Rows = samples.numpy()
    own = labels.numpy()[rows]
    kept, apart = [rows[:0]], [rows[:0]]
    for label in np.unique(own):
        mine = generator.permutation(np.sort(rows[own == label]))
        count = min(int(len(mine) * share + 0.5), len(mine) - 1)
        apart.append(mine[:count])
        kept.append(mine[count:])
    return Shard(torch.from_numpy(np.sort(np.concatenate(kept))), torch.from_numpy(np.sort(np.concatenate(apart))))


def iid(labels: Rows, nodes: int, generator: np.random.Generator, per_class: int | None = None) -> Shares:
    """Every node gets a random sample of everything, or exactly `per_class` samples of each class."""
    if per_class is None:
        return list(np.array_split(generator.permutation(len(labels)), nodes))
    return _hand_out(labels, [list(range(int(labels.max()) + 1))] * nodes, generator, per_class)


def dirichlet(labels: Rows, nodes: int, generator: np.random.Generator, alpha: float = 1.0) -> Shares:
    """Each class is split over the nodes by one draw of Dirichlet(alpha)."""
    if not (np.isfinite(alpha) and alpha > 0):
        raise TaskError(f"alpha is {alpha}; wanted a number above 0")
    shares: list[Shares] = [[] for _ in range(nodes)]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        portions = generator.dirichlet(np.full(nodes, alpha))
        cuts = np.rint(np.cumsum(portions)[:-1] * len(rows)).astype(np.int64)
        for share, part in zip(shares, np.split(rows, cuts), strict=True):
            share.append(part)
    return [np.concatenate(share) for share in shares]


def drawn(labels: Rows, nodes: int, generator: np.random.Generator, alpha: float = 1.0, samples: int = 600) -> Shares:
    """Every node draws its own samples, classes by its own Dirichlet(alpha): with more nodes no node has less.

    No node holds a row twice (one with more samples of a class than there are has them all); two nodes may hold the
    same, so one may judge by rows that another trains on.
    """
    if not (np.isfinite(alpha) and alpha > 0):
        raise TaskError(f"alpha is {alpha}; wanted a number above 0")
    if samples < 1:
        raise TaskError(f"samples is {samples}; wanted at least 1 a node")
    there = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    shares: Shares = []
    for portions in generator.dirichlet(np.full(len(there), alpha), nodes):
        counts = generator.multinomial(samples, portions).tolist()
        parts = [
            generator.choice(rows, min(count, len(rows)), replace=False, shuffle=False)
            for rows, count in zip(there, counts, strict=True)
            if count
        ]
        shares.append(np.concatenate(parts))
    return shares


def classes(
    labels: Rows, nodes: int, generator: np.random.Generator, k: int = 2, per_class: int | None = None
) -> Shares:
    """Every node gets k classes, chosen so that classes have about equally many holders."""
    total = _check_classes(labels, k)
    order = generator.permutation(total)
    held, taken = [], np.zeros(total, dtype=np.int64)
    for _ in range(nodes):
        # the k classes held by fewest nodes so far, ties at random: every class has holders, and about equally many
        order = generator.permutation(order)
        mine = order[np.argsort(taken[order], kind="stable")[:k]]
        taken[mine] += 1
        held.append([int(label) for label in mine])
    return _hand_out(labels, held, generator, per_class)


def ring(labels: Rows, nodes: int, generator: np.random.Generator, k: int = 4, per_class: int | None = None) -> Shares:
    """Node i gets the classes i to i + k - 1, wrapping around."""
    total = _check_classes(labels, k)
    held = [[(node + step) % total for step in range(k)] for node in range(nodes)]
    return _hand_out(labels, held, generator, per_class)


def shards(labels: Rows, nodes: int, generator: np.random.Generator, k: int = 2) -> Shares:
    """Samples sorted by label are cut into k x nodes pieces; every node gets k of them."""
    if k < 1:
        raise TaskError(f"k is {k}; wanted at least 1 shard a node")
    pieces = np.array_split(np.argsort(labels, kind="stable"), nodes * k)
    deal = generator.permutation(nodes * k).reshape(nodes, k)
    return [np.concatenate([pieces[piece] for piece in hand]) for hand in deal]


def _check_classes(labels: Rows, k: int) -> int:
    total = int(labels.max()) + 1
    if not 1 <= k <= total:
        raise TaskError(f"k is {k}; wanted 1 to {total} classes a node")
    return total


def _hand_out(
    labels: Rows, held: Sequence[Sequence[int]], generator: np.random.Generator, per_class: int | None
) -> Shares:
    """Deal each class evenly to its holders, or exactly `per_class` samples to each."""
    shares: list[Shares] = [[np.empty(0, dtype=np.int64)] for _ in held]
    for label in range(int(labels.max()) + 1):
        holders = [node for node, classes in enumerate(held) if label in classes]
        rows = generator.permutation(np.flatnonzero(labels == label))
        if not holders:
            continue
        if per_class is not None:
            if not 0 < per_class * len(holders) <= len(rows):
                raise TaskError(
                    f"class {label} has {len(rows)} samples: too few for {per_class} at each of {len(holders)} nodes"
                )
            rows = rows[: per_class * len(holders)]
        for node, part in zip(holders, np.array_split(rows, len(holders)), strict=True):
            shares[node].append(part)
    return [np.concatenate(share) for share in shares]


def _fill(shares: Shares, generator: np.random.Generator) -> None:
    for node, share in enumerate(shares):
        if len(share) == 0:
            largest = int(np.argmax([len(other) for other in shares]))
            pick = int(generator.integers(len(shares[largest])))
            shares[node] = shares[largest][pick : pick + 1]
            shares[largest] = np.delete(shares[largest], pick)
