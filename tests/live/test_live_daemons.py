"""Three real daemons on one machine: they learn from each other, survive a kill -9, and leave when asked."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Daemon, until

from node.config import NodeConfig, parse_config
from node.daemon import main
from node.learning.learner import Learner
from node.learning.tasks import make_task
from node.run import own_shard
from node.show.status import fetch_status

SPLIT = ["task.parts=3", "task.partition=classes", "task.partition_parameters={k = 4}"]
COMMON = ["network.name=live", "network.listen=127.0.0.1:0", "rule.name=mean", "round.pace=0.15", *SPLIT]


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[list[Daemon]]:
    daemons = [
        Daemon(tmp_path / name, *COMMON, f"task.part={part}", "network.wait_for=2", "network.gather=120")
        for part, name in enumerate("abc")
    ]
    yield daemons
    for daemon in daemons:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def alone(part: int, rounds: int) -> float:
    """Accuracy that this part of the data reaches by itself in as many rounds."""
    raw = {"network": {"name": "live"}, "task": {"part": part, "parts": 3, "partition": "classes"}}
    raw["task"]["partition_parameters"] = {"k": 4}  # type: ignore[assignment]
    config: NodeConfig = parse_config(raw)
    task = make_task("digits")
    learner = Learner(task)
    params, state = learner.initial(config.seed()), None
    rows = own_shard(config, task).train
    for round in range(rounds):
        params, state = learner.train(params, task.train, rows, config.seed(), part, round, state)
    return float(learner.accuracy(params, task.test))


def together(daemon: Daemon) -> int:
    """Rounds in which both others were taken."""
    return sum([n["verdict"] for n in record["neighbours"]] == ["taken"] * 2 for record in daemon.records())


def heads(daemon: Daemon, author: bytes | None = None) -> dict[int, tuple[int, bytes]]:
    """Sequence -> (round, digest) of own headers, or of what is remembered of another author."""
    with sqlite3.connect(daemon.folder / "state" / "ledger.sqlite") as base:
        query = (
            "SELECT sequence, round, digest FROM own"
            if author is None
            else ("SELECT sequence, round, digest FROM other WHERE author = ?")
        )
        rows = base.execute(query, () if author is None else (author,)).fetchall()
    base.close()
    return {sequence: (round, digest) for sequence, round, digest in rows}


def own_id(daemon: Daemon) -> bytes:
    with sqlite3.connect(daemon.folder / "state" / "ledger.sqlite") as base:
        (author,) = base.execute("SELECT author FROM own LIMIT 1").fetchone()
    base.close()
    return bytes(author)


def test_three_daemons_learn_survive_a_kill_and_leave_when_asked(trio: list[Daemon]) -> None:
    a, b, c = trio
    a.start()
    join = f'network.join=["{a.told("join")}"]'
    b.start(join)
    c.start(join)
    until(lambda: min(together(daemon) for daemon in trio) >= 25)
    for part, daemon in enumerate(trio):
        assert daemon.records()[-1]["accuracy"] > alone(part, 25) + 0.1

    status = fetch_status(a.told("status").removeprefix("http://"))
    assert status["accuracy"] > 0.6
    assert len(status["neighbours"]) == 2
    assert status["neighbours"][0]["verdict"] == "taken"
    assert len(status["neighbours"][0]["history"]) >= 20

    c.kill()
    killed = c.round()
    until(lambda: min(a.round(), b.round()) >= killed + 20)
    for daemon in (a, b):
        assert all(record["waited"] <= record["deadline"] + 1.0 for record in daemon.records())

    c.start(join)
    until(lambda: f"resuming at round {killed + 1}" in c.said() or f"resuming at round {killed + 2}" in c.said())
    until(lambda: c.round() > killed + 20)
    until(lambda: any(len(record["neighbours"]) == 2 and record["closed_by"] == "all" for record in a.records()[-3:]))

    for daemon in trio:
        code, seconds = daemon.terminate()
        assert code == 0, daemon.said()
        assert seconds < 10
    mine = heads(c)
    assert sorted(mine) == list(range(1, len(mine) + 1))
    rounds = [mine[sequence][0] for sequence in sorted(mine)]
    assert all(one < two for one, two in itertools.pairwise(rounds))
    for other in (a, b):
        remembered = heads(other, own_id(c))
        assert remembered
        assert all(mine[sequence] == known for sequence, known in remembered.items())


def test_a_refusal_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(verb: str, folder: Path, *words: str) -> str:
        """What the command, in this process, says before it ends with 1."""
        assert main([verb, str(folder), *words]) == 1
        return capsys.readouterr().err

    node = Daemon(tmp_path / "a", *COMMON)
    assert "holds a node already" in refused("init", node.folder)
    node.start()
    address = node.told("join")
    host_port = address.partition("@")[2]
    assert "another process runs the node" in refused("run", node.folder)

    stranger = Daemon(tmp_path / "b", *COMMON, "network.name=other")
    assert "in use" in refused("run", stranger.folder, f"network.listen={host_port}")
    stranger.start(f'network.join=["{address}"]')
    until(lambda: "a network of another name" in stranger.said() + node.said())
    stranger.kill()

    (tmp_path / "b" / "key").chmod(0o644)
    assert "chmod 600" in refused("run", stranger.folder)
    assert node.terminate()[0] == 0
    assert "Traceback" not in node.said() + stranger.said()
