"""Real daemons and the commands of those who run them: invite, trust and distrust while nodes run, over kill -9."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, hedgerow, name_of, until

from identity.keys import SigningKey, format_peer
from node.errors import NodeError
from node.show.status import fetch_status
from node.society import listed

COMMON = ["network.name=people", "round.pace=0.2", "round.evaluate_every=0", "task.parts=4"]


def listening() -> str:
    """An address that a node can listen on again after it was killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f'network.listen="127.0.0.1:{free.getsockname()[1]}"'


def people(daemon: Daemon) -> dict[str, tuple[str, str]]:
    rows = json.loads(hedgerow("people", daemon.folder, "--json"))["people"]
    return {row["peer"]: (row["state"], row["name"]) for row in reversed(rows)}


def status(daemon: Daemon) -> dict[str, Any]:
    try:
        return fetch_status(daemon.folder)
    except NodeError:  # on its way up
        return {"neighbours": [], "asks": [], "people": []}


def link(daemon: Daemon, other: Daemon) -> tuple[bool, str]:
    """Whether a node is linked with another, and how that stands there."""
    found = [each for each in status(daemon)["neighbours"] if each["peer"] == name_of(other)]
    return (bool(found[0]["connected"]), str(found[0]["standing"])) if found else (False, "")


def linked(daemon: Daemon, other: Daemon, standing: str) -> bool:
    return link(daemon, other) == (True, standing)


def beside(daemon: Daemon, other: Daemon, rounds: int) -> None:
    """Wait until so many more rounds have closed with that neighbour there."""

    def count() -> int:
        return sum(name_of(other) in [each["peer"] for each in record["neighbours"]] for record in daemon.records())

    before = count()
    until(lambda: count() >= before + rounds)


@pytest.fixture
def started() -> Iterator[list[Daemon]]:
    daemons: list[Daemon] = []
    yield daemons
    for daemon in daemons:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def start(started: list[Daemon], folder: Path, *settings: str, ticket: str | None = None) -> Daemon:
    daemon = Daemon(folder, *COMMON, listening(), *settings, ticket=ticket)
    started.append(daemon)
    daemon.start()
    daemon.told("status")
    return daemon


def test_people_come_to_know_each_other_by_a_ticket_or_by_a_word_and_a_word_ends_it(
    started: list[Daemon], tmp_path: Path
) -> None:
    alice = start(started, tmp_path / "alice", "task.part=0")
    line = hedgerow("invite", alice.folder, "--name", "bob").strip()
    bob = start(started, tmp_path / "bob", "task.part=1", ticket=line)
    until(lambda: linked(alice, bob, "named") and linked(bob, alice, "named"))
    assert people(alice) == {name_of(bob): ("known", "bob")}
    until(lambda: people(bob) == {name_of(alice): ("known", "")})  # it was told that the invitation was taken
    assert "redeemed" in hedgerow("invite", alice.folder, "--list")
    assert "redeemed its invitation" in alice.said()

    # whoever joins by address knows whom it dialled, and asks there
    carol = start(
        started, tmp_path / "carol", "task.part=2", f'network.join=["{alice.told("join").partition("@")[2]}"]'
    )
    until(lambda: [ask["peer"] for ask in status(alice)["asks"]] == [name_of(carol)])
    assert linked(carol, alice, "named")
    assert link(alice, carol)[1].startswith("stranger")
    typed = status(alice)["asks"][0]["type"]
    assert typed in hedgerow("status", alice.folder)
    hedgerow(*shlex.split(typed)[1:], "--name", "carol")
    until(lambda: linked(alice, carol, "named") and not status(alice)["asks"])

    # all of it outlives a kill -9, at both ends
    for daemon in (alice, carol):
        daemon.kill()
    carol.start()
    alice.start()
    until(lambda: linked(alice, bob, "named") and linked(alice, carol, "named") and linked(carol, alice, "named"))
    assert {each["peer"]: each["name"] for each in status(alice)["neighbours"]}[name_of(bob)] == "bob"

    # distrust ends the link while both run, and nobody gets around it
    hedgerow("distrust", alice.folder, "bob")
    until(lambda: not link(alice, bob)[0])
    beside(alice, carol, 10)
    assert [each["peer"] for each in alice.records()[-1]["neighbours"]] == [name_of(carol)]
    alice.kill()
    alice.start()
    until(lambda: linked(alice, carol, "named"))
    until(lambda: status(alice)["dropped"].get("distrusted", 0) > 0)  # it has tried
    beside(alice, carol, 5)
    assert not link(alice, bob)[0]
    hedgerow("trust", alice.folder, name_of(bob)[:8])
    until(lambda: linked(alice, bob, "named"))


def test_an_allow_list_lets_in_whoever_redeems_and_keeps_out_the_others(started: list[Daemon], tmp_path: Path) -> None:
    friend = format_peer(SigningKey.generate().peer)
    alice = start(started, tmp_path / "alice", "task.part=0", f'network.allow=["{friend}"]')
    address = alice.told("join")
    line = hedgerow("invite", alice.folder, "--name", "bob").strip()
    stranger = start(started, tmp_path / "stranger", "task.part=2", f'network.join=["{address}"]')
    until(lambda: status(alice)["dropped"].get("not-allowed", 0) > 0)
    bob = start(started, tmp_path / "bob", "task.part=1", ticket=line)
    until(lambda: linked(alice, bob, "named"))
    beside(alice, bob, 5)
    thief = start(started, tmp_path / "thief", "task.part=3", ticket=line)  # the same line, once more
    until(lambda: status(alice)["dropped"].get("not-allowed", 0) > 1 and status(thief)["neighbours"] == [])
    alice.kill()
    alice.start()
    until(lambda: linked(alice, bob, "named"))
    beside(alice, bob, 5)
    there = {each["peer"] for record in alice.records() for each in record["neighbours"]}
    assert there == {name_of(bob)}
    assert name_of(stranger) not in people(alice)
    assert name_of(thief) not in people(alice)


def near(daemon: Daemon) -> dict[str, str]:
    """Whom statements lead to, and how that stands."""
    return {row["peer"]: row["state"] for row in listed(daemon.folder) if row["standing"] is not None}


def newest(daemon: Daemon) -> int:
    rounds = [int(record["round"]) for record in daemon.records()]
    return max(rounds, default=0)


def test_a_vouch_reaches_a_friends_friend_survives_kill_9_and_is_forgotten_within_ten_rounds(
    started: list[Daemon], tmp_path: Path
) -> None:
    alice = start(started, tmp_path / "alice", "task.part=0")
    bob = start(
        started, tmp_path / "bob", "task.part=1", ticket=hedgerow("invite", alice.folder, "--name", "bob").strip()
    )
    carol = start(
        started, tmp_path / "carol", "task.part=2", ticket=hedgerow("invite", bob.folder, "--name", "carol").strip()
    )
    until(lambda: near(carol).get(name_of(alice)) == "near by vouches")
    until(lambda: near(alice) == {name_of(bob): "known", name_of(carol): "near by vouches"})
    for daemon in (alice, carol):
        daemon.kill()
    assert near(alice) == {name_of(bob): "known", name_of(carol): "near by vouches"}  # from its table
    for daemon in (alice, carol):
        daemon.start()
    until(lambda: linked(alice, bob, "named") and linked(carol, bob, "named"))
    until(lambda: abs(newest(alice) - newest(bob)) <= 2)
    hedgerow("distrust", bob.folder, "carol")
    said = max(newest(alice), newest(bob))
    until(lambda: name_of(carol) not in near(alice))
    assert newest(alice) <= said + 10
    assert near(alice) == {name_of(bob): "known"}
    assert near(bob) == {name_of(alice): "known"}
