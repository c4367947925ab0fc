"""One attacker behind S identities: trains, crafts what each Sybil sends, and follows the honest nodes by plain mean.

Laws:
- The same object acts in every engine: what it does depends on the setup, the rule it knows and the honest models it is shown.
- Its own model is the plain mean of every honest model it hears (each once) and one copy of its own trained model per Sybil; it
  ignores relays and sends none.

Source: the adversary of T. Werthenbach, J. Pouwelse, arXiv 2306.15044, published code.
"""

from __future__ import annotations

from torch import Tensor

from aggregation.evidence import Rule
from simulator.setup import Setup


class Adversary:
    """The adversary of one run. Call `act` once a round, in order.

    Attributes:
        params: (d,) its own model before the next round's training.
    """

    def __init__(self, setup: Setup, rule: Rule | None = None) -> None:
        """Args: setup; rule: what honest nodes use in this run (attacks that need no rule ignore it)."""
        self.params: Tensor = setup.initial[setup.honest]
        raise NotImplementedError

    def act(self, round: int, honest: Tensor) -> Tensor:
        """Models that the Sybils send in this round.

        Args:
            round: number of the round, from 0, one after the other.
            honest: (H, d) float32 honest models of this round after local training; rows that are not finite are not heard.

        Returns:
            (S, d) float32, in order of vertex (H .. H + S - 1); (0, d) without Sybils.
        """
        raise NotImplementedError
