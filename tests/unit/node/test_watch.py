"""What whoever runs a node is told: the last line at work, training alone; each once a spell."""

from __future__ import annotations

import torch
from peers import peer

from aggregation.evidence import Decision, Verdict
from identity.keys import short
from node.alarms import Alarms
from node.store.record import NodeRecord
from node.trust.judgement import Judged
from node.watch import ALONE, CALM, Watch, listed, what_happened


def record(round: int, line: str = "", alone: bool = False) -> NodeRecord:
    said = f"round {round}: {line}" if line else ""
    return NodeRecord(
        round, round + 1, "mean", 0.9, (), 0, 1.0, 0.5, 1.0, 0.1, 0.1, "all", line=line, said=said, alone=alone
    )


def judged(*verdicts: Verdict, braked: bool = False, kept: bool = False, backed: bool = True) -> Judged:
    weights = torch.ones(len(verdicts))
    decision = Decision(torch.zeros(2), weights, torch.tensor([int(v) for v in verdicts], dtype=torch.int8))
    return Judged(decision, braked, kept, backed, 0.312 if braked else 0.0)


def test_a_brake_says_who_was_in_it_and_what_it_cost() -> None:
    around = [peer(1), peer(2), peer(3)]
    verdicts = Verdict.BRAKED, Verdict.TAKEN, Verdict.BRAKED
    assert what_happened(249, around, judged(*verdicts, braked=True)) == (
        "braked",
        f"round 249: decided once more without {short(peer(1))}, {short(peer(3))}: "
        "with them 31 % fewer of the own samples were right",
    )
    did, said = what_happened(
        249, around, judged(*verdicts, braked=True, kept=True), lambda who: f"p{around.index(who)}"
    )
    assert (did, said.partition(":")[2]) == (
        "kept",
        " kept the model as it was trained, without p0, p2: with them 31 % fewer of the own samples were right",
    )
    assert what_happened(3, around[:1], judged(Verdict.UNBACKED, backed=False)) == (
        "unbacked",
        "round 3: nobody whom this node knows was heard, and strangers alone move nobody",
    )
    assert what_happened(3, around, judged(*[Verdict.TAKEN] * 3)) == ("", "")


def test_a_sentence_names_a_few_and_counts_the_rest() -> None:
    everybody = [peer(number) for number in range(9)]
    assert listed(everybody, lambda who: str(everybody.index(who))) == "0, 1, 2, 3 and 5 more"
    assert listed([]) == "anybody"


def test_a_spell_of_brakes_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    told: list[str] = []
    alarms = Alarms(told.append)
    watch = Watch(alarms)
    for round, line in enumerate(["", "braked", "", "kept", *[""] * (CALM - 1)]):
        watch.note(record(round, line))
    assert told == ["round 1: braked"]
    assert alarms.now() == ["round 3: kept"]  # the page has the newest
    watch.note(record(3 + CALM))
    assert told == ["round 1: braked", f"no round was decided twice for {CALM} rounds"]
    assert alarms.now() == []
    assert watch.counts == {"braked": 1, "kept": 1}


def test_a_node_that_hears_nobody_it_knows_says_so_with_what_to_type_until_it_hears_one() -> None:
    told: list[str] = []
    watch = Watch(Alarms(told.append), ("bob@127.0.0.1:7700",), "alice")
    for round in range(ALONE - 1):
        watch.note(record(round, alone=True))
    watch.note(record(ALONE))  # somebody was late, no more
    assert (told, watch.alone) == ([], None)
    for round in range(20, 20 + 2 * ALONE):
        watch.note(record(round, alone=True))
    assert len(told) == 1
    assert watch.alone == told[0]
    assert "alone since round 20" in told[0]
    assert "bob@127.0.0.1:7700" in told[0]
    assert told[0].endswith("hedgerow run alice --join PEER@HOST:PORT")
    watch.note(record(40))
    assert (len(told), watch.alone) == (2, None)
