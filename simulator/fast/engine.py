"""Runs a synchronous scenario as arrays: every honest node's round at once, the same rules, the same draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aggregation.evidence import Rule
from simulator.fast.profile import Profile
from simulator.records import Observer, RoundRecord
from simulator.setup import Setup


@dataclass(frozen=True, slots=True)
class Options:
    """Where and how fast: nothing here changes a result beyond rounding.

    Attributes:
        threads: workers; None = as many as torch has.
        compiled: numba kernels; None = when numba is there and agrees with the plain loop on two nodes.
        training: training path by name; None = the first that fits (`compiled`, `fused`, `grouped`, `mapped`, `plain`).
        device: where tensors live.
    """

    threads: int | None = None
    compiled: bool | None = None
    training: str | None = None
    device: str = "cpu"


class FastEngine:
    """One run of one rule, a round at a time.

    Attributes:
        round: number of the next round.
        profile: seconds by phase.
    """

    round: int
    profile: Profile

    def __init__(self, setup: Setup, rule: Rule, options: Options | None = None, *, name: str | None = None) -> None:
        raise NotImplementedError

    @property
    def params(self) -> Tensor:
        """(H, d) models at the start of the next round; assigning replaces them."""
        raise NotImplementedError

    @params.setter
    def params(self, params: Tensor) -> None:
        raise NotImplementedError

    def step(self, observer: Observer | None = None) -> RoundRecord:
        """Run one round."""
        raise NotImplementedError

    def describe(self) -> str:
        """Engine and training path chosen, and why, in one line."""
        raise NotImplementedError


def run(
    setup: Setup,
    rule: Rule,
    observer: Observer | None = None,
    *,
    options: Options | None = None,
    name: str | None = None,
) -> Iterator[RoundRecord]:
    """Run all rounds of a scenario under one rule; yields a record a round."""
    engine = FastEngine(setup, rule, options, name=name)
    while engine.round < setup.scenario.rounds:
        yield engine.step(observer)
