"""How good honest models are, and how far the attack has come: accuracy and attack success of many models at once."""

from __future__ import annotations

from torch import Tensor

from simulator.setup import Setup


class Evaluator:
    """Measures models on the task's test samples, or on a stated subset of them (`scenario.evaluate_samples`)."""

    def __init__(self, setup: Setup) -> None:
        raise NotImplementedError

    def measure(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Accuracy and attack success: (N, d) -> (N,) and (N,) float32 in [0, 1]; models that are not finite score 0."""
        raise NotImplementedError
