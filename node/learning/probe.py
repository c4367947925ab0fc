"""What models do on a node's own samples: the evidence that distance and similarity cannot give.

Laws:
- Samples come from the node's own training data, never from the evaluation split.
- Nodes hold different numbers of samples; a batch pads them with row 0 and counts nothing that is padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node.learning.blame import users_code
from node.learning.dataset import Dataset
from node.learning.errors import TaskError
from node.learning.forward import CHUNK_FLOATS
from node.learning.learner import Learner
from node.learning.partition import Shard

OUTPUT_SAMPLES = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """Rows (n, p) of a data set, and which of them are no padding, bool (n, p)."""

    rows: Tensor
    there: Tensor

    @classmethod
    def pad(cls, lists: Sequence[Tensor]) -> _Samples:
        longest = max(len(rows) for rows in lists)
        rows = torch.zeros(len(lists), longest, dtype=torch.int64)
        there = torch.zeros(len(lists), longest, dtype=torch.bool)
        for node, mine in enumerate(lists):
            rows[node, : len(mine)] = mine
            there[node, : len(mine)] = True
        return cls(rows, there)

    def select(self, nodes: Tensor) -> _Samples:
        return _Samples(self.rows[nodes], self.there[nodes])


class LocalProbe:
    """Implements aggregation.evidence.Probe for one node (batch dimensions ()) or many (batch dimensions (n,)).

    Row numbers are gathered once; `under` and `select` share them.
    """

    def __init__(
        self, learner: Learner, data: Dataset, shards: Shard | Sequence[Shard], own: Tensor | None = None
    ) -> None:
        """Gather the samples.

        Args:
            learner: how models are run.
            data: the data set that the shards name rows of.
            shards: one node's, or one per node of a batch (at least one).
            own: (d,) or (n, d) own models, needed by `activity` alone.
        """
        self._learner, self._data, self._own = learner, data, own
        self._buffers: Sequence[Mapping[str, Tensor]] | None = None
        self._single = isinstance(shards, Shard)
        nodes = [shards] if isinstance(shards, Shard) else list(shards)
        if not nodes:
            raise TaskError("a probe needs at least one node's shard")
        self._held = _Samples.pad([shard.held_out for shard in nodes])
        self._judged = _Samples.pad(
            [shard.held_out if len(shard.held_out) else _spaced(shard.train) for shard in nodes]
        )
        self._shown = _Samples.pad([_spaced(shard.train) for shard in nodes])

    def under(self, own: Tensor | None, buffers: Sequence[Mapping[str, Tensor]] | None = None) -> LocalProbe:
        """The same samples, with this round's own models.

        Args:
            own: (d,) or (n, d); None: unknown.
            buffers: each node's own, one a node; every model that it looks at is run with them. None: a fresh module's.
        """
        other = self._copy(own, None)
        if buffers is not None and self._learner.unlike(buffers):
            other._buffers = buffers
        return other

    def select(self, nodes: Tensor) -> LocalProbe:
        """The probe of some nodes of a batch: (k,) positions, on the processor."""
        other = self._copy(None if self._own is None else self._own[nodes], nodes)
        if self._buffers is not None:
            other._buffers = [self._buffers[node] for node in nodes.tolist()]
        return other

    def scores(self, params: Tensor) -> Tensor:
        """F1 per class on own held-out samples, argmax over all classes: (..., k, d) -> (..., k, c) in [0, 1].

        A class without a true positive scores 0, as in sklearn's f1_score with zero_division=0.
        """
        models = self._batched(params)
        out = torch.zeros(*models.shape[:2], self._learner.classes, device=models.device)
        for nodes in self._chunks(models, self._held):
            logits, labels, there = self._run(models, self._held, nodes)
            predicted = logits.argmax(dim=-1)
            out[nodes] = _f1(predicted, labels, there, self._learner.classes)
        return out[0] if self._single else out

    def right(self, params: Tensor) -> Tensor:
        """Share of own held-out samples that are predicted rightly: (..., k, d) -> (..., k); NaN without any."""
        models = self._batched(params)
        out = torch.full(models.shape[:2], torch.nan, device=models.device)
        for nodes in self._chunks(models, self._held):
            logits, labels, there = self._run(models, self._held, nodes)
            hits = ((logits.argmax(dim=-1) == labels.unsqueeze(1)) & there.unsqueeze(1)).sum(dim=-1)
            out[nodes] = hits / there.sum(dim=-1, keepdim=True)  # 0 / 0 is NaN
        return out[0] if self._single else out

    def familiar(self) -> Tensor:
        """Classes with enough own held-out samples to judge: bool (..., c)."""
        labels = self._data.labels[self._held.rows]
        counts = _tally(labels, self._held.there, self._learner.classes)
        enough = counts >= self._learner.task.familiar
        enough = enough.to(self._learner.device)
        return enough[0] if self._single else enough

    def loss(self, params: Tensor) -> Tensor:
        """Mean loss on own held-out samples (64 training samples if none are held out): (..., k, d) -> (..., k)."""
        models = self._batched(params)
        out = torch.zeros(models.shape[:2], device=models.device)
        for nodes in self._chunks(models, self._judged):
            logits, labels, there = self._run(models, self._judged, nodes)
            if self._learner.task.loss is None:
                chances = logits.log_softmax(dim=-1)
                wanted = labels.unsqueeze(1).unsqueeze(-1).expand(*logits.shape[:3], 1)
                losses = -chances.gather(-1, wanted).squeeze(-1)
                known = torch.where(there.unsqueeze(1), losses, torch.zeros(()))
                out[nodes] = known.sum(dim=-1) / there.sum(dim=-1).clamp(min=1).unsqueeze(-1)
            else:
                for place, node in enumerate(range(nodes.start, nodes.stop)):
                    for model in range(models.shape[1]):
                        mine = there[place]
                        if bool(mine.any()):
                            with users_code("the loss fails"):
                                value = self._learner.task.loss(logits[place, model][mine], labels[place][mine])
                            out[node, model] = value
        return out[0] if self._single else out

    def outputs(self, params: Tensor) -> Tensor:
        """Logits on up to 64 own training inputs: (..., k, d) -> (..., k, p, c); absent inputs give rows of zeros.

        The same inputs in every round: spaced evenly over the list of own training rows.
        """
        models = self._batched(params)
        out = torch.zeros(*models.shape[:2], self._shown.rows.shape[1], self._learner.classes, device=models.device)
        for nodes in self._chunks(models, self._shown):
            logits, _, there = self._run(models, self._shown, nodes)
            out[nodes] = torch.where(there[:, None, :, None], logits, torch.zeros(()))
        return out[0] if self._single else out

    def activity(self) -> Tensor:
        """Root mean square of each weight's input on own data under the own model: (..., d); biases 1.

        Raises:
            ValueError: the probe knows no own model; see `under`.
        """
        if self._own is None:
            raise ValueError("activity needs the own model: use probe.under(own)")
        own = self._own.reshape(len(self._shown.rows), -1)
        out = torch.empty_like(own)
        for nodes in self._chunks(own.unsqueeze(1), self._shown):
            inputs, there = self._data.inputs[self._shown.rows[nodes]], self._shown.there[nodes]
            if self._buffers is None:
                out[nodes] = self._learner.activity(own[nodes], inputs, there)
                continue
            for place, node in enumerate(range(nodes.start, nodes.stop)):
                out[node] = self._learner.activity(own[node], inputs[place], there[place], self._buffers[node])
        return out[0] if self._single else out

    def _copy(self, own: Tensor | None, nodes: Tensor | None) -> LocalProbe:
        other = LocalProbe.__new__(LocalProbe)
        other._learner, other._data, other._own, other._single = self._learner, self._data, own, self._single
        other._buffers = None
        every = (self._held, self._judged, self._shown)
        picked = every if nodes is None else tuple(samples.select(nodes) for samples in every)
        other._held, other._judged, other._shown = picked
        return other

    def _batched(self, params: Tensor) -> Tensor:
        return params.unsqueeze(0) if self._single else params

    def _chunks(self, models: Tensor, samples: _Samples) -> list[slice]:
        """Runs of nodes whose repacked models, inputs and activations stay within bounded memory."""
        candidates, dimension = models.shape[1], models.shape[2]
        padded = samples.rows.shape[1]
        each = candidates * dimension + padded * (self._data.inputs[0].numel() + candidates * self._learner.width)
        size = max(1, CHUNK_FLOATS // max(1, each))
        total = len(samples.rows)
        if padded == 0 or candidates == 0:
            return []
        return [slice(first, min(first + size, total)) for first in range(0, total, size)]

    def _run(self, models: Tensor, samples: _Samples, nodes: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, k, p, c), labels (n, p), mask (n, p) of these nodes."""
        rows = samples.rows[nodes]
        inputs = self._data.inputs[rows]
        if self._buffers is None:
            logits = self._learner.logits(models[nodes], inputs.unsqueeze(1))
        else:
            each = zip(models[nodes], inputs, self._buffers[nodes], strict=True)
            logits = torch.stack([self._learner.logits(some, mine, own) for some, mine, own in each])
        return logits, self._data.labels[rows].to(logits.device), samples.there[nodes].to(logits.device)


def _spaced(rows: Tensor) -> Tensor:
    """At most OUTPUT_SAMPLES of these rows, spaced evenly."""
    if len(rows) <= OUTPUT_SAMPLES:
        return rows
    return rows[torch.arange(OUTPUT_SAMPLES) * len(rows) // OUTPUT_SAMPLES]


def _tally(values: Tensor, there: Tensor, classes: int) -> Tensor:
    """How often each class occurs among values (..., p) where bool (..., p) says so: (..., c)."""
    counts = torch.zeros(*values.shape[:-1], classes, device=values.device)
    return counts.scatter_add_(-1, values, there.to(counts.dtype).expand_as(values).contiguous())


def _f1(predicted: Tensor, labels: Tensor, there: Tensor, classes: int) -> Tensor:
    """Predicted (n, k, p), labels (n, p), there (n, p) -> F1 (n, k, c)."""
    mask = there.unsqueeze(1).expand_as(predicted)
    truth = labels.unsqueeze(1).expand_as(predicted)
    right = _tally(predicted, mask & (predicted == truth), classes)
    total = _tally(predicted, mask, classes) + _tally(truth, mask, classes)
    return 2 * right / total.clamp(min=1)
