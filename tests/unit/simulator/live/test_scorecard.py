"""The scorecard judges harm: what fails a row, what does not, and what the row says besides."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.live.scorecard import Row, Sight, Verdict, prospect, score, settled

OURS = ("sybil-1", "sybil-2")
BOUNDS = {"sybils": 2, "loss": 0.1, "gain": 0.1, "seconds": 1.0}


def peer(name: str, weights: dict[int, float], **changes: Any) -> dict[str, Any]:
    history = [
        {"round": round, "weight": weight, "verdict": "taken" if weight else "duplicate"}
        for round, weight in weights.items()
    ]
    return {"peer": name, "connected": True, "round": 10, "history": history, "dropped": {}, **changes}


def status(round: int = 10, neighbours: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    rows = [peer("honest", dict.fromkeys(range(round), 1.0), round=round)] if neighbours is None else neighbours
    course = [{"round": r, "accuracy": 0.9, "seconds": 1.0} for r in range(round)]
    here = {"round": round, "rounds_played": round, "phase": "waiting"}
    return {**here, "accuracy": 0.9, "neighbours": rows, "course": course, **changes}


def judged(after: dict[str, Any] | None, attack: str = "label-flip", **given: Any) -> Row:
    seen = {name: given.pop(name) for name in ("accuracy", "success") if name in given}
    before = given.pop("before", status())
    sight = Sight(before, after, **seen)
    given = {"tried": 4, **BOUNDS} | given
    suite = given.pop("suite", "wire")
    return score(suite, attack, attack, given.pop("tried"), OURS, sight, **given)


def test_a_healthy_node_passes() -> None:
    row = judged(status(15), accuracy=(0.9, 0.85), success=(0.0, 0.05))
    assert row.passed
    assert row.note == ""
    assert (row.rounds, row.neighbours, row.pace) == (5, (1, 1), (1.0, 1.0))


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ({"after": None}, "no answer"),
        ({"after": status(10), "seconds": 60.0}, "rounds stand still"),
        ({"after": status(10), "seconds": 60.0, "trouble": "slow"}, "rounds stand still; slow"),
        ({"after": status(40, rounds_played=15)}, "it was led 25 rounds ahead"),
        ({"after": status(15, [peer("honest", {}, connected=False)])}, "it lost 1 of 1 honest neighbours"),
        ({"after": status(15, [peer("honest", {}, round=10)])}, "1 of 1 honest neighbours stand still"),
        (
            {"after": status(15, course=[{"round": r, "accuracy": 0.9, "seconds": 5.0} for r in range(10, 15)])},
            "rounds take 5.0 s instead of 1.0",
        ),
        ({"after": status(15), "accuracy": (0.9, 0.7)}, "accuracy fell from 0.90 to 0.70"),
        ({"after": status(15), "success": (0.0, 0.2)}, "the attack succeeds at 0.20, before at 0.00"),
        ({"after": status(15), "attack": "not-finite"}, "nothing was refused as not-finite"),
    ],
)
def test_each_kind_of_harm_fails_the_row_and_is_named(given: dict[str, Any], note: str) -> None:
    row = judged(**given)
    assert row.verdict is Verdict.FAIL
    assert row.note == note


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ({"after": status(15), "trouble": "it let us go"}, "it let us go"),
        ({"after": status(10)}, "no round was over in 1 s"),
        ({"after": status(10, phase="pacing"), "seconds": 60.0}, "no round was over in 60 s"),
        (
            {"after": status(10, course=[]), "before": status(10, course=[]), "seconds": 60.0},
            "no round was over in 60 s",
        ),
        ({"after": status(15), "suite": "model", "accuracy": (None, None)}, "its model was not measured"),
    ],
)
def test_where_too_little_happened_the_row_is_inconclusive_and_says_why(given: dict[str, Any], note: str) -> None:
    row = judged(**given)
    assert row.verdict is Verdict.INCONCLUSIVE
    assert not row.passed
    assert row.note.startswith(note)


@pytest.mark.parametrize("attack", ["pester", "tell", "flood"])
def test_a_crowd_that_is_read_in_turn_need_not_be_refused_for_its_rate_and_one_need(attack: str) -> None:
    rows = [peer("honest", {}, round=15), *(peer(name, {11: 1.0}) for name in OURS)]
    before, after = status(), status(15, rows)
    assert judged(after, attack, suite="siege").passed
    assert settled(attack, before, after, OURS, sybils=2)
    assert "nothing was refused as" in judged(after, attack, sybils=1).note
    assert not settled(attack, before, after, OURS, sybils=1)


def test_votes_are_told_and_do_no_harm_by_themselves() -> None:
    rows = [
        peer("honest", dict.fromkeys(range(15), 1.0), round=15),
        *(peer(name, {11: 0.0, 12: 1.0}) for name in OURS),
    ]
    row = judged(status(15, rows))
    assert row.passed
    assert (row.taken, row.ignored, row.votes) == (2, 2, 2.0)
    assert row.share == pytest.approx(2 / 4)  # of ours, the honest neighbour's and the node's own
    assert row.fair == pytest.approx(1 / 3)
    assert row.note == "2 identities had 2.0 votes"
    assert not judged(status(15, rows), success=(0.0, 0.5)).passed


def test_what_was_decided_or_dropped_before_the_attack_does_not_count() -> None:
    early = [peer(name, {3: 1.0}, dropped={"malformed": 7}) for name in OURS]
    before, after = status(10, early), status(15, early)
    row = judged(after, before=before)
    assert (row.taken, row.ignored, row.refused) == (0, 0, {})
    assert row.share is None
    more = [peer(name, {3: 1.0}, dropped={"malformed": 9, "unwanted": 3}) for name in OURS]
    assert judged(status(15, more), before=before).refused == {"malformed": 4}


def test_a_broken_update_with_a_weight_fails_whatever_was_refused() -> None:
    rows = [peer("sybil-1", {11: 1.0, 12: 1.0}, dropped={"not-finite": 3})]
    row = judged(status(15, rows), "not-finite", broken=True)
    assert not row.passed
    assert "2 broken updates had a weight" in row.note


def test_what_was_never_decided_on_shows_nothing() -> None:
    seen = {"accuracy": (0.9, 0.9)}
    assert judged(status(15), suite="sybil", **seen).note == "too little was here in time to tell"
    rows = [peer("honest", {}, round=15), peer("sybil-1", {11: 0.0})]
    assert judged(status(15, rows), suite="sybil", **seen).note == ""


def test_what_was_never_taken_in_cannot_be_replayed() -> None:
    row = judged(status(15), "replay")
    assert row.passed
    assert row.note == "too little was here in time to tell"
    taken = [peer("sybil-1", {11: 1.0, 12: 1.0})]
    assert "nothing was refused as duplicate or replay" in judged(status(15, taken), "replay").note


def test_a_node_that_earlier_attacks_slowed_down_is_held_against_its_first_pace() -> None:
    slow = [{"round": r, "accuracy": 0.9, "seconds": 5.0} for r in range(15)]
    before, after = status(10, course=slow[:10]), status(15, course=slow)
    assert judged(after, before=before).passed
    row = score("wire", "silent", "silent", 4, OURS, Sight(before, after, first=status()), **BOUNDS)
    assert row.note == "rounds take 5.0 s instead of 1.0"


@pytest.mark.parametrize(
    ("standings", "says"),
    [
        ([], "no neighbours"),
        (["named", "stranger, 3 of 64 rounds"], "knows 1 of its 2 neighbours by name: every row should pass"),
        (["stranger, 3 of 64 rounds"], "knows none of its 1 neighbours by name"),
    ],
)
def test_what_to_expect_is_said_before_it_begins(standings: list[str], says: str) -> None:
    neighbours = [{"connected": True, "standing": each} for each in standings]
    gone = {"connected": False, "standing": "named"}
    assert says in prospect({"neighbours": [*neighbours, gone]})
