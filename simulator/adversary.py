"""One attacker behind S identities: trains, crafts what each Sybil sends, and follows the honest nodes by plain mean.

Laws:
- The same object acts in every engine: what it does depends on the setup, the rule it knows and the honest models it
  is shown.
- Its own model is the plain mean of every honest model it hears (each once) and one copy of its own trained model per
  Sybil; it ignores relays and sends none. (An attack whose data stage does not
  `follow` hears nobody, and its groups of Sybils learn apart.)
- A training run that diverges, or a craft that overflows, is the adversary's own affair: it goes on from finite
  models.

Source: the adversary of T. Werthenbach, J. Pouwelse, arXiv 2306.15044, published code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aggregation.evidence import Rule
from node.learning.learner import TrainState
from simulator.attacks.attack import AttackView, Faced, Knowledge
from simulator.study.hearing import Hearing
from simulator.study.setup import Setup
from simulator.study.standing import Standing

Train = Callable[[Tensor, Tensor, int, int], Tensor]
"""(params (d,), rows (k,) of the setup's data, address in draws, round) -> trained params (d,)."""


class Adversary:
    """The adversary of one run. Call `act` once a round, in order.

    Attributes:
        params: (d,) its own model before the next round's training.
        heard: honest vertices with a link to any Sybil, ascending.
    """

    def __init__(self, setup: Setup, rule: Rule | None = None, train: Train | None = None) -> None:
        """Take the stage.

        Args:
            setup: of this run.
            rule: what honest nodes use in it; attacks that need no rule ignore it.
            train: an engine's own way to train, equal to the learner's but for rounding; None: the learner. Rows are
                the same tensors in every round, so an engine may prepare for them.

        Raises:
            ValueError: the setup has no attack.
        """
        if setup.attack is None:
            raise ValueError("this setup has no adversary")
        honest = setup.honest
        self._setup = setup
        self._attack = setup.attack
        self._rule = rule
        self._learn = train
        rows = setup.shards[honest].train
        self._rows = tuple(rows[group :: setup.attack.groups] for group in range(setup.attack.groups))
        self._targets = tuple(
            tuple(sorted(near for near in beside if near < honest)) for beside in setup.neighbours[honest:]
        )
        self._neighbours = tuple(tuple(sorted(beside)) for beside in setup.neighbours[:honest])
        self._classes = _classes(setup)
        asked = setup.scenario.tells_apart and Knowledge.RULE in setup.attack.knowledge
        self._hearing = Hearing(setup) if asked else None
        limit = setup.scenario.limit()
        self._standing = None if self._hearing is None else Standing(setup, self._hearing.links, limit)
        self._previous: Tensor | None = None
        self._states: dict[int, TrainState] = {}  # moments, for those who learn apart
        self._apart: list[Tensor] | None = None  # each group's model, when the attack hears nobody
        self.heard: tuple[int, ...] = tuple(sorted({near for targets in self._targets for near in targets}))
        self.params: Tensor = setup.initial[honest]

    def act(self, round: int, honest: Tensor) -> Tensor:
        """Models that the Sybils send in this round.

        Args:
            round: number of the round, from 0, one after the other.
            honest: (H, d) float32 honest models of this round after local training; rows that are not finite are not
                heard.

        Returns:
            (S, d) float32, in order of vertex (H .. H + S - 1); (0, d) without Sybils.
        """
        if not self._targets:
            return honest.new_empty(0, honest.shape[1])
        previous = self._setup.initial[: len(honest)] if self._previous is None else self._previous
        shown = torch.where(torch.isfinite(honest).all(dim=1, keepdim=True), honest, previous)
        asleep = round < self._attack.wake
        models = self._asleep(round) if asleep else self._awake(round)
        sent = models if asleep else self._attack.craft(self._view(round, shown, previous, models[0]), models)
        self._follow(honest, models)
        self._previous = shown
        return sent

    def _awake(self, round: int) -> Tensor:
        """Models trained on the (poisoned) rows, one a group, dealt to the Sybils: (S, d)."""
        groups = min(self._attack.groups, len(self._targets))
        starts = self._apart or [self.params] * groups
        trained = [self._train(self._rows[group], group, round, starts[group]) for group in range(groups)]
        if not self._attack.data.follow:
            self._apart = trained
        if groups == 1:
            return trained[0].expand(len(self._targets), -1)
        return torch.stack([trained[sybil % groups] for sybil in range(len(self._targets))])

    def _asleep(self, round: int) -> Tensor:
        """Honest work under S names: (S, d)."""
        share, start = self._setup.share, self.params
        return torch.stack([self._train(share, sybil, round, start) for sybil in range(len(self._targets))])

    def _train(self, rows: Tensor, who: int, round: int, start: Tensor) -> Tensor:
        setup = self._setup
        address = int(setup.addresses[setup.honest + who])
        if self._learn is None:
            before = self._states.get(who)
            params, state = setup.learner.train(start, setup.data, rows, setup.seed, address, round, before)
            if not self._attack.data.follow:
                self._states[who] = state
        else:
            params = self._learn(start, rows, address, round)
        return params if bool(torch.isfinite(params).all()) else start

    def _view(self, round: int, honest: Tensor, previous: Tensor, trained: Tensor) -> AttackView:
        setup = self._setup
        return AttackView(
            round=round,
            seed=setup.seed,
            address=int(setup.addresses[setup.honest]),
            honest=honest,
            previous=previous,
            start=self.params,
            trained=trained,
            targets=self._targets,
            neighbours=self._neighbours,
            classes=self._classes,
            learner=setup.learner,
            data=setup.data,
            public=setup.clean,
            samples=setup.shards[setup.honest].train,
            clean=setup.share,
            rule=self._rule,
            rounds=setup.scenario.rounds,
            faced=self._faced(round),
        )

    def _faced(self, round: int) -> Faced | None:
        """Who hears whom, as far as it follows from the draws: who has become known by serving is not counted."""
        if self._hearing is None or self._standing is None:
            return None
        links, say = self._hearing.drawn(round), self._standing.voices(round)
        if say is None:
            return Faced(links.receivers, links.senders, links.known)
        return Faced(links.receivers[say], links.senders[say], links.known[say])

    def _follow(self, honest: Tensor, models: Tensor) -> None:
        """Plain mean of what it hears and its own copies; nothing finite to hear: its own alone."""
        here = honest[list(self.heard)] if self._attack.data.follow else honest[:0]
        here = here[torch.isfinite(here).all(dim=1)]
        total = here.sum(dim=0) + models.sum(dim=0)
        self.params = total / (len(here) + len(models))


def _classes(setup: Setup) -> Tensor:
    """Classes that each honest node trains: bool (H, c)."""
    out = torch.zeros(setup.honest, setup.learner.classes, dtype=torch.bool)
    for node in range(setup.honest):
        out[node, torch.unique(setup.data.labels[setup.shards[node].train])] = True
    return out
