"""What a node knows when it decides, and what it decided.

Laws:
- Models are rows of one immutable table and are named by row number; -1 means absent. A daemon's table holds its own
  few rows, the array engine's table holds every row that any node knows. Rules see no difference: they take leading
  batch dimensions.
- A row that holds a NaN or an infinity counts as absent everywhere, with the verdict NOT_FINITE.
- A weight of 0 never multiplies (0 times NaN is NaN): rows of weight 0 are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

import torch
from torch import Tensor

from aggregation.kernels.geometry import DenseGeometry, Geometry


class Verdict(IntEnum):
    """Why a neighbour got the weight it got. Numbers are part of records: append, never renumber."""

    TAKEN = 0
    ABSENT = 1
    NOT_FINITE = 2
    SIMILAR = 3  # too much like others: Sybils share one vote
    FAR = 4  # distance: not selected
    HARMFUL = 5  # performance on own held-out samples
    CLIPPED = 6  # taken, but shortened
    DUPLICATE = 7  # in a cluster that already has its vote
    TRIMMED = 8  # bounded coordinate by coordinate
    UNPROVEN = 9  # no evidence either way
    UNHEARD = 10  # the rule takes nobody's model
    STRANGER = 11  # a stranger beyond the limit: no say in this round
    UNBACKED = 12  # a stranger in a round in which no known peer answered
    BRAKED = 13  # was in a model that lost too much on own held-out samples, and was left out of the next try


class Need(StrEnum):
    """What a rule asks for beyond the models of direct neighbours; engines compute only what is asked."""

    RELAYS = "relays"
    SCORES = "scores"
    OUTPUTS = "outputs"
    ACTIVITY = "activity"
    ORACLE = "oracle"
    START = "start"
    CLASSES = "classes"
    VOTES = "votes"


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """Where the output layer lies in a flat vector of params.

    Attributes:
        weight: offset of the (classes, features) weight, row-major.
        bias: offset of the (classes,) bias, or None.
        features: inputs of the output layer.
        classes: outputs of the output layer.
    """

    weight: int
    bias: int | None
    features: int
    classes: int

    def read(self, params: Tensor) -> Tensor:
        """Head of (..., d) params as (..., features [+ 1 for the bias], classes): a class is a column."""
        size = self.features * self.classes
        flat = params[..., self.weight : self.weight + size]
        columns = flat.reshape(*flat.shape[:-1], self.classes, self.features).transpose(-1, -2)
        if self.bias is None:
            return columns
        bias = params[..., self.bias : self.bias + self.classes]
        return torch.cat([columns, bias.unsqueeze(-2)], dim=-2)

    def write(self, params: Tensor, head: Tensor) -> Tensor:
        """Copy of (..., d) params with its head replaced by (..., features [+ 1], classes)."""
        out = params.clone()
        size = self.features * self.classes
        body = head if self.bias is None else head[..., :-1, :]
        out[..., self.weight : self.weight + size] = body.transpose(-1, -2).flatten(-2)
        if self.bias is not None:
            out[..., self.bias : self.bias + self.classes] = head[..., -1, :]
        return out


class Probe(Protocol):
    """What models do on a node's private samples. The batch dimensions are those of the evidence it belongs to."""

    def scores(self, params: Tensor) -> Tensor:
        """F1 in [0, 1] per class on own held-out samples, argmax over all classes: (..., k, d) -> (..., k, c)."""

    def familiar(self) -> Tensor:
        """Classes with enough own held-out samples to judge: bool (..., c)."""

    def loss(self, params: Tensor) -> Tensor:
        """Mean loss on own samples: (..., k, d) -> (..., k)."""

    def outputs(self, params: Tensor) -> Tensor:
        """Logits on up to 64 own inputs: (..., k, d) -> (..., k, p, c); absent inputs give rows of zeros."""

    def activity(self) -> Tensor:
        """Root mean square of each weight's input on own data under the own model: (..., d); biases 1."""


class Table:
    """Immutable rows of params, and the geometry between them.

    Attributes:
        values: (R, d) float32.
        finite: (R,) bool: the row holds only finite numbers.
    """

    def __init__(self, values: Tensor, geometry: Geometry | None = None) -> None:
        self.values = values
        self.finite = torch.isfinite(values).all(dim=1) if geometry is None else geometry.finite
        self._geometry = geometry

    @property
    def geometry(self) -> Geometry:
        """Inner products, distances and cosine gaps between rows, computed once (lazily)."""
        if self._geometry is None:
            self._geometry = DenseGeometry(self.values, self.finite)
        return self._geometry

    def rows(self, index: Tensor) -> Tensor:
        """Rows by number: (...,) -> (..., d); absent rows and rows that are not finite are zeros."""
        safe = index.clamp(min=0)
        return torch.where(self.usable(index).unsqueeze(-1), self.values[safe], 0.0)

    def usable(self, index: Tensor) -> Tensor:
        """Which of these rows are there and finite: (...,) -> bool (...,)."""
        return (index >= 0) & self.finite[index.clamp(min=0)]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a node (or, with leading dimensions, many nodes) knows when it decides.

    Attributes:
        table: the rows that the numbers below name.
        own: (...,) own model after local training.
        neighbours: (..., n) direct neighbours' models of this round, in order of peer id; -1 absent.
        relayed: (..., r) histories of others, relayed; -1 absent.
        start: (...,) own model before local training, or None (FLTrust needs it).
        initial: () or (...,) the network's common initial model, or None (histories `update`).
        round: number of the round, from 0.
        rounds: rounds of the whole run, or None when open-ended.
        head: where the output layer lies, or None.
        own_classes: (..., c) bool, classes that the node trains, or None.
        peer_classes: (..., n, c) bool, classes that each neighbour says it trains, or None when unknown; all where a
            neighbour does not say it, as nodes do not whose own rule does not ask for `Need.CLASSES`.
        honest: (..., n) bool, only in a simulator (oracle mean).
        trusted: (..., n) bool, rows of peers that the node knows, near or far; None: nobody is told apart.
        votes: (..., n + 1) > 0 and finite, unequal votes of the own row (first) and of known ones, in any unit; what
            stands there for other rows is not read. None: all 1.
        probe: what models do here, or None.
        priority: (..., n) numbers drawn uniformly by the caller, for rules that look at only some neighbours (lowest
            first within a third); None: in order of peer id.
        room: (..., d) contiguous memory beside the table that integrated models may be written into; None: new.
    """

    table: Table
    own: Tensor
    neighbours: Tensor
    relayed: Tensor
    start: Tensor | None = None
    initial: Tensor | None = None
    round: int = 0
    rounds: int | None = None
    head: HeadLayout | None = None
    own_classes: Tensor | None = None
    peer_classes: Tensor | None = None
    honest: Tensor | None = None
    trusted: Tensor | None = None
    votes: Tensor | None = None
    probe: Probe | None = None
    priority: Tensor | None = None
    room: Tensor | None = None

    def present(self) -> Tensor:
        """Neighbours whose model is here and finite: bool (..., n)."""
        return self.table.usable(self.neighbours)

    def absence(self) -> Tensor:
        """Verdicts before any rule: TAKEN, ABSENT or NOT_FINITE: int8 (..., n)."""
        verdict = torch.full(self.neighbours.shape, int(Verdict.TAKEN), dtype=torch.int8, device=self.neighbours.device)
        verdict[~self.present()] = int(Verdict.NOT_FINITE)
        verdict[self.neighbours < 0] = int(Verdict.ABSENT)
        return verdict


@dataclass(frozen=True, slots=True)
class Weights:
    """What a weighting says.

    Attributes:
        own: (...,) weight of the own model, of the table's dtype.
        neighbours: (..., n) weight of each neighbour, in [0, 1], of the table's dtype; 0 for absent ones.
        verdicts: (..., n) int8, why.
    """

    own: Tensor
    neighbours: Tensor
    verdicts: Tensor


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule decides.

    Attributes:
        params: (..., d) the integrated model; always finite when the own model is.
        weights: (..., n) influence given to each neighbour relative to the own model's 1 (a vote, before
            normalisation).
        verdicts: (..., n) int8 Verdict: why.
    """

    params: Tensor
    weights: Tensor
    verdicts: Tensor


Weighting = Callable[[Evidence], Weights]
Integration = Callable[[Evidence, Weights], Decision]


@dataclass(frozen=True, slots=True)
class Rule:
    """A weighting followed by an integration.

    Attributes:
        name: as users write it.
        weighting: whom to believe, and how much.
        integration: how to combine.
        needs: what the rule asks for beyond direct neighbours' models.
    """

    name: str
    weighting: Weighting
    integration: Integration
    needs: frozenset[Need] = field(default_factory=frozenset)

    def decide(self, evidence: Evidence) -> Decision:
        """Weigh, then integrate."""
        return self.integration(evidence, self.weighting(evidence))
