"""Optimizers as data: what a user writes, and the flat-vector step it stands for.

Source: torch.optim.SGD and torch.optim.Adam (L2 decay added to the gradient; Adam's bias correction), to the order of operations.
"""

from __future__ import annotations

from dataclasses import dataclass


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


Optimizer = Sgd | Adam
