"""The adversary against real nodes on loopback: what is refused, what does harm, and what each check is there for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import ROOT, until
from weak_node import WEAKNESSES, hurry, running

from identity.keys import SigningKey, format_peer
from node.daemon import init_node
from node.errors import NodeError
from node.learning.tasks import make_task
from node.show.status import fetch_status
from simulator.attacks.attack import Stage
from simulator.attacks.registry import ATTACKS
from simulator.attacks.spelling import build_attack
from simulator.live.campaign import Bounds
from simulator.live.harness import Forbidden, Step, _target, assault
from simulator.live.scorecard import REFUSALS, Row
from simulator.live.suites import SUITES, Trial

QUICK: dict[str, dict[str, Any]] = {
    "network": {"name": "harness"},
    "round": {"pace": 0.1, "least": 0.5, "most": 2.0, "evaluate_samples": 0},
}
BOUNDS = Bounds(seconds=60, rounds=3, settle=4.0, seed=5)
WIRE = [("wire", trial) for trial in SUITES["wire"]]


def grown(folder: Path, rounds: int = 6) -> Path:
    """Wait until the node in a folder has played a few rounds."""
    until(lambda: int(fetch_status(folder)["round"]) >= rounds)
    return folder


def failing(rows: tuple[Row, ...]) -> list[str]:
    return [row.attack for row in rows if not row.passed]


def chosen(weakness: str) -> list[tuple[str, Trial]]:
    """The rows that this weakness fails and two that it does not, in turn; of a healthy node all."""
    _, fails = WEAKNESSES[weakness]
    others = [trial.attack for _, trial in WIRE if trial.attack not in fails]
    turn = 2 * list(WEAKNESSES).index(weakness)
    wanted = {*fails, *((others * 3)[turn : turn + 2] if fails else others)}
    return [(suite, trial) for suite, trial in WIRE if trial.attack in wanted]


@pytest.mark.parametrize("weakness", WEAKNESSES)
async def test_a_node_that_leaves_out_one_check_fails_the_rows_of_that_check_and_no_other(
    weakness: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    weaken, fails = WEAKNESSES[weakness]
    weaken(monkeypatch)
    with running(tmp_path, QUICK, others=1) as folder:
        rows = await assault(grown(folder), trials=chosen(weakness), bounds=BOUNDS)
    assert tuple(failing(rows)) == fails, [row for row in rows if (row.attack in fails) == row.passed]
    for row in rows:
        if row.passed and row.attack != "silent":
            assert all(reasons & row.refused.keys() for reasons in REFUSALS[row.attack]), row


CLONES = ("sybil", Trial("label-flip+clones", {}, 5, 6))
BOOSTED = ("model", Trial("label-shift+boosted", {"factor": 100.0}, 1, 6))
FLIP = ("model", Trial("label-flip", {}, 1, 6))


@pytest.mark.parametrize(
    ("rule", "fails"),
    [
        ({"name": "hedgerow"}, []),
        ({"name": "hedgerow", "parameters": {"threshold": 1.0}, "last_line": False}, [CLONES[1].attack]),
        ({"name": "mean", "last_line": False}, [BOOSTED[1].spelling, CLONES[1].attack]),
        ({"name": "mean"}, []),
    ],
    ids=["hedgerow", "no clusters", "mean", "mean behind the last line"],
)
async def test_a_rule_that_leaves_out_a_part_fails_the_rows_of_that_part(
    rule: dict[str, Any], fails: list[str], tmp_path: Path
) -> None:
    with running(tmp_path, QUICK | {"rule": rule}, others=3) as folder:
        rows = await assault(grown(folder, 12), trials=[BOOSTED, CLONES], bounds=Bounds(seconds=30, seed=3))
    assert failing(rows) == fails, rows
    *_, clones = rows
    assert clones.sybils == 5
    assert clones.fair is not None
    if rule == {"name": "hedgerow"}:
        assert clones.votes <= 1
        assert clones.share is not None
        assert clones.share <= clones.fair + 0.1
    else:
        assert clones.votes > 4
        assert "5 identities had" in clones.note


@pytest.mark.parametrize(("probation", "rounds", "known"), [(10, 60, True), (256, 12, False)])
async def test_a_crowd_of_strangers_has_one_vote_once_neighbours_have_served_and_moves_nobody_far_before(
    probation: int, rounds: int, known: bool, tmp_path: Path
) -> None:
    (crowd,) = (trial for trial in SUITES["sybil"] if trial.sybils == 20)
    settings = QUICK | {"network": QUICK["network"] | {"probation": probation}}
    with running(tmp_path, settings, others=3) as folder:
        status = fetch_status(grown(folder, rounds))
        assert [each["standing"] == "known" for each in status["neighbours"]] == [known] * 3
        (row,) = await assault(folder, trials=[("sybil", crowd)], bounds=Bounds(seconds=30, seed=3))
    assert row.passed, row
    assert (row.votes <= 1) == known


async def test_a_siege_by_strangers_is_held_where_neighbours_are_known(tmp_path: Path) -> None:
    settings = QUICK | {"network": QUICK["network"] | {"probation": 10}}
    with running(tmp_path, settings, others=3) as folder:
        grown(folder, 60)
        rows = await assault(folder, suites=["siege"], bounds=Bounds(seconds=40, rounds=4, seed=6))
        status = fetch_status(folder)
    assert failing(rows) == [], rows
    known = [each for each in status["neighbours"] if each["standing"] == "known"]
    assert [each["connected"] for each in known] == [True] * 3


async def test_a_siege_by_strangers_that_deliver_nothing_is_held_where_nobody_is_known(tmp_path: Path) -> None:
    crowds = [("siege", trial) for trial in SUITES["siege"] if trial.attack in ("withhold", "silent")]
    with running(tmp_path, QUICK | {"round": QUICK["round"] | {"most": 8.0}}, others=2) as folder:
        status = fetch_status(grown(folder))
        assert {each["standing"].partition(",")[0] for each in status["neighbours"]} == {"stranger"}
        rows = await assault(folder, trials=crowds, bounds=Bounds(seconds=40, seed=6))
    assert [(row.attack, row.passed) for row in rows] == [("withhold", True), ("silent", True)], rows
    assert all(row.rounds >= 6 for row in rows), rows
    lines = (folder / "state" / "rounds.jsonl").read_text().splitlines()
    crowded = [record for record in map(json.loads, lines) if len(record["neighbours"]) > 40]
    waited = [record for record in crowded if record["closed_by"] == "deadline"]
    assert len(crowded) >= 12
    assert len(waited) <= len(crowded) // 3  # two of three rounds are those in which a crowd has all turns


async def test_without_neighbours_the_row_says_so_and_every_row_and_step_is_told(tmp_path: Path) -> None:
    told: list[tuple[Row, float]] = []
    steps: list[Step] = []
    with running(tmp_path, QUICK) as folder:
        rows = await assault(
            grown(folder),
            trials=[("wire", Trial("silent", {}, 1, 2)), FLIP],
            bounds=BOUNDS,
            observe=lambda row, left: told.append((row, left)),
            watch=steps.append,
        )
    silent, flip = rows
    assert [row for row, _ in told] == [silent, flip]
    assert [left > 0 for _, left in told] == [True, False]
    assert {step.attack for step in steps} == {"silent", "label-flip"}
    assert all(0 <= step.part <= 1 and step.left >= 0 and step.count == 2 for step in steps)
    assert silent.passed
    assert (silent.tried, silent.share) == (0, None)
    assert flip.neighbours == (0, 0)
    assert "it has no other neighbour to compare with" in flip.note


async def test_a_task_that_is_not_the_nodes_is_told_before_any_attack(tmp_path: Path) -> None:
    told = pytest.raises(NodeError, match="learns another model than 'digits': name its own with --task and --model")
    with running(tmp_path, QUICK) as folder, told:
        await assault(folder, task=make_task("digits", "mlp"))


async def test_a_node_that_lets_no_strangers_in_is_told_before_any_attack(tmp_path: Path) -> None:
    allowing = {"network": {"name": "harness", "allow": (format_peer(SigningKey(bytes(32)).peer),)}}
    told = pytest.raises(NodeError, match=r"does not let us in .*\[network\] allow")
    with running(tmp_path, QUICK | allowing) as folder, told:
        await assault(folder)


async def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="nobody answers"):
        await assault("127.0.0.1:1")
    init_node(tmp_path)
    with pytest.raises(NodeError, match="start it with `hedgerow run"):
        await assault(tmp_path)


@pytest.mark.parametrize(("page", "listens"), [("127.0.0.1:80", "10.0.0.7:7700"), ("node.example:80", ":7700")])
def test_only_loopback_is_attacked_unless_the_node_consents(page: str, listens: str) -> None:
    with pytest.raises(Forbidden, match="not this machine"):
        _target(page, {"address": listens, "attackable": []})
    key, other = SigningKey(bytes(32)), SigningKey(bytes(range(32)))
    consenting = {"address": listens, "attackable": [format_peer(key.peer)]}
    for stranger in (None, other):
        with pytest.raises(Forbidden, match="attackable there names"):
            _target(page, consenting, stranger)
    assert _target(page, consenting, key).endswith(":7700")


def test_loopback_by_any_name_is_ours() -> None:
    assert _target("localhost:80", {"address": ":7700", "attackable": []}) == "localhost:7700"
    assert _target("http://[::1]:80/", {"address": "[::1]:7700", "attackable": []}) == "[::1]:7700"


def test_every_attack_is_in_a_suite_and_can_be_built() -> None:
    tried = {stage for trials in SUITES.values() for trial in trials for stage in trial.attack.split("+")}
    # no service publishes a model that is not finite: the wire suite sends one beside it
    assert tried == ATTACKS.keys() - {"none", "nan-model"}
    for trials in SUITES.values():
        for trial in trials:
            build_attack(trial.attack, trial.parameters)
    assert {trial.attack for trial in SUITES["wire"]} == REFUSALS.keys()
    assert all(ATTACKS[name].stage is Stage.WIRE for name in REFUSALS)
    assert all(trial.sybils > 1 for trial in SUITES["sybil"])


def test_a_node_that_is_too_slow_to_be_attacked_in_time_makes_rows_that_are_inconclusive(tmp_path: Path) -> None:
    with running(tmp_path, QUICK | {"round": QUICK["round"] | {"pace": 600.0}}) as folder:
        words = [
            sys.executable,
            "-m",
            "hedgerow",
            "attack",
            str(folder),
            "--suite",
            "siege",
            "--seconds",
            "1",
            "--json",
        ]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    count = len(SUITES["siege"])
    assert ended.returncode == 1
    assert ended.stderr.count(": inconclusive, ") == count
    assert f"{count} attacks: {count} inconclusive" in ended.stderr
    assert "once it has played a few rounds, and with more --seconds" in ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["counts"] == {"pass": 0, "fail": 0, "inconclusive": count}
    assert {(row["verdict"], row["passed"]) for row in answer["rows"]} == {("inconclusive", False)}


def test_whoever_is_stopped_shows_what_there_is(tmp_path: Path) -> None:
    with running(tmp_path, QUICK, others=1) as folder:
        words = [sys.executable, "-m", "hedgerow", "attack", str(grown(folder)), "--suite", "wire", "--json"]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "of its 1 neighbours by name" in process.stderr.readline()
            assert f"(1 of {len(WIRE)}, about " in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            said, words_for_people = process.communicate(timeout=60)
    assert process.returncode == 130
    found = json.loads(said)
    assert (found["stopped"], found["passed"]) == (True, False)
    assert found["rows"][0]["attack"] == "ahead"
    assert len(found["rows"]) < len(WIRE)
    assert "Traceback" not in words_for_people
    assert "Stopped after" in words_for_people
