"""Optimizers as data: what a user writes, and the steps on flat params that it stands for.

Differs: a parameter that the loss does not reach counts as having gradient 0 (torch.optim leaves it out, decay and
all).

Source: torch.optim.SGD and torch.optim.Adam (L2 decay added to the gradient, Adam's bias correction), in their order
of operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Protocol

import torch
from torch import Tensor

from node.learning.errors import TaskError


@dataclass(frozen=True, slots=True)
class Sgd:
    """Stochastic gradient descent, as torch.optim.SGD.

    Attributes:
        lr: step length, > 0.
        momentum: in [0, 1); 0 is plain SGD.
        weight_decay: L2 coefficient, >= 0.
        keep_state: carry the momentum from one round to the next.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    keep_state: bool = False

    def __post_init__(self) -> None:
        """Raise TaskError on a number out of range."""
        _check("lr", self.lr, low=0, high=float("inf"), open_low=True)
        _check("momentum", self.momentum, low=0, high=1)
        _check("weight_decay", self.weight_decay, low=0, high=float("inf"))


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam, as torch.optim.Adam.

    Attributes:
        lr: step length, > 0.
        betas: decay of the first and second moment, each in [0, 1).
        eps: added to the root of the second moment, > 0.
        weight_decay: L2 coefficient, >= 0.
        keep_state: carry the moments and the step count from one round to the next.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    keep_state: bool = False

    def __post_init__(self) -> None:
        """Raise TaskError on a number out of range."""
        _check("lr", self.lr, low=0, high=float("inf"), open_low=True)
        _check("betas[0]", self.betas[0], low=0, high=1)
        _check("betas[1]", self.betas[1], low=0, high=1)
        _check("eps", self.eps, low=0, high=float("inf"), open_low=True)
        _check("weight_decay", self.weight_decay, low=0, high=float("inf"))


Optimizer = Sgd | Adam


class Steps(Protocol):
    """Steps of an optimizer on one flat vector, in place.

    Attributes:
        moments: what it carries, each (d,).
        count: steps taken.
    """

    moments: tuple[Tensor, ...]
    count: int

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """One step; gradients in the order of the views, None for zero."""


def steps(
    optimizer: Optimizer, flat: Tensor, views: Sequence[Tensor], moments: Sequence[Tensor] = (), count: int = 0
) -> Steps:
    """Steps on `flat`.

    Args:
        optimizer: which.
        flat: (d,) params, changed in place.
        views: the tensors in it, in its order.
        moments: state of an earlier call, copied; empty for a fresh start.
        count: steps taken in earlier calls.
    """
    if isinstance(optimizer, Adam):
        return _AdamSteps(optimizer, flat, views, moments, count)
    if optimizer.momentum or optimizer.weight_decay:
        return _SgdSteps(optimizer, flat, views, moments, count)
    return _PlainSteps(optimizer, views, count)


def moments_of(optimizer: Optimizer) -> int:
    """How many moments an optimizer carries."""
    return 2 if isinstance(optimizer, Adam) else int(optimizer.momentum > 0)


class _PlainSteps:
    def __init__(self, optimizer: Sgd, views: Sequence[Tensor], count: int) -> None:
        self.moments: tuple[Tensor, ...] = ()
        self.count = count
        self._views, self._lr = views, optimizer.lr

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        for view, gradient in zip(self._views, gradients, strict=True):
            if gradient is not None:
                view.add_(gradient, alpha=-self._lr)
        self.count += 1


class _SgdSteps:
    def __init__(
        self, optimizer: Sgd, flat: Tensor, views: Sequence[Tensor], moments: Sequence[Tensor], count: int
    ) -> None:
        self.count = count
        self._optimizer, self._flat, self._views = optimizer, flat, views
        fresh = (torch.zeros_like(flat),) if optimizer.momentum else ()
        self.moments: tuple[Tensor, ...] = tuple(moment.clone() for moment in moments) or fresh

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        gradient = _flat(gradients, self._views)
        if self._optimizer.weight_decay:
            gradient.add_(self._flat, alpha=self._optimizer.weight_decay)
        if self.moments:
            gradient = self.moments[0].mul_(self._optimizer.momentum).add_(gradient)
        self._flat.add_(gradient, alpha=-self._optimizer.lr)
        self.count += 1


class _AdamSteps:
    def __init__(
        self, optimizer: Adam, flat: Tensor, views: Sequence[Tensor], moments: Sequence[Tensor], count: int
    ) -> None:
        self.count = count
        self._optimizer, self._flat, self._views = optimizer, flat, views
        fresh = (torch.zeros_like(flat), torch.zeros_like(flat))
        self.moments: tuple[Tensor, ...] = tuple(moment.clone() for moment in moments) or fresh

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        optimizer, (first, second) = self._optimizer, self.moments
        beta1, beta2 = optimizer.betas
        self.count += 1
        gradient = _flat(gradients, self._views)
        if optimizer.weight_decay:
            gradient.add_(self._flat, alpha=optimizer.weight_decay)
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        spread = (second.sqrt() / sqrt(1 - beta2**self.count)).add_(optimizer.eps)
        self._flat.addcdiv_(first, spread, value=-optimizer.lr / (1 - beta1**self.count))


def _flat(gradients: Sequence[Tensor | None], views: Sequence[Tensor]) -> Tensor:
    return torch.cat(
        [
            torch.zeros_like(view).reshape(-1) if gradient is None else gradient.reshape(-1)
            for gradient, view in zip(gradients, views, strict=True)
        ]
    )


def _check(name: str, value: float, low: float, high: float, open_low: bool = False) -> None:
    try:
        finite = isfinite(value)
    except TypeError:
        raise TaskError(f"{name} is {value!r}; wanted a number") from None
    if not finite or value < low or value >= high or (open_low and value == low):
        start = "above" if open_low else "at least"
        end = "" if high == float("inf") else f" and less than {high:g}"
        raise TaskError(f"{name} is {value}; wanted {start} {low:g}{end}")
