"""Inviting and accepting: a ticket makes a node.toml that joins; what cannot work is one sentence and makes nothing."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from gossip.protocol.messages import Ticket
from gossip.protocol.ticket import format_ticket, mark, parse_ticket
from identity.keys import PeerId, SigningKey, format_peer, parse_peer
from node.config import FILE, load_config
from node.daemon import init_node
from node.errors import ConfigError, NodeError
from node.society import invite, listed, people_of, say
from node.store.invitations import Invitations
from node.store.people import State

OTHER = SigningKey(bytes([7]) * 32).peer


def made(folder: Path, **network: Any) -> PeerId:
    return parse_peer(init_node(folder, {"network": {"listen": "127.0.0.1:7700", **network}}).peer)


def test_a_ticket_makes_a_node_that_joins_knows_its_inviter_and_holds_the_invitation(tmp_path: Path) -> None:
    alice = made(tmp_path / "alice", name="garden", listen="192.0.2.9:7700")
    line = invite(tmp_path / "alice", "bob")
    assert (line.address, line.local) == ("192.0.2.9:7700", False)
    init_node(tmp_path / "bob", {"network": {"listen": "127.0.0.1:7701"}}, line.ticket)
    network = load_config(tmp_path / "bob" / FILE).network
    assert network.name == "garden"
    assert network.join == (f"{format_peer(alice)}@192.0.2.9:7700",)
    assert network.known == (format_peer(alice),)
    assert network.listen == "127.0.0.1:7701"
    ticket = parse_ticket(line.ticket)
    assert (ticket.network, ticket.task, ticket.encoding, ticket.secret) == ("garden", "digits", "f4", b"")
    with people_of(tmp_path / "bob") as people:
        assert Invitations(people).held() == {alice: mark(ticket.invitation)}
    with people_of(tmp_path / "alice") as people:
        (kept,) = Invitations(people).all()
        assert (kept.mark, kept.alias, kept.peer) == (mark(ticket.invitation), "bob", None)
    assert stat.S_IMODE((tmp_path / "bob" / "state").stat().st_mode) == 0o700
    assert [row["state"] for row in listed(tmp_path / "bob")] == [
        "known by node.toml",
        "has not taken our invitation yet",
    ]


def test_an_open_ticket_makes_nobody_known(tmp_path: Path) -> None:
    made(tmp_path / "alice")
    line = invite(tmp_path / "alice", everybody=True)
    assert parse_ticket(line.ticket).invitation == b""
    assert line.local
    init_node(tmp_path / "bob", ticket=line.ticket)
    assert load_config(tmp_path / "bob" / FILE).network.known == ()
    assert not (tmp_path / "bob" / "state").exists()
    with people_of(tmp_path / "alice") as people:
        assert Invitations(people).all() == []


def test_an_open_ticket_names_others_to_join_by_too_at_most_four_and_an_invitation_its_inviter_alone(
    tmp_path: Path,
) -> None:
    others = [f"{format_peer(SigningKey(bytes([n]) * 32).peer)}@host:{7000 + n}" for n in range(1, 7)]
    alice = made(tmp_path / "alice", join=["host:1", *others])
    peers = parse_ticket(invite(tmp_path / "alice", everybody=True).ticket).peers
    assert [address for _, address in peers] == ["127.0.0.1:7700", "host:7001", "host:7002", "host:7003"]
    assert peers[0][0] == alice
    assert parse_ticket(invite(tmp_path / "alice").ticket).peers == peers[:1]  # whom one dials, one knows


@pytest.mark.parametrize(
    ("network", "words", "options"),
    [
        ({"listen": "127.0.0.1:0"}, "port that is not known", {}),
        ({"allow": [format_peer(OTHER)]}, "without --open", {"everybody": True}),
        ({}, "leave one of them out", {"everybody": True, "name": "bob"}),
        ({}, "printable", {"name": "x" * 33}),
        ({"name": "n" * 200}, "does not fit", {}),
    ],
)
def test_what_cannot_be_invited_to_is_one_sentence(
    tmp_path: Path, network: dict[str, Any], words: str, options: dict[str, Any]
) -> None:
    made(tmp_path / "alice", **network)
    with pytest.raises(NodeError, match=words):
        invite(tmp_path / "alice", **options)
    with people_of(tmp_path / "alice") as people:
        assert Invitations(people).all() == []


def test_there_has_to_be_a_node(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hedgerow init"):
        invite(tmp_path / "nobody")
    with pytest.raises(ConfigError, match="hedgerow init"):
        say(tmp_path / "nobody", format_peer(OTHER), State.KNOWN)
    assert not (tmp_path / "nobody").exists()


TICKET = Ticket("garden", "digits", "", bytes(16), ((OTHER, "host:1"),))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peers": ()}, "no node to join"),
        ({"peers": ((OTHER, "nowhere"),)}, "HOST:PORT"),
        ({"task": "antigravity:fly"}, "--task antigravity:fly"),
    ],
)
def test_a_ticket_that_leads_nowhere_or_chooses_code_makes_no_node(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    fields = {"network": "garden", "task": "digits", "model": "", "invitation": bytes(16), "peers": TICKET.peers}
    with pytest.raises(ConfigError, match=words):
        init_node(tmp_path / "bob", ticket=format_ticket(Ticket(**{**fields, **changes})))
    assert not (tmp_path / "bob").exists()


def test_what_is_typed_goes_before_what_a_ticket_says(tmp_path: Path) -> None:
    line = format_ticket(Ticket("garden", "module:task", "mlp", b"", TICKET.peers))
    init_node(tmp_path / "bob", {"task": {"name": "digits"}, "network": {"join": ["host:9"]}}, line)
    config = load_config(tmp_path / "bob" / FILE)
    assert (config.task.name, config.task.model) == ("digits", "mlp")
    assert config.network.join == ("host:9",)


def test_a_damaged_ticket_makes_no_node(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="damaged"):
        init_node(tmp_path / "bob", ticket=format_ticket(TICKET)[:-3])
    assert not (tmp_path / "bob").exists()


def test_a_node_says_nothing_of_itself(tmp_path: Path) -> None:
    own = made(tmp_path / "alice")
    for state in (State.KNOWN, State.DISTRUSTED):
        with pytest.raises(ConfigError, match="this node itself"):
            say(tmp_path / "alice", format_peer(own), state)
    assert listed(tmp_path / "alice") == []


def test_what_is_said_of_peers_before_a_first_run(tmp_path: Path) -> None:
    made(tmp_path / "alice", known=[format_peer(OTHER)])
    assert [row["state"] for row in listed(tmp_path / "alice")] == ["known by node.toml"]
    assert say(tmp_path / "alice", format_peer(OTHER), State.KNOWN, "bob").startswith("bob (")
    assert say(tmp_path / "alice", "bob", State.DISTRUSTED).startswith("bob (")
    (row,) = listed(tmp_path / "alice")
    assert row == {"peer": format_peer(OTHER), "state": "distrusted", "name": "bob", "since": 0, "standing": None}
