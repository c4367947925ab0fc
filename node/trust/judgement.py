"""From updates to evidence to a decision: what one node hands to its rule, and what comes back. Pure torch.

Laws:
- Rows are copied once, from the read-only buffers of gossip into the table of this round.
- The probe is asked only if the rule needs it.
- Which classes the node trains is told to others only if its own rule asks them for the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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
from node.trust.last_line import LastLine, Memory, hold, unbacked

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
    """What a round closed on.

    Attributes:
        neighbours: in order of peer id.
        updates: theirs; None: absent.
        relayed: of others.
        named: neighbours that the node knows by name.
        knows: it knows somebody by name, a neighbour or not.
        known: those for whom a person's word stands, named, near by vouches or far: the rule may take their rows for
            known ones, and they back a round and outlast its brake as the named do; None: the rule is told of nobody
            apart, and the named alone do.
        votes: unequal votes of peers, the node itself among them, > 0 and in any unit; 1 for whoever is not in it.
            Empty: all alike.
    """

    neighbours: Sequence[PeerId]
    updates: Sequence[Update | None]
    relayed: Sequence[Update]
    named: frozenset[PeerId] = frozenset()
    knows: bool = False
    known: frozenset[PeerId] | None = None
    votes: Mapping[PeerId, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """A decided round.

    Attributes:
        decision: params (d,), weights and verdicts (n,).
        braked: the first try lost too much on own samples; this is the second, with known peers alone.
        kept: that lost far too much as well: the decision is the trained model.
        backed: somebody known was heard, or nobody is known by name at all.
        lost: share of own held-out samples that the first try lost against training, if it braked; else 0.
    """

    decision: Decision
    braked: bool = False
    kept: bool = False
    backed: bool = True
    lost: float = 0.0


class Judge:
    """A rule at one node.

    Attributes:
        rule: what to believe.
        mask: the classes that headers name; empty, which stands for all, unless the rule asks for others'.

    Args:
        rule: what to believe.
        learner: gives the head's layout and the number of classes, and runs models for the probe.
        data: training data.
        shard: this node's rows.
        common: (d,) the network's common initial model, or None.
        rounds: rounds of the whole run, or None.
        honest: honest peers, known in a simulation only, or None.
        own: own peer id; with the seed, the address of draws.
        seed: of the draws by which some rules choose whom to look at.
        line: how far the node lets itself be moved (node.trust.last_line); None: as far as the rule says.
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
        honest: frozenset[PeerId] | None = None,
        own: PeerId,
        seed: int,
        line: LastLine | None = None,
    ) -> None:
        self.rule = rule
        self._memory = None if line is None else Memory(1, line)
        self._classes = class_mask(data.labels[shard.train], learner.classes)
        self.mask = self._classes if Need.CLASSES in rule.needs else b""
        self._learner = learner
        self._common = common
        self._rounds = rounds
        self._honest = honest
        self._peer = own
        self._own = address(own)
        self._seed = seed
        self._probe = LocalProbe(learner, data, shard)
        self._probing = bool(rule.needs & _PROBING)

    def decide(
        self, round: int, start: Tensor, trained: Tensor, heard: Heard, buffers: Mapping[str, Tensor] | None = None
    ) -> Judged:
        """Let the rule decide one round, behind the last line if there is one.

        Args:
            round: number of the round.
            start: (d,) own params before local training.
            trained: (d,) own params after it.
            heard: what came in.
            buffers: own ones after training, with which every model is judged; None: those of a fresh module.

        Returns:
            params (d,), weights and verdicts (n,) in the order of `heard.neighbours`, and whether it braked.
        """
        with torch.no_grad():
            probe = self._probe.under(trained, [buffers] if buffers else None)
            evidence = self._evidence(round, start, trained, heard, probe)
            if self._memory is None:
                return Judged(self.rule.decide(evidence))
            return self._held(self._memory, evidence, start, trained, heard, probe)

    def right(self, params: Tensor, buffers: Mapping[str, Tensor] | None = None) -> float | None:
        """Share of own held-out samples that a model (d,) gets right; None without any."""
        with torch.no_grad():
            share = float(self._probe.under(params, [buffers] if buffers else None).right(params.unsqueeze(0))[0])
        return None if math.isnan(share) else share

    def _held(
        self, memory: Memory, evidence: Evidence, start: Tensor, trained: Tensor, heard: Heard, probe: LocalProbe
    ) -> Judged:
        known = heard.named if heard.known is None else heard.known
        strange = torch.tensor([peer not in known for peer in heard.neighbours], dtype=torch.bool)
        backed = not heard.knows or bool((evidence.present() & ~strange).any())
        said = evidence if backed else _without(evidence, strange)

        def decide(_: Tensor, known_alone: bool) -> Decision:
            decision = self.rule.decide(_without(evidence, strange) if known_alone else said)
            params = decision.params.unsqueeze(0)
            return Decision(params, decision.weights.unsqueeze(0), decision.verdicts.unsqueeze(0))

        def score(_: Tensor, params: Tensor) -> Tensor:
            return probe.right(params)

        one, knows = torch.zeros(1, dtype=torch.int64), torch.tensor([heard.knows])
        held = hold(memory, one, start.unsqueeze(0), trained.unsqueeze(0), strange.unsqueeze(0), knows, decide, score)
        verdicts = held.verdicts[0] if backed else unbacked(held.verdicts[0], evidence.present() & strange)
        decision = Decision(held.params[0], held.weights[0], verdicts)
        return Judged(decision, bool(held.braked[0]), bool(held.kept[0]), backed, float(held.lost[0]))

    def _evidence(self, round: int, start: Tensor, trained: Tensor, heard: Heard, probe: LocalProbe) -> Evidence:
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
            own_classes=torch.tensor(read_mask(self._classes, classes)),
            peer_classes=torch.tensor(masks, dtype=torch.bool).reshape(-1, classes),
            honest=_among(heard.neighbours, self._honest),
            trusted=_among(heard.neighbours, heard.known),
            votes=self._votes(heard),
            priority=self._priority(round, heard.neighbours),
            probe=probe if self._probing else None,
        )

    def _votes(self, heard: Heard) -> Tensor | None:
        if not heard.votes:
            return None
        peers = (self._peer, *heard.neighbours)
        return torch.tensor([heard.votes.get(peer, 1.0) for peer in peers], dtype=torch.float64)

    def _priority(self, round: int, peers: Sequence[PeerId]) -> Tensor | None:
        """Whom to look at first, for rules that test models: so nobody gains by the shape of its peer id."""
        if Need.SCORES not in self.rule.needs:
            return None
        words = np.array([address(peer) for peer in peers], dtype=np.uint64)
        return torch.from_numpy(uniforms(self._seed, Purpose.PRIORITY, self._own, round, words))


def _without(evidence: Evidence, whom: Tensor) -> Evidence:
    """The same evidence, some neighbours (n,) absent."""
    return replace(evidence, neighbours=torch.where(whom, -1, evidence.neighbours))


def _among(peers: Sequence[PeerId], known: frozenset[PeerId] | None) -> Tensor | None:
    return None if known is None else torch.tensor([peer in known for peer in peers], dtype=torch.bool)
