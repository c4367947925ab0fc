"""Real daemons that know each other by vouches: who is heard from afar, over kills, attacks and a word taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Daemon, hedgerow, name_of, until

from node.show.status import fetch_status
from node.society import listed
from simulator.live.campaign import Bounds
from simulator.live.harness import assault
from simulator.live.suites import Trial

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


def near(daemon: Daemon) -> set[str]:
    """Whom statements lead to."""
    return {row["peer"] for row in listed(daemon.folder) if row["standing"] is not None}


def start(started: list[Daemon], folder: Path, *settings: str, by: Daemon | None = None) -> Daemon:
    """Run a node in a new folder; `by`: who invites it."""
    ticket = hedgerow("invite", by.folder).strip() if by else None
    daemon = Daemon(folder, *settings, ticket=ticket)
    started.append(daemon)
    daemon.start()
    daemon.told("status")
    return daemon


@pytest.fixture
def started() -> Iterator[list[Daemon]]:
    daemons: list[Daemon] = []
    yield daemons
    for daemon in daemons:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


@pytest.fixture
def chain(started: list[Daemon], tmp_path: Path) -> list[Daemon]:
    for number in range(NODES):
        by = started[-1] if started else None
        start(started, tmp_path / f"node{number}", *COMMON, f"task.part={number}", by=by)
    return started


def heard(daemon: Daemon, since: int = -1, far: bool = False) -> set[str]:
    """Whose models counted for something in rounds after this one; `far`: of those, who was heard from afar."""
    rows = [row for record in daemon.records() if record["round"] > since for row in record["neighbours"]]
    return {row["peer"] for row in rows if row["weight"] > 0 and (row.get("far") or not far)}


def test_a_chain_hears_known_peers_from_afar_and_goes_on_when_one_is_killed(chain: list[Daemon]) -> None:
    """Who dials for what another says is a near neighbour there; so each end hears all, and the later one from afar."""
    first, *_, last = chain
    names = [name_of(daemon) for daemon in chain]
    for daemon in (first, last):
        others = set(names) - {name_of(daemon)}
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


async def test_the_last_of_a_chain_holds_two_unlike_sybils_and_a_vouch_taken_back_is_forgotten_in_ten_rounds(
    chain: list[Daemon],
) -> None:
    *others, inviter, last = chain
    until(lambda: heard(last) == {name_of(daemon) for daemon in chain} - {name_of(last)})
    sybils = Trial("label-flip+structured-noise", {"of": "update"}, sybils=2, rounds=8)
    (row,) = await assault(last.folder, trials=[("sybil", sybils)], bounds=Bounds(seed=4))
    assert row.passed, row

    until(lambda: all(name_of(last) in near(daemon) for daemon in others))
    said = {daemon: daemon.round() for daemon in others}
    hedgerow("distrust", inviter.folder, name_of(last))
    for daemon in others:
        until(lambda daemon=daemon: name_of(last) not in near(daemon))  # type: ignore[misc]
    # the command takes rounds of its own to begin, which are no rounds of the network's
    for daemon in others:
        until(lambda daemon=daemon: daemon.round() >= said[daemon] + 16)  # type: ignore[misc]
        assert name_of(last) not in heard(daemon, daemon.round() - 2, far=True)
        assert name_of(last) not in near(daemon)


def test_whom_only_one_neighbour_can_reach_is_heard_by_another_through_it_in_rounds_of_50_ms(
    started: list[Daemon], tmp_path: Path
) -> None:
    quick = [setting for setting in COMMON if not setting.startswith(("round.pace", "task.parts"))]
    quick += ["round.pace=0.05", "task.parts=3", 'network.models="known"']
    hub = start(started, tmp_path / "hub", *quick, "task.part=0")
    allow = f'network.allow=["{name_of(hub)}"]'
    hidden = start(started, tmp_path / "hidden", *quick, allow, "task.part=1", by=hub)
    alice = start(started, tmp_path / "alice", *quick, "task.part=2", by=hub)
    until(lambda: name_of(hidden) in heard(alice, far=True))
    since = alice.round()
    until(lambda: alice.round() >= since + 100)
    rounds = [record for record in alice.records() if since < record["round"] <= since + 100]
    spoke = [row for record in rounds for row in record["neighbours"] if row["peer"] == name_of(hidden)]
    assert sum(row["verdict"] != "absent" for row in spoke) >= 50
    assert name_of(hidden) not in [row["peer"] for row in fetch_status(alice.folder)["neighbours"] if row["connected"]]
