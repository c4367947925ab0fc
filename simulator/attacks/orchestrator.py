"""How strong to attack: one and the same line search for every attack and every rule.

Laws:
- Sixteen evaluations, whatever the attack: half of them on a grid over the whole range, the other half around the
  best.
- The adversary knows the rule and its parameters, all updates and who is whose neighbour; not the private samples
  that honest nodes judge by. Where a rule asks for a probe it is given the adversary's own clean samples in their
  stead.
- What a rule might decide is computed by the rule itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf, isfinite, log

import torch
from torch import Tensor

from aggregation.evidence import Evidence, Need, Rule, Table
from node.learning.partition import Shard
from node.learning.probe import LocalProbe
from simulator.attacks.attack import AttackView, Craft, Strength

EVALUATIONS = 16
VICTIMS = 8
"""Neighbourhoods on which the adversary tries a strength; more cost as much each and change little."""
_PROBED = 200


@dataclass(frozen=True, slots=True)
class Search:
    """What a line search found.

    Attributes:
        strength: the best one.
        value: the objective there.
        trials: every (strength, value) tried, in order.
    """

    strength: float
    value: float
    trials: tuple[tuple[float, float], ...]


def line_search(
    objective: Callable[[float], float], low: float, high: float, *, evaluations: int = EVALUATIONS
) -> Search:
    """The strength with the largest objective, on a logarithmic scale.

    The objective need not be smooth or have one peak (a rule takes a push up to some strength, then drops it): the
    first half of the evaluations is an even grid with both ends; the rest goes, four at a time, evenly between the
    neighbours of the best so far. Ties go to the weaker strength; NaN counts as minus infinity.

    Args:
        objective: what the adversary wants to be large; it may run a rule on a view, or a whole short simulation.
        low, high: bounds, 0 < low < high.
        evaluations: calls of the objective, at least 2.

    Raises:
        ValueError: bounds or evaluations out of range.
    """
    if not (0 < low < high and isfinite(high)) or evaluations < 2:
        raise ValueError(f"line search needs 0 < low < high and two evaluations, not {low}, {high}, {evaluations}")
    trials: list[tuple[float, float]] = []

    def attempt(places: list[float]) -> None:
        for place in places:
            value = objective(exp(place))
            trials.append((exp(place), -inf if value != value else value))

    grid = max(2, evaluations // 2)
    attempt(_between(log(low), log(high), grid))
    while len(trials) < evaluations:
        tried = sorted(log(strength) for strength, _ in trials)
        at = tried.index(log(_best(trials)[0]))
        inner = min(4, evaluations - len(trials))
        left, right = tried[max(at - 1, 0)], tried[min(at + 1, len(tried) - 1)]
        below, above = (inner + 1) // 2, inner // 2
        if at == 0:
            below, above = 0, inner
        elif at == len(tried) - 1:
            below, above = inner, 0
        attempt(_between(left, tried[at], below + 2)[1:-1] + _between(tried[at], right, above + 2)[1:-1])
    strength, value = _best(trials)
    return Search(strength, value, tuple(trials))


def tuned(build: Callable[[float], Craft], strength: Strength) -> Craft:
    """A model stage whose strength is searched anew in every round, against the rule in use.

    The objective is how far the rule lets the victims' models be pushed in the direction of the attack; see `push`.
    Without a rule in view the weakest strength is used.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        rule = view.rule
        if rule is None:
            return build(strength.low)(view, models)
        trial = Trial(view, rule, models)

        def objective(value: float) -> float:
            return trial.push(build(value)(view, models))

        return build(line_search(objective, strength.low, strength.high).strength)(view, models)

    return craft


class Trial:
    """The rule in use, run on the neighbourhoods of a few victims as the adversary sees them.

    Attributes:
        victims: honest nodes that hear a Sybil, at most VICTIMS of them, evenly over all.
    """

    def __init__(self, view: AttackView, rule: Rule, models: Tensor) -> None:
        """Args: view; rule; models: (S, d) what the Sybils trained, which says where the attack wants to go."""
        honest = len(view.honest)
        faced = view.faced
        if faced is None:
            reached = [node for node, near in enumerate(view.neighbours) if near and max(near) >= honest]
        else:
            reached = faced.reached(honest)
        self.victims = tuple(reached[:: max(1, -(-len(reached) // VICTIMS))])
        self._view = view
        self._rule = rule
        self._probe = self._own_samples()
        heard = [
            (list(view.neighbours[node]), list[bool]()) if faced is None else faced.heard_by(node)
            for node in self.victims
        ]
        width = max((len(near) for near, _ in heard), default=0)
        rows = [near + [-1] * (width - len(near)) for near, _ in heard]
        trusted = [known + [False] * (width - len(known)) for _, known in heard]
        self._trusted = None if faced is None else torch.tensor(trusted, dtype=torch.bool)
        known = sorted({*self.victims, *(vertex for near in rows for vertex in near if vertex >= 0)})
        self._near = [vertex for vertex in known if vertex < honest]
        self._bad = [vertex - honest for vertex in known if vertex >= honest]
        place = {vertex: number for number, vertex in enumerate(known)} | {-1: -1}
        self._own = torch.tensor([place[node] for node in self.victims], dtype=torch.int64)
        self._neighbours = torch.tensor([[place[vertex] for vertex in near] for near in rows], dtype=torch.int64)
        self._clean = self._decide(view.honest.new_full((view.sybils, view.honest.shape[1]), float("nan")))
        wish = models.mean(dim=0) - view.centre()
        if len(view.samples) == len(view.clean) and torch.equal(view.samples, view.clean):
            wish = -view.movement()
        self._wish = wish / wish.norm().clamp(min=1e-12)

    def push(self, sent: Tensor) -> float:
        """How far the victims' models move in the direction of the attack because of what Sybils send.

        With poisoned rows the direction is from the honest mean to the poisoned model; else it is against the honest
        movement.

        Args:
            sent: (S, d).

        Returns:
            Mean over victims of <decision with Sybils - decision without, direction>; 0 without victims.
        """
        if not self.victims:
            return 0.0
        return float(((self._decide(sent) - self._clean) @ self._wish).mean())

    def _decide(self, sent: Tensor) -> Tensor:
        """Decisions of the victims: (S, d) -> (V, d)."""
        view, victims = self._view, list(self.victims)
        if not victims:
            return view.honest[:0]
        rows = [view.honest[self._near], sent[self._bad]]
        start = None
        if Need.START in self._rule.needs:
            start = torch.arange(len(victims)) + len(self._near) + len(self._bad)
            rows.append(view.previous[victims])
        evidence = Evidence(
            table=Table(torch.cat(rows)),
            own=self._own,
            neighbours=self._neighbours,
            relayed=torch.full((len(victims), 0), -1, dtype=torch.int64),
            start=start,
            round=view.round,
            rounds=view.rounds,
            head=view.learner.head,
            own_classes=view.classes[victims],
            honest=(self._neighbours >= 0) & (self._neighbours < len(self._near)),
            trusted=self._trusted,
            probe=self._probe,
        )
        return self._rule.decide(evidence).params

    def _own_samples(self) -> LocalProbe:
        """A probe on the adversary's clean samples, the same for every victim."""
        view = self._view
        rows = view.clean[:_PROBED]
        shard = Shard(train=rows[0::2], held_out=rows[1::2])
        probe = LocalProbe(view.learner, view.data, [shard] * max(1, len(self.victims)))
        if not self.victims:
            return probe
        own = view.learner.settled(view.trained, view.data, view.clean)  # nobody tells it the victims' buffers
        return probe.under(view.honest[list(self.victims)], [own] * len(self.victims))


def _between(low: float, high: float, count: int) -> list[float]:
    """Evenly spaced places with both ends."""
    return [low + (high - low) * step / (count - 1) for step in range(count)]


def _best(trials: list[tuple[float, float]]) -> tuple[float, float]:
    return max(trials, key=lambda trial: (trial[1], -trial[0]))
