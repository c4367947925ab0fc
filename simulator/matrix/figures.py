"""The numbers of a matrix: one cell folded, and every place and rule with its uncertainty.

Laws:
- A seed is one observation: nodes of one run are not independent, so intervals are over seeds (Student's t, 95 %), and
  with one seed there is none.
- What was not measured is null, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aggregation.evidence import Verdict
from simulator.matrix.plan import Condition
from simulator.study.records import Edges, RoundRecord

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120)
"""Student's t, 97.5 %, for 1, 2, ... degrees of freedom; beyond the last its value errs on the wide side."""
ORACLE, ALONE = "oracle-mean", "alone"


@dataclass(frozen=True, slots=True)
class Key:
    """One cell of the matrix."""

    condition: Condition = field(compare=False)
    rule: str
    seed: int
    place: tuple[str, str, str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Cells are told apart by the labels of their place."""
        object.__setattr__(self, "place", place_of(self.condition))

    def __str__(self) -> str:
        """In words."""
        return f"{self.rule}, {', '.join(self.place)}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One cell, folded.

    Attributes:
        rounds: measured rounds, counted from 1.
        accuracy, success: (len(rounds), H) by measured round and honest node.
        sybil_share: mean over honest nodes and measured rounds of the Sybils' share in a decision's weight.
        excluded: share of honest neighbours heard that got weight 0.
        edges: attack edges.
        bytes: mean bytes that an honest node sends in a round.
        milliseconds: wall time a node and round, training included.
    """

    rounds: tuple[int, ...]
    accuracy: NDArray[np.float64]
    success: NDArray[np.float64]
    sybil_share: float
    excluded: float
    edges: int
    bytes: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds: its 95 % interval is mean +- half; half is None with one seed."""

    mean: float | None
    half: float | None
    seeds: int


@dataclass(frozen=True, slots=True)
class Figures:
    """One place and rule, over all seeds, after the last round.

    Attributes:
        attack, split, network, attackers: labels of the place.
        rule: as records name it.
        label: as the page names it.
        accuracy: mean over honest nodes; under attack this is the robust accuracy.
        worst_accuracy: the worst node of all seeds.
        worst_decile: accuracy of the worst tenth of nodes, mean over seeds.
        success: attack success, mean over honest nodes.
        worst_success: the worst node of all seeds.
        tax: accuracy of the oracle mean without attack less this rule's accuracy without attack (only where nobody
            attacks).
        harm: attack success less this rule's without attack, for each attack edge of a node.
        sybil_share, excluded, bytes, milliseconds: as in `Outcome`.
        rounds_to_90: first measured round with .9 of the oracle mean's final accuracy without attack; None = never.
        curve: (round, accuracy, success) means over nodes and seeds.
    """

    attack: str
    split: str
    network: str
    attackers: str
    rule: str
    label: str
    accuracy: Estimate
    worst_accuracy: float
    worst_decile: float
    success: Estimate
    worst_success: float
    tax: Estimate | None
    harm: float | None
    sybil_share: float | None
    excluded: float | None
    bytes: float
    milliseconds: float
    rounds_to_90: int | None
    curve: tuple[tuple[int, float, float], ...]


def place_of(condition: Condition) -> tuple[str, str, str, str]:
    """Labels that name a place."""
    return condition.attack, condition.split, condition.network, condition.attackers


def outcome(records: Sequence[RoundRecord], honest: int) -> Outcome:
    """Fold the records of one cell.

    Raises:
        ValueError: no round was measured.
    """
    rounds: list[int] = []
    accuracy: list[NDArray[np.float64]] = []
    success: list[NDArray[np.float64]] = []
    for record in records:
        if record.accuracy is not None and record.success is not None:
            rounds.append(record.round + 1)
            accuracy.append(record.accuracy)
            success.append(record.success)
    if not rounds:
        raise ValueError("no round was measured")
    edges = [record.edges for record in records if record.edges is not None]
    return Outcome(
        rounds=tuple(rounds),
        accuracy=np.stack(accuracy),
        success=np.stack(success),
        sybil_share=mean(_sybil_share(each, honest) for each in edges),
        excluded=mean(_excluded(each, honest) for each in edges),
        edges=int(((edges[-1].senders >= honest) & ~edges[-1].away).sum()) if edges else 0,
        bytes=float(np.mean([record.bytes.mean() for record in records])),
        milliseconds=1000 * float(np.mean([record.seconds for record in records])) / honest,
    )


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of one value a seed, with half the width of its 95 % interval."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Estimate(None, None, 0)
    if len(known) == 1:
        return Estimate(known[0], None, 1)
    t = _T[min(len(known) - 2, len(_T) - 1)]
    return Estimate(float(np.mean(known)), t * float(np.std(known, ddof=1)) / math.sqrt(len(known)), len(known))


def ends_outside(rules: Iterable[str]) -> list[str]:
    """`alone` first, the oracle last, the others between."""
    place = {ALONE: 0, ORACLE: 2}
    return sorted(rules, key=lambda rule: place.get(rule, 1))


def lowest_tenth(values: NDArray[np.float64]) -> float:
    """Mean of the lowest tenth of the values, at least one."""
    return float(np.sort(values)[: max(1, len(values) // 10)].mean())


def mean(values: Iterable[float]) -> float:
    """Mean of those that are numbers; NaN when none is."""
    known = [float(value) for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def measured(value: float) -> float | None:
    """The value, or None for NaN: what was not measured."""
    return None if math.isnan(value) else value


def _sybil_share(edges: Edges, honest: int) -> float:
    """Mean over receivers of (Sybils' weight) / (1 + all weight)."""
    total = np.ones(honest)
    np.add.at(total, edges.receivers, edges.weights)
    bad = np.zeros(honest)
    np.add.at(bad, edges.receivers, np.where(edges.senders >= honest, edges.weights, 0.0))
    return float((bad / total).mean())


def _excluded(edges: Edges, honest: int) -> float:
    here = (edges.senders < honest) & (edges.verdicts != int(Verdict.ABSENT))
    return float((edges.weights[here] <= 0).mean()) if here.any() else math.nan
