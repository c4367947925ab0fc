"""Which engine runs a scenario, and one shape for both: what it says of itself, its rounds, where its time went.

Law: the choice is a function of the scenario alone, and both engines give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal, Protocol

import torch

from aggregation.evidence import Rule
from simulator.fast.engine import FastEngine, Options
from simulator.study.records import RoundRecord
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.setup import Setup
from simulator.world import engine as world


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and the reason.

    Attributes:
        engine: what runs.
        why: in a few words.
    """

    engine: Literal["fast", "world"]
    why: str

    def __str__(self) -> str:
        return f"{self.engine} engine ({self.why})"


def choose_engine(scenario: Scenario) -> Choice:
    """The engine that runs this scenario: the one it names, or with `auto` fast wherever rounds are synchronous.

    A scenario that names `fast` is synchronous, or it would not be valid.
    """
    key = scenario.asynchronous
    if key is not None:
        return Choice("world", f"{key} matters")
    if scenario.engine == "world":
        return Choice("world", "as asked; fast would do")
    return Choice("fast", "synchronous scenario")


def settled(scenario: Scenario) -> Scenario:
    """The scenario with the engine that runs it in place of `auto`."""
    return scenario.but(engine=choose_engine(scenario).engine) if scenario.engine == "auto" else scenario


class Engine(Protocol):
    """One run of one rule.

    Attributes:
        description: how it runs, in one line.
    """

    @property
    def description(self) -> str:
        """How it runs, in one line."""
        ...

    def rounds(self) -> Iterator[RoundRecord]:
        """Every round in order; afterwards the engine is spent."""
        ...

    def seconds(self) -> dict[str, float]:
        """Wall seconds so far, by phase; phases do not overlap."""
        ...


def check_device(device: str, engine: Literal["fast", "world"] = "fast") -> None:
    """Whether models can live there.

    Raises:
        ScenarioError: no such device here, or the engine has no use for it.
    """
    try:
        if torch.device(device).type not in ("cpu", "cuda"):
            raise ScenarioError(f"device '{device}': known are cpu and cuda")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ScenarioError(f"device '{device}' is not there: {str(error).splitlines()[0]}") from None
    if engine == "world" and device != "cpu":
        raise ScenarioError(f"device '{device}' is for the array engine; the world runs on the processor")


def build_engine(setup: Setup, rule: Rule, *, name: str, device: str = "cpu") -> Engine:
    """The engine of a run, ready for its first round.

    Args:
        setup: of this run; its scenario's engine decides.
        rule: what honest nodes believe.
        name: of the rule in the records.
        device: where the array engine's models live.

    Raises:
        ScenarioError: see `check_device`.
    """
    choice = choose_engine(setup.scenario)
    check_device(device, choice.engine)
    if choice.engine == "fast":
        return Arrays(setup, FastEngine(setup, rule, Options(device=device), name=name))
    return Services(setup, rule, name)


@dataclass(frozen=True, slots=True)
class Arrays:
    """The array engine; implements Engine."""

    setup: Setup
    engine: FastEngine

    @property
    def description(self) -> str:
        """See `Engine.description`."""
        return self.engine.describe()

    def rounds(self) -> Iterator[RoundRecord]:
        """See `Engine.rounds`."""
        try:
            while self.engine.round < self.setup.scenario.rounds:
                yield self.engine.step()
        finally:
            self.engine.close()

    def seconds(self) -> dict[str, float]:
        """See `Engine.seconds`."""
        return dict(self.engine.profile.seconds)


@dataclass(frozen=True, slots=True)
class Services:
    """The world; implements Engine. Its nodes interleave, so that it knows only what whole rounds took."""

    setup: Setup
    rule: Rule
    name: str
    _spent: dict[str, float] = field(default_factory=lambda: {"services": 0.0, "evaluate": 0.0})

    @property
    def description(self) -> str:
        """See `Engine.description`."""
        scenario = self.setup.scenario
        weather = f"latency {scenario.latency:g} s, jitter {scenario.jitter:g} s, loss {scenario.loss:g}"
        return f"{self.setup.honest} node services in virtual time, {weather}; training: node by node, as a daemon does"

    def rounds(self) -> Iterator[RoundRecord]:
        """See `Engine.rounds`."""
        left = perf_counter()
        for record in world.run(self.setup, self.rule, name=self.name):
            self._spent["services"] += record.seconds
            self._spent["evaluate"] += perf_counter() - left - record.seconds
            yield record
            left = perf_counter()

    def seconds(self) -> dict[str, float]:
        """See `Engine.seconds`: `evaluate` includes bringing the nodes up."""
        return dict(self._spent)
