"""Groups of nodes on stacked tensors: who trains together, and optimizer steps with state that may live on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.learning.layout import Layout
from node.learning.optimizers import Adam, Optimizer
from simulator.fast.trainer import Job, Visits, abreast, company, lost

Group = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]
"""Trains one group: params (n, d), nodes (n,), order of visits (n, k), samples an epoch and steps -> params (n, d)."""


def parts_of(params: Tensor, layout: Layout) -> list[Tensor]:
    """Params (n, d) by tensor, each contiguous: (n, *shape)."""
    return [
        params[:, offset : offset + prod(shape)].contiguous().view(len(params), *shape)
        for shape, offset in zip(layout.shapes, layout.offsets, strict=True)
    ]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """What `parts_of` took apart: (n, d)."""
    return torch.cat([part.reshape(len(part), prod(part.shape[1:])) for part in parts], dim=1)


def by_size(
    job: Job,
    visits: Visits,
    group: Group,
    optimizer: Steps,
    start: Tensor,
    out: Tensor,
    rows: Tensor,
    round: int,
    *,
    least: int,
    most: int,
) -> None:
    """Train groups of nodes of equal sample counts on all workers; the others are as `Trainer.train` says.

    Args:
        job: what is trained.
        visits: its visits.
        group: trains one group.
        optimizer: its steps, which nodes of a group must have taken equally many of.
        start: params to start from.
        out: where they go.
        rows: row of each node.
        round: number of the round.
        least: nodes a group; the last one is repeated where there are fewer.
        most: nodes a group.
    """
    sequence = torch.from_numpy(visits.sequence(round, job.workers)).to(start.device)
    idle = torch.from_numpy(np.flatnonzero(visits.steps == 0)).to(start.device)
    if len(idle):
        out[rows[idle]] = start[idle]
    alike = [(size, some) for size, _, nodes in visits.groups for some in abreast(nodes, optimizer.taken)]
    for size, nodes in alike:

        def work(lo: int, hi: int, size: int = size, nodes: NDArray[np.int64] = nodes) -> None:
            who = company(nodes[lo:hi], least)
            first = torch.from_numpy(visits.first[who]).to(start.device)
            length = int(visits.first[who[0] + 1] - visits.first[who[0]])
            order = sequence[first.unsqueeze(1) + torch.arange(length, device=start.device)]
            chosen = torch.from_numpy(who).to(start.device)
            out[rows[chosen]] = group(start[chosen], chosen, order, size, int(visits.steps[who[0]]))

        job.workers.over(len(nodes), work, most=most)
    optimizer.advance(np.where(lost(out, rows).cpu().numpy(), 0, visits.steps) if optimizer.kept else visits.steps)


class Steps:
    """An optimizer for all nodes: moments (N, d) are kept only where the optimizer says so."""

    def __init__(self, optimizer: Optimizer, nodes: int, dimension: int, device: str) -> None:
        self.optimizer = optimizer
        self.moments = 2 if isinstance(optimizer, Adam) else int(bool(optimizer.momentum))
        self.kept = [
            torch.zeros(nodes, dimension, device=device) for _ in range(self.moments if optimizer.keep_state else 0)
        ]
        self.taken = np.zeros(nodes, dtype=np.int64)

    def group(self, who: Tensor, parts: Sequence[Tensor], layout: Layout) -> GroupSteps:
        """Steps of these nodes, which have taken equally many; `parts` are their tensors (n, *shape)."""
        if self.kept:
            moments = [parts_of(rows[who], layout) for rows in self.kept]
        else:
            moments = [[torch.zeros_like(part) for part in parts] for _ in range(self.moments)]
        return GroupSteps(self, moments, int(self.taken[int(who[0])]))

    def advance(self, steps: NDArray[np.int64]) -> None:
        """A round is over: these are the steps that nodes took."""
        if self.optimizer.keep_state:
            self.taken += steps


class GroupSteps:
    """Steps of one group of nodes within one round."""

    def __init__(self, of: Steps, moments: list[list[Tensor]], taken: int) -> None:
        self._of, self._moments, self._taken = of, moments, taken

    def step(self, parts: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """One step in place; order of operations as in torch.optim."""
        optimizer = self._of.optimizer
        self._taken += 1
        for place, (part, raw) in enumerate(zip(parts, gradients, strict=True)):
            gradient = raw.add(part, alpha=optimizer.weight_decay) if optimizer.weight_decay else raw
            if isinstance(optimizer, Adam):
                b1, b2 = optimizer.betas
                first, second = self._moments[0][place], self._moments[1][place]
                first.lerp_(gradient, 1 - b1)
                second.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
                spread = second.sqrt().div_(sqrt(1 - b2**self._taken)).add_(optimizer.eps)
                part.addcdiv_(first, spread, value=-optimizer.lr / (1 - b1**self._taken))
            else:
                if self._moments:
                    gradient = self._moments[0][place].mul_(optimizer.momentum).add_(gradient)
                part.add_(gradient, alpha=-optimizer.lr)

    def keep(self, who: Tensor, trained: Tensor) -> None:
        """Store the moments, if they live on; not of those whose params (n, d) have diverged."""
        if self._of.kept:
            fine = torch.isfinite(trained).all(dim=1)
            for rows, moment in zip(self._of.kept, self._moments, strict=True):
                rows[who[fine]] = joined(moment)[fine]
