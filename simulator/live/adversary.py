"""The simulator's adversary with one honest node in sight, and whoever else sends it models: for a live node.

Laws: as those of `simulator.adversary`, open-ended: nobody tells it how many rounds there are, how many honest nodes,
or what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aggregation.evidence import Rule
from node.draws import Purpose, address, generator
from node.learning.learner import Learner
from node.learning.task import Task
from simulator.attacks.attack import Attack, AttackView
from simulator.live.puppet import Puppet

SHARE = 400  # training samples that the adversary owns


class LiveAdversary:
    """One attacker behind several identities. Call `act` once a round, in order."""

    def __init__(
        self,
        attack: Attack,
        learner: Learner,
        task: Task,
        common: Tensor,
        seed: int,
        puppets: Sequence[Puppet],
        rule: Rule | None,
    ) -> None:
        self._rule = rule
        self._attack = attack
        self._learner = learner
        self._seed = seed
        self._names = [address(puppet.key.peer) for puppet in puppets]
        draw = generator(seed, Purpose.PARTITION)
        size = min(SHARE, len(task.train))
        self._clean = torch.from_numpy(draw.choice(len(task.train), size=size, replace=False))
        poisoned = attack.poison(task.train, self._clean, draw)
        self._public = len(task.train)
        self._data = task.train if poisoned is None else task.train.joined(poisoned)
        self._rows = self._clean if poisoned is None else torch.arange(self._public, len(self._data))
        self._previous = common[None]
        self._params = common

    def act(self, round: int, honest: Tensor) -> Tensor:
        """What each puppet sends: (k, d) honest models, the target's first -> (S, d)."""
        count = len(self._names)
        if len(self._previous) != len(honest):
            self._previous = self._previous[:1].expand(len(honest), -1)
        if round < self._attack.wake:
            models = torch.stack([self._train(self._clean, name, round) for name in self._names])
        else:
            groups = min(self._attack.groups, count)
            trained = [
                self._train(self._rows[group :: self._attack.groups], self._names[group], round)
                for group in range(groups)
            ]
            models = torch.stack([trained[sybil % groups] for sybil in range(count)])
        sent = models if round < self._attack.wake else self._attack.craft(self._view(round, honest, models), models)
        self._params = torch.cat([honest, models]).mean(dim=0)
        self._previous = honest
        return sent

    def _train(self, rows: Tensor, name: int, round: int) -> Tensor:
        params, _ = self._learner.train(self._params, self._data, rows, self._seed, name, round)
        return params if bool(torch.isfinite(params).all()) else self._params

    def _view(self, round: int, honest: Tensor, models: Tensor) -> AttackView:
        known, count = len(honest), len(self._names)
        sybils = tuple(range(known, known + count))
        others = tuple(range(1, known))
        return AttackView(
            round=round,
            seed=self._seed,
            address=self._names[0],
            honest=honest,
            previous=self._previous,
            start=self._params,
            trained=models[0],
            targets=((0,),) * count,
            neighbours=(others + sybils, *((0,),) * (known - 1)),
            classes=torch.ones(known, self._learner.classes, dtype=torch.bool),
            learner=self._learner,
            data=self._data,
            public=self._public,
            samples=self._rows,
            clean=self._clean,
            rule=self._rule,
        )
