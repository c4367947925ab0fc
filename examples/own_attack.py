"""An attack of your own, on three rules: python examples/own_attack.py

The same by name: hedgerow simulate --attack label-flip+own_attack:Nudge (in this folder).
"""

from torch import Tensor

import hedgerow
from simulator.attacks.attack import AttackView


class Nudge:
    """Every Sybil sends the honest mean, moved a little towards what the adversary trained."""

    def __init__(self, step: float = 0.3) -> None:
        self.step = step

    def craft(self, view: AttackView, models: Tensor) -> Tensor:
        """What the Sybils send, (Sybils, d), from what the adversary trained for each of them."""
        centre = view.centre()
        return centre + self.step * (models - centre)


if __name__ == "__main__":
    print(hedgerow.simulate(rules=["mean", "krum", "hedgerow"], attack=Nudge(), rounds=10))
