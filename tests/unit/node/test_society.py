"""Inviting and accepting: a ticket makes a node.toml that joins; what cannot work is one sentence and makes nothing."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gossip.protocol.codec import VOUCH, encode_vouch
from gossip.protocol.messages import Ticket, Vouch
from gossip.protocol.ticket import format_ticket, mark, parse_ticket
from gossip.vouching import Statement
from identity.envelope import digest_of, seal
from identity.keys import PeerId, SigningKey, format_peer, parse_peer
from node.config import FILE, load_config
from node.daemon import init_node
from node.errors import ConfigError, NodeError
from node.society import invite, listed, people_of, say
from node.store.invitations import Invitations
from node.store.people import State
from node.store.vouches import VouchTable
from node.trust.vouches import NEAR
from simulator.cli import app


def statement(network: bytes, issuer: SigningKey, subject: PeerId) -> Statement:
    vouch = Vouch(network, issuer.peer, subject, 1, 60_000)
    body = encode_vouch(vouch)
    return Statement.of(vouch, digest_of(VOUCH, body), seal(issuer, VOUCH, body))


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


def test_whoever_joins_by_a_ticket_may_name_its_inviter(tmp_path: Path) -> None:
    alice = made(tmp_path / "alice")
    line = invite(tmp_path / "alice", "bob").ticket
    with pytest.raises(ConfigError, match="--ticket"):
        init_node(tmp_path / "bob", inviter="my friend")
    with pytest.raises(ConfigError, match="a name has 1 to 32"):
        init_node(tmp_path / "bob", ticket=line, inviter=" ")
    assert not (tmp_path / "bob").exists()
    init_node(tmp_path / "bob", ticket=line, inviter="my friend")
    rows = [(row["peer"], row["state"], row["name"]) for row in listed(tmp_path / "bob")]
    assert rows[0] == (format_peer(alice), "known", "my friend")
    with people_of(tmp_path / "bob") as people:
        assert people.find("my friend") == alice
        assert list(Invitations(people).held()) == [alice]


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


def test_who_is_near_by_vouches_stands_with_p_beside_the_named(tmp_path: Path) -> None:
    made(tmp_path / "alice", name="garden")
    key = SigningKey.load(tmp_path / "alice" / "key")
    bob, carol = SigningKey(bytes([8]) * 32), SigningKey(bytes([9]) * 32)
    network = load_config(tmp_path / "alice" / FILE).network_id()
    say(tmp_path / "alice", format_peer(bob.peer), State.KNOWN, "bob")
    with people_of(tmp_path / "alice") as people:
        pairs = [(key, bob), (bob, key), (bob, carol), (carol, bob)]
        statements = [statement(network, issuer, subject.peer) for issuer, subject in pairs]
        VouchTable(people, network).keep({each.pair: each for each in statements}, key.peer)
    named, near = listed(tmp_path / "alice")
    assert (named["name"], named["state"], named["standing"] > 0.3) == ("bob", "known", True)
    assert (near["peer"], near["state"], near["standing"] > NEAR) == (format_peer(carol.peer), "near by vouches", True)
    said = CliRunner().invoke(app, ["people", str(tmp_path / "alice")]).stdout.splitlines()
    assert said[1] == f"{format_peer(carol.peer)}  near by vouches  -  trust {near['standing']:.1%}"
    say(tmp_path / "alice", "bob", State.DISTRUSTED)
    assert [(row["state"], row["standing"]) for row in listed(tmp_path / "alice")] == [("distrusted", None)]


@pytest.mark.parametrize(
    ("vouch", "trusted", "untrusted"),
    [
        (True, "everybody in this network will be able to see", "will be told that it does so no more"),
        (False, "nobody else is told", "nobody else is told"),
    ],
)
def test_each_command_says_to_whom_it_shows_what(tmp_path: Path, vouch: bool, trusted: str, untrusted: str) -> None:
    made(tmp_path / "alice", vouch=vouch)
    folder, run = str(tmp_path / "alice"), CliRunner().invoke
    peer = format_peer(OTHER)
    ticket = run(app, ["invite", folder])
    assert trusted in ticket.stderr
    assert ticket.stdout.startswith("hedgerow1")
    assert ticket.stdout.count("\n") == 1
    assert "able to see" not in run(app, ["invite", folder, "--open"]).stderr
    assert trusted in run(app, ["trust", folder, peer]).stdout
    assert untrusted in run(app, ["distrust", folder, peer]).stdout
    assert untrusted in run(app, ["people", folder, "--forget", peer]).stderr
    told = run(app, ["init", str(tmp_path / "bob"), "--ticket", ticket.stdout.strip()])
    assert "able to see" in told.stderr


def test_what_is_no_peer_is_said_in_a_sentence(tmp_path: Path) -> None:
    made(tmp_path / "alice")
    for text, words in (("a" * 52, "small order"), ("1" * 52, "a-z and 2-7"), ("nobody", "nobody here")):
        with pytest.raises(ConfigError, match=words):
            say(tmp_path / "alice", text, State.KNOWN)
