"""From updates to evidence to a decision: what one node hands to its rule, and what comes back. Pure torch.

Laws:
- Rows are copied once, from the read-only buffers of gossip into the table of this round.
- The probe is asked only if the rule needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aggregation.evidence import Decision, Evidence, Need, Rule, Table
from gossip.protocol.messages import Update
from identity.keys import PeerId
from node.draws import Purpose, address, uniforms
from node.learning.dataset import Dataset
from node.learning.learner import Learner
from node.learning.partition import Shard
from node.learning.probe import LocalProbe

_PROBING = frozenset({Need.SCORES, Need.OUTPUTS, Need.ACTIVITY})


def class_mask(labels: Tensor, classes: int) -> bytes:
    """The classes among `labels` (k,) as a header carries them: class c is bit c % 8 of byte c // 8."""
    mask = bytearray((classes + 7) // 8)
    for label in torch.unique(labels).tolist():
        mask[label // 8] |= 1 << label % 8
    return bytes(mask)


def read_mask(mask: bytes, classes: int) -> list[bool]:
    """The classes that a header names; an empty mask says nothing and stands for all."""
    if not mask:
        return [True] * classes
    return [bool(mask[c // 8] >> c % 8 & 1) if c // 8 < len(mask) else False for c in range(classes)]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a round closed on: neighbours in order of peer id, their updates (None: absent), and relayed ones."""

    neighbours: Sequence[PeerId]
    updates: Sequence[Update | None]
    relayed: Sequence[Update]


class Judge:
    """A rule at one node.

    Args:
        rule: what to believe.
        learner: gives the head's layout and the number of classes, and runs models for the probe.
        data: training data.
        shard: this node's rows.
        common: (d,) the network's common initial model, or None.
        rounds: rounds of the whole run, or None.
        trusted: neighbours on an allow-list, or None.
        honest: honest peers, known in a simulation only, or None.
        own: own peer id; with the seed, the address of draws.
        seed: of the draws by which some rules choose whom to look at.
    """

    def __init__(
        self,
        rule: Rule,
        learner: Learner,
        data: Dataset,
        shard: Shard,
        *,
        common: Tensor | None = None,
        rounds: int | None = None,
        trusted: frozenset[PeerId] | None = None,
        honest: frozenset[PeerId] | None = None,
        own: PeerId,
        seed: int,
    ) -> None:
        self.rule = rule
        self.mask = class_mask(data.labels[shard.train], learner.classes)
        self._learner = learner
        self._common = common
        self._rounds = rounds
        self._trusted = trusted
        self._honest = honest
        self._own = address(own)
        self._seed = seed
        self._probe = LocalProbe(learner, data, shard) if rule.needs & _PROBING else None

    def decide(self, round: int, start: Tensor, trained: Tensor, heard: Heard) -> Decision:
        """Let the rule decide one round.

        Args:
            round: number of the round.
            start: (d,) own params before local training.
            trained: (d,) own params after it.
            heard: what came in.

        Returns:
            params (d,), weights and verdicts (n,) in the order of `heard.neighbours`.
        """
        with torch.no_grad():
            return self.rule.decide(self._evidence(round, start, trained, heard))

    def _evidence(self, round: int, start: Tensor, trained: Tensor, heard: Heard) -> Evidence:
        present = [update for update in heard.updates if update is not None]
        extra = [trained, start] + ([] if self._common is None else [self._common])
        values = torch.empty(len(extra) + len(present) + len(heard.relayed), self._learner.dimension)
        for row, params in enumerate(extra):
            values[row] = params
        rows = values.numpy()
        for row, update in enumerate([*present, *heard.relayed], start=len(extra)):
            rows[row] = update.vector
        numbers = iter(range(len(extra), len(values)))
        neighbours = torch.tensor(
            [-1 if update is None else next(numbers) for update in heard.updates], dtype=torch.int64
        )
        classes = self._learner.classes
        masks = [read_mask(b"" if update is None else update.header.classes, classes) for update in heard.updates]
        return Evidence(
            table=Table(values),
            own=torch.tensor(0),
            neighbours=neighbours,
            relayed=torch.tensor(list(numbers), dtype=torch.int64),
            start=torch.tensor(1),
            initial=None if self._common is None else torch.tensor(2),
            round=round,
            rounds=self._rounds,
            head=self._learner.head,
            own_classes=torch.tensor(read_mask(self.mask, classes)),
            peer_classes=torch.tensor(masks, dtype=torch.bool).reshape(-1, classes),
            honest=_among(heard.neighbours, self._honest),
            trusted=_among(heard.neighbours, self._trusted),
            priority=self._priority(round, heard.neighbours),
            probe=None if self._probe is None else self._probe.under(trained),
        )

    def _priority(self, round: int, peers: Sequence[PeerId]) -> Tensor | None:
        """Whom to look at first, for rules that test models: so nobody gains by the shape of its peer id."""
        if Need.SCORES not in self.rule.needs:
            return None
        words = np.array([address(peer) for peer in peers], dtype=np.uint64)
        return torch.from_numpy(uniforms(self._seed, Purpose.PRIORITY, self._own, round, words))


def _among(peers: Sequence[PeerId], known: frozenset[PeerId] | None) -> Tensor | None:
    return None if known is None else torch.tensor([peer in known for peer in peers], dtype=torch.bool)
