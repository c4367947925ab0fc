"""Real daemons that were hurt: back to the last good model, and on from a backup."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import ROOT, Daemon, until

from identity.keys import SigningKey, format_peer
from node.daemon import KEY, back_up_node, roll_back
from node.exits import ALONE
from node.show.status import fetch_status

COMMON = ["network.name=recovery", "round.pace=0.1", "task.parts=2", "network.gather=0"]
Nodes = dict[str, Daemon]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def rows(daemon: Daemon, query: str, *values: object) -> list[tuple[object, ...]]:
    base = sqlite3.connect(daemon.folder / "state" / "ledger.sqlite")
    try:
        return base.execute(query, values).fetchall()
    finally:
        base.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = {
        "a": Daemon(tmp_path / "a", *COMMON, "task.part=0", f"network.listen=127.0.0.1:{free_port()}"),
        "b": Daemon(tmp_path / "b", *COMMON, "task.part=1", "network.listen=127.0.0.1:0"),
    }
    yield made
    for daemon in made.values():
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def knows(daemon: Daemon) -> str:
    """The setting by which another node knows this one."""
    return f'network.known=["{format_peer(SigningKey.load(daemon.folder / KEY).peer)}"]'


def page(daemon: Daemon) -> dict[str, object]:
    return fetch_status(daemon.folder)


def test_a_node_goes_back_to_its_last_good_model_running_or_not_and_its_chain_goes_on(nodes: Nodes) -> None:
    a = nodes["a"]
    a.start()
    a.told("status")
    until(lambda: page(a)["last_good"])
    before = a.round()
    words = roll_back(a.folder)
    assert words.startswith("goes on in round ")
    assert "the optimizer begins anew" in words
    until(lambda: words in a.said())
    until(lambda: a.round() > before + 5)

    a.kill()
    signed = int(str(rows(a, "SELECT MAX(round) FROM own")[0][0]))
    words = roll_back(a.folder)
    assert words.startswith(f"goes on in round {signed + 1} from the model of round ")
    a.start()
    until(lambda: f"resuming at round {signed + 1}\n" in a.said())
    until(lambda: a.round() > signed + 5)
    assert a.terminate()[0] == 0
    chain = rows(a, "SELECT sequence, round FROM own ORDER BY sequence")
    assert [sequence for sequence, _ in chain] == list(range(1, len(chain) + 1))
    assert len({round for _, round in chain}) == len(chain)


def test_a_copy_of_a_running_node_goes_on_without_contradicting_it(nodes: Nodes, tmp_path: Path) -> None:
    a, b = nodes["a"], nodes["b"]
    a.start(knows(b))
    b.start(f'network.join=["{a.told("join")}"]')

    def together() -> int:
        return sum(any(n["verdict"] == "taken" for n in record["neighbours"]) for record in b.records())

    until(lambda: together() >= 5)
    made = back_up_node(a.folder, tmp_path / "copy")
    assert made.headers >= 5
    copied = a.round()
    until(lambda: a.round() > copied + 12)
    a.kill()
    lost = a.round()
    shutil.rmtree(a.folder)
    (tmp_path / "copy").rename(a.folder)
    a.start(knows(b))
    until(lambda: a.round() > lost + 5)
    heard = together()
    until(lambda: together() > heard + 5)

    author = rows(a, "SELECT author FROM own LIMIT 1")[0][0]
    mine = dict(rows(a, "SELECT sequence, digest FROM own"))
    known = rows(b, "SELECT sequence, digest FROM other WHERE author = ?", author)
    assert known
    assert rows(b, "SELECT * FROM proof") == []
    assert all(mine[sequence] == digest for sequence, digest in known if sequence in mine)
    assert max(int(str(sequence)) for sequence, _ in known) > made.headers + 12
    dropped = page(b)["dropped"]
    assert isinstance(dropped, dict)
    assert not dropped.keys() & {"equivocation", "convicted", "round-order", "broken-chain"}
    for daemon in (a, b):
        assert daemon.terminate()[0] == 0


def test_a_node_whose_neighbour_is_gone_says_that_it_trains_alone(
    nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = nodes["a"], nodes["b"]
    a.start(knows(b))
    b.start(f'network.join=["{a.told("join")}"]')
    b.told("status")
    until(lambda: any(not record["alone"] for record in b.records()))
    assert page(b)["alone"] is None
    a.kill()
    alone = str(until(lambda: page(b)["alone"]))
    assert f"hedgerow run {b.folder} --join" in alone
    until(lambda: alone in b.said())
    assert {record["last_line"] for record in b.records()} >= {"unbacked"}
    done = subprocess.run(
        [sys.executable, "-m", "hedgerow", "status", str(b.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (ALONE, alone)
    a.start(knows(b))
    until(lambda: page(b)["alone"] is None)
    assert b.said().count("training alone since") == 1


def test_a_node_that_gives_models_to_known_peers_only_hears_a_stranger_and_is_not_heard_by_it(nodes: Nodes) -> None:
    a, b = nodes["a"], nodes["b"]
    a.start("network.models=known")
    b.start(f'network.join=["{a.told("join")}"]')

    def verdicts(daemon: Daemon) -> list[str]:
        return [n["verdict"] for record in daemon.records() for n in record["neighbours"]]

    until(lambda: verdicts(a).count("taken") >= 5)
    until(lambda: len(verdicts(b)) >= 5)
    assert set(verdicts(b)) == {"absent"}
