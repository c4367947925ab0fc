"""What one round of one node was, as data: a line of JSONL, an entry of the status page, an item for an observer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from aggregation.evidence import Verdict
from identity.keys import PeerId


@dataclass(frozen=True, slots=True)
class NeighbourRecord:
    """What a round made of one peer: `weight` relative to the own model's 1, and why; `far`: no neighbour."""

    peer: PeerId
    weight: float
    verdict: Verdict
    far: bool = False


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One round of one node. Durations in seconds.

    Attributes:
        accuracy: of the integrated model on the test data in [0, 1], or None when not evaluated in this round.
        train_seconds, rule_seconds, waited: parts of `duration`.
        closed_by: "all", "deadline", "alone", "behind" or "stop".
        relayed: records of others that the rule could use.
        diverged: training gave a NaN or an infinity, so the model from before it was published.
        line: what the last line did: "" (nothing), "braked" (decided once more with known peers), "kept" (the trained
            model stays) or "unbacked" (strangers alone: they moved nobody); see `node.trust.last_line`.
        said: the same in words; "" for nothing.
        alone: the node knows somebody, or was told whom to join, and heard none of them.
        right: share of own held-out samples that the model gets right, where accuracy is never measured; else None.
    """

    round: int
    next_round: int
    rule: str
    accuracy: float | None
    neighbours: tuple[NeighbourRecord, ...]
    relayed: int
    duration: float
    waited: float
    deadline: float
    train_seconds: float
    rule_seconds: float
    closed_by: str
    diverged: bool = False
    line: str = ""
    said: str = ""
    alone: bool = False
    right: float | None = None


@dataclass(frozen=True, slots=True)
class RoundView:
    """A record plus the models themselves, for observers inside the process (the simulator).

    Attributes:
        trained: (d,) float32, own model after local training (what was published).
        params: (d,) float32, after the rule.
        buffers: the node's own, with which its models are judged; empty before it has trained.
    """

    record: NodeRecord
    trained: Tensor
    params: Tensor
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
