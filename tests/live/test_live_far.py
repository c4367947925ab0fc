"""Real daemons in a chain of invitations: both ends hear far peers, and rounds go on when one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import ROOT, Daemon, until

from identity.keys import SigningKey, format_peer
from node.daemon import KEY
from node.show.status import fetch_status

NODES = 5
COMMON = [
    "network.name=chain",
    'network.listen="127.0.0.1:0"',
    "network.degree=1",  # nobody looks for further neighbours
    "network.far=2",
    "network.enough=1",
    "rule.name=hedgerow-known",
    "round.pace=0.5",
    "round.evaluate_every=0",
    f"task.parts={NODES}",
]


def hedgerow(*words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hedgerow", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def name(daemon: Daemon) -> str:
    return format_peer(SigningKey.load(daemon.folder / KEY).peer)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[list[Daemon]]:
    daemons: list[Daemon] = []
    try:
        for number in range(NODES):
            ticket = hedgerow("invite", daemons[-1].folder).strip() if daemons else None
            daemons.append(Daemon(tmp_path / f"node{number}", *COMMON, f"task.part={number}", ticket=ticket))
            daemons[-1].start()
            daemons[-1].told("status")
        yield daemons
    finally:
        for daemon in daemons:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.kill()


def heard(daemon: Daemon, since: int = -1, far: bool = False) -> set[str]:
    """Whose models counted for something in rounds after this one; `far`: of those, who was heard from afar."""
    rows = [row for record in daemon.records() if record["round"] > since for row in record["neighbours"]]
    return {row["peer"] for row in rows if row["weight"] > 0 and (row.get("far") or not far)}


def test_a_chain_hears_known_peers_from_afar_and_goes_on_when_one_is_killed(chain: list[Daemon]) -> None:
    """Who dials for what another says is a near neighbour there; so each end hears all, and the later one from afar."""
    first, *_, last = chain
    names = [name(daemon) for daemon in chain]
    for daemon in (first, last):
        others = set(names) - {name(daemon)}
        until(lambda daemon=daemon, others=others: heard(daemon) == others)  # type: ignore[misc]
        assert all(sum(bool(row.get("far")) for row in record["neighbours"]) <= 2 for record in daemon.records())
        shown = fetch_status(daemon.folder)
        assert all(row["vouched"] > 0 for row in shown["neighbours"])
        assert shown["far"]["wanted"] == 2
    until(lambda: heard(last, far=True))
    assert "drawn from afar" in hedgerow("status", last.folder)

    chain[2].kill()
    for daemon, other in ((first, names[4]), (last, names[0])):
        since = daemon.round()
        until(lambda daemon=daemon, since=since: daemon.round() >= since + 12)  # type: ignore[misc]
        until(lambda daemon=daemon, since=since, other=other: other in heard(daemon, since + 4))  # type: ignore[misc]
        assert not any(record["alone"] for record in daemon.records() if record["round"] > since + 4)
