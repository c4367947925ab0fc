"""A decided round as a record: what the core knows of it, what the rule decided, what the last line did."""

from __future__ import annotations

from collections.abc import Mapping

from aggregation.evidence import Verdict
from identity.keys import short
from node.core.events import Integrate, Report
from node.store.record import NeighbourRecord, NodeRecord
from node.trust.judgement import Judged
from node.watch import Name, what_happened


def reckon(
    report: Report,
    closed: Integrate,
    judged: Judged,
    *,
    rule: str,
    seconds: Mapping[str, float],
    accuracy: float | None,
    right: float | None,
    joins: bool,
    diverged: bool,
    name: Name = short,
) -> NodeRecord:
    """The record of a round.

    Args:
        report: how the round went.
        closed: what it closed on.
        judged: what was decided.
        rule: its name.
        seconds: what "train" and "rule" took.
        accuracy: on the test data, or None when not measured in this round.
        right: share of own held-out samples that the model gets right, where accuracy is never measured; else None.
        joins: the node was told whom to join.
        diverged: training gave a NaN or an infinity.
        name: what people call a peer.
    """
    weights, verdicts = judged.decision.weights.tolist(), judged.decision.verdicts.tolist()
    answered = {peer for peer, update in zip(closed.neighbours, closed.updates, strict=True) if update is not None}
    line, said = what_happened(report.round, closed.neighbours, judged, name)
    return NodeRecord(
        round=report.round,
        next_round=report.next_round,
        rule=rule,
        accuracy=accuracy,
        neighbours=tuple(
            NeighbourRecord(
                peer, weight, Verdict.STRANGER if peer in closed.strangers else Verdict(verdict), peer in closed.far
            )
            for peer, weight, verdict in zip(closed.neighbours, weights, verdicts, strict=True)
        ),
        relayed=len(closed.relayed),
        duration=report.duration,
        waited=report.waited,
        deadline=report.deadline,
        train_seconds=seconds["train"],
        rule_seconds=seconds["rule"],
        closed_by=report.closed_by,
        diverged=diverged,
        line=line,
        said=said,
        alone=(closed.knows or joins) and not answered & (closed.named if closed.known is None else closed.known),
        right=right,
    )
