"""What a node says of its rounds: one line now and then, with what a person wants to know."""

from __future__ import annotations

from peers import peer

from aggregation.evidence import Verdict
from node.bulletin import EVERY, FIRST, Bulletin
from node.store.record import NeighbourRecord, NodeRecord

BOB, CAROL = peer(1), peer(2)


def record(round: int, accuracy: float | None = None, **heard: float) -> NodeRecord:
    peers = {"bob": BOB, "carol": CAROL}
    neighbours = tuple(NeighbourRecord(peers[name], weight, Verdict.TAKEN) for name, weight in heard.items())
    return NodeRecord(round, round + 1, "mean", accuracy, neighbours, 0, 1.0, 0.5, 2.0, 0.4, 0.1, "all")


class Told:
    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        names = {BOB: "bob", CAROL: "carol"}
        self.bulletin = Bulletin(self.lines.append, lambda: self.now, names.__getitem__)

    def note(self, at: float, record: NodeRecord) -> None:
        self.now = 100.0 + at
        self.bulletin.note(record)


def test_a_line_says_the_round_the_accuracy_and_who_had_a_weight() -> None:
    told = Told()
    told.note(FIRST, record(7, 0.8412, bob=1.0, carol=0.5))
    told.note(FIRST + EVERY, record(8, 0.85, bob=1.0, carol=0.0))
    told.note(FIRST + 2 * EVERY, record(9))
    assert told.lines == [
        "round 7: accuracy 84.1%, heard bob, carol",
        "round 8: accuracy 85.0%, heard bob",
        "round 9: accuracy 85.0%, heard nobody",
    ]


def test_where_accuracy_was_never_measured_it_says_so() -> None:
    told = Told()
    told.note(FIRST, record(3))
    assert told.lines == ["round 3: accuracy not measured, heard nobody"]


def test_however_short_rounds_are_there_is_a_line_a_minute() -> None:
    told = Told()
    for tenths in range(int(10 * (FIRST + 3 * EVERY)) + 1):
        told.note(tenths / 10, record(tenths))
    assert len(told.lines) == 4
