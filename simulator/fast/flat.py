"""Optimizer steps on stacked tensors of a group of nodes, with state that may live from round to round."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.learning.layout import Layout
from node.learning.optimizers import Adam, Optimizer


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
            moments = [
                [
                    rows[who, offset : offset + prod(shape)].view(-1, *shape)
                    for shape, offset in zip(layout.shapes, layout.offsets, strict=True)
                ]
                for rows in self.kept
            ]
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

    def keep(self, who: Tensor) -> None:
        """Store the moments, if they live on."""
        for rows, moment in zip(self._of.kept, self._moments, strict=False):
            rows[who] = torch.cat([part.flatten(1) for part in moment], dim=1)
