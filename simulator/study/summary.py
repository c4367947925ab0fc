"""What the rounds of a rule come to: the numbers of the table and of the JSON object."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from node.learning.partition import BY_ALPHA
from simulator.study.records import RoundRecord
from simulator.study.scenario import Scenario

TRAFFIC = "kB a node and round"
PACE = "ms a node and round"
"""Heads of columns, wherever there are such."""
Number = float | int | None
Numbers = Mapping[str, Number | Mapping[str, Number] | Sequence[Mapping[str, Number]]]
_NAMED = 8
"""Nodes that a remark names; of more it gives the number."""


@dataclass(frozen=True, slots=True)
class Diverged:
    """Training of one node gave NaN or infinity in some rounds of a run; it published the model from before them."""

    seed: int
    node: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One rule over all its seeds, measured after the last round.

    Attributes:
        rule: as the scenario names it.
        accuracy: (all honest nodes of all seeds,) share of test samples predicted right.
        success: the same for attack success.
        sybil_weight: mean over rounds of the mean weight given to Sybils; NaN without Sybils.
        honest_weight: the same for honest neighbours.
        bytes: mean bytes that an honest node sends in a round.
        rounds: rounds run.
        seconds: wall seconds of the engine, all seeds; neither measuring nor compiling counts.
        milliseconds: of these, a node and round.
        diverged: nodes whose training diverged, by seed and node.
    """

    rule: str
    accuracy: NDArray[np.float64]
    success: NDArray[np.float64]
    sybil_weight: float
    honest_weight: float
    bytes: float
    rounds: int
    seconds: float
    milliseconds: float
    diverged: tuple[Diverged, ...] = ()

    def numbers(self, seconds: bool = True) -> Numbers:
        """The rule's part of the JSON object; what was not measured is null; `diverged` only if it happened."""
        out: dict[str, Number | Mapping[str, Number] | Sequence[Mapping[str, Number]]] = {
            "accuracy": {
                "mean": _number(self.accuracy.mean()),
                "min": _number(self.accuracy.min()),
                "std": _number(self.accuracy.std()),
            },
            "attack_success": {
                "mean": _number(self.success.mean()),
                "median": _number(np.median(self.success)),
                "max": _number(self.success.max()),
            },
            "weight": {"sybil": _number(self.sybil_weight), "honest": _number(self.honest_weight)},
            "bytes_per_node_round": _number(self.bytes),
            "rounds": self.rounds,
        }
        if self.diverged:
            out["diverged"] = [{"seed": each.seed, "node": each.node, "rounds": each.rounds} for each in self.diverged]
        return out | {"seconds": round(self.seconds, 3)} if seconds else out

    def remark(self) -> str | None:
        """What to say of nodes whose training diverged, in one sentence; None: of none."""
        if not self.diverged:
            return None
        several = len({each.seed for each in self.diverged}) > 1
        where = [
            f"node {each.node}{f' of seed {each.seed}' if several else ''} in {each.rounds} of {self.rounds} rounds"
            for each in self.diverged[:_NAMED]
        ]
        rest = len(self.diverged) - _NAMED
        who = ", ".join(where) + (f", and at {rest} more nodes" if rest > 0 else "")
        return (
            f"{self.rule}: training diverged (NaN or infinity) at {who}; there the model from before it was sent. A "
            "smaller learning rate may help"
        )


def summarise(rule: str, records: Iterable[RoundRecord]) -> Summary:
    """Fold the records of one rule (any number of seeds, in any order) into a summary.

    Raises:
        ValueError: no round was measured.
    """
    rows = sorted(records, key=lambda record: (record.seed, record.round))
    last: dict[int, RoundRecord] = {row.seed: row for row in rows if row.accuracy is not None}
    if not last:
        raise ValueError(f"no measured round of rule '{rule}'")
    accuracy = np.concatenate([row.accuracy for row in last.values() if row.accuracy is not None])
    success = np.concatenate([row.success for row in last.values() if row.success is not None])
    return Summary(
        rule=rule,
        accuracy=accuracy,
        success=success,
        sybil_weight=_mean([row.influence.sybil for row in rows]),
        honest_weight=_mean([row.influence.honest for row in rows]),
        bytes=float(np.mean([row.bytes.mean() for row in rows])),
        rounds=1 + max(row.round for row in rows),
        seconds=sum(row.seconds for row in rows),
        milliseconds=1000 * sum(row.seconds for row in rows) / sum(len(row.bytes) for row in rows),
        diverged=_diverged(rows),
    )


def _diverged(rows: Sequence[RoundRecord]) -> tuple[Diverged, ...]:
    counts = Counter((row.seed, int(node)) for row in rows for node in row.diverged)
    return tuple(Diverged(seed, node, count) for (seed, node), count in sorted(counts.items()))


def headline(scenario: Scenario, neighbours: Sequence[Sequence[int]]) -> str:
    """Who learns, who attacks and how, in one line.

    Args:
        scenario: what is run.
        neighbours: the graph by vertex, honest ones first.
    """
    honest = scenario.nodes
    links = sum(other < honest for beside in neighbours[:honest] for other in beside)
    edges = sum(map(len, neighbours[honest:]))
    model = "" if scenario.model is None else f" with {scenario.model}"
    split = f"{scenario.partition}" + (f" {scenario.alpha:g}" if scenario.partition.name in BY_ALPHA else "")
    graph = f"{scenario.topology} graph of degree {links / honest:.2g}"
    who = f"{honest} node{'s learn' if honest > 1 else ' learns'} {scenario.task}{model} ({split}, {graph})"
    sybils = len(neighbours) - honest
    if scenario.attack is None or not sybils:
        return f"{who}; no attack"
    crowd = f"{sybils} Sybil{'s attack' if sybils > 1 else ' attacks'}"
    return f"{who}; {crowd} with {scenario.attack} at phi {edges / honest:.3g}"


def table(summaries: Sequence[Summary], title: str, attacked: bool = True) -> Table:
    """The table that `hedgerow simulate` ends with: a row for each rule, best figures in bold.

    Args:
        summaries: one a rule.
        title: what stands above it.
        attacked: whether anybody attacks; if nobody does, there is nothing to say of Sybils and success.
    """
    out = Table(
        title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    out.add_column("rule", no_wrap=True)
    columns: list[tuple[str, list[float | None], Callable[[Sequence[float]], float] | None, str]] = [
        ("accuracy", [_number(s.accuracy.mean()) for s in summaries], max, "{:.3f}"),
        ("at worst node", [_number(s.accuracy.min()) for s in summaries], max, "{:.3f}"),
        ("attack success", [_number(s.success.mean()) for s in summaries], min, "{:.3f}"),
        ("at worst node", [_number(s.success.max()) for s in summaries], min, "{:.3f}"),
        ("weight to Sybils", [_number(s.sybil_weight) for s in summaries], min, "{:.3f}"),
        (TRAFFIC, [s.bytes / 1000 for s in summaries], None, "{:.1f}"),
        ("seconds", [s.seconds for s in summaries], None, "{:.1f}"),
        (PACE, [_number(s.milliseconds) for s in summaries], None, "{:.3g}"),
    ]
    if not attacked:
        del columns[2:5]
    for head, *_ in columns:
        least = {TRAFFIC: 7, PACE: 8}.get(head, 6)
        out.add_column(head, justify="right", width=max(least, *map(len, head.split())))
    cells = []
    for _, values, best, form in columns:
        known = [value for value in values if value is not None]
        mark = best(known) if best and len(known) > 1 else None
        cells.append([_cell(value, form, value is not None and value == mark) for value in values])
    for position, summary in enumerate(summaries):
        out.add_row(summary.rule, *(column[position] for column in cells))
    return out


def _cell(value: float | None, form: str, best: bool) -> Text:
    return Text("-" if value is None else form.format(value), style="bold green" if best else "")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
