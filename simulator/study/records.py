"""What a round of a simulation was: the record that engines yield and reports keep.

Laws:
- A record is data: arrays and numbers, no objects of an engine.
- Vertices 0 .. H-1 are honest nodes, H .. H+S-1 Sybils; arrays over nodes are in order of vertex and
  hold honest nodes only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Influence:
    """Mean weight that honest nodes gave to neighbours they heard this round; NaN when there were none.

    Attributes:
        sybil: over links from Sybils.
        honest: over links from honest neighbours.
    """

    sybil: float
    honest: float


@dataclass(frozen=True, slots=True)
class Edges:
    """Decisions link by link.

    Attributes:
        receivers: (E,) int32 honest vertices that decided.
        senders: (E,) int32 vertices decided on: for each receiver its neighbours, then whom it heard from afar, each in
            order of peer id.
        weights: (E,) float32 influence relative to the receiver's own 1.
        verdicts: (E,) int8 aggregation.evidence.Verdict.
        far: (E,) bool: heard from afar, no neighbour; None: nobody was.
    """

    receivers: NDArray[np.int32]
    senders: NDArray[np.int32]
    weights: NDArray[np.float32]
    verdicts: NDArray[np.int8]
    far: NDArray[np.bool_] | None = None

    @property
    def away(self) -> NDArray[np.bool_]:
        """(E,) bool: heard from afar."""
        return np.zeros(len(self.senders), dtype=bool) if self.far is None else self.far


def nobody() -> NDArray[np.int32]:
    """No vertices."""
    return np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round of one rule.

    Attributes:
        rule: the rule as the scenario names it (with parameters that differ from the defaults).
        seed: the run's seed.
        round: from 0.
        accuracy: (H,) float64 share of test samples predicted right after integration; None in a round
            without measurement.
        success: (H,) float64 attack success, or None like accuracy; NaN where nobody attacks and the test set lacks
            the two classes whose mixing up is counted then, to compare with.
        influence: mean neighbour weights.
        bytes: (H,) int64 bytes each honest node sent in this round (headers, payloads, relays).
        seconds: wall seconds the engine spent on this round, without the measurement and without compiling.
        edges: decisions link by link, in rounds with measurement.
        diverged: (D,) int32 honest vertices whose training gave a NaN or an infinity: they published the model that
            they had before it.
    """

    rule: str
    seed: int
    round: int
    accuracy: NDArray[np.float64] | None
    success: NDArray[np.float64] | None
    influence: Influence
    bytes: NDArray[np.int64]
    seconds: float
    edges: Edges | None
    diverged: NDArray[np.int32] = field(default_factory=nobody)

    def __repr__(self) -> str:
        """In one line, without the numbers of nodes and links."""
        accuracy = "not measured" if self.accuracy is None else f"accuracy {self.accuracy.mean():.3f}"
        return f"RoundRecord({self.rule}, seed {self.seed}, round {self.round}: {len(self.bytes)} nodes, {accuracy})"


@dataclass(frozen=True, slots=True)
class Trace:
    """All models of one round, for tests and for those who look inside.

    Attributes:
        round: from 0.
        start: (H, d) models before local training.
        trained: (H, d) after local training: what honest nodes sent.
        sent: (S, d) what Sybils sent; rows of NaN where one kept silent.
        integrated: (H, d) after the rule.
        edges: decisions link by link.
        buffers: of each honest node, with which its models are judged; None: those of a fresh module.
        diverged: (D,) int32 honest vertices whose training diverged; `trained` holds what they published.
    """

    round: int
    start: Tensor
    trained: Tensor
    sent: Tensor
    integrated: Tensor
    edges: Edges
    buffers: Sequence[Mapping[str, Tensor]] | None = None
    diverged: NDArray[np.int32] = field(default_factory=nobody)


Observer = Callable[[Trace], None]
"""Called once a round, before the record is yielded."""


def influence(edges: Edges, honest: int, absent: int = 1) -> Influence:
    """Mean weights over links whose verdict is not `absent`, Sybils and honest senders apart."""
    here = edges.verdicts != absent
    bad = here & (edges.senders >= honest)
    good = here & (edges.senders < honest)
    return Influence(
        sybil=float(edges.weights[bad].mean()) if bad.any() else float("nan"),
        honest=float(edges.weights[good].mean()) if good.any() else float("nan"),
    )
