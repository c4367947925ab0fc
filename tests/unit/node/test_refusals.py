"""What people are told of drops: each peer once, a crowd once an hour, and never nothing."""

from __future__ import annotations

from peers import peer

from gossip.protocol.errors import Drop
from gossip.protocol.events import Dropped
from node.alarms import Alarms
from node.refusals import EACH, HOUR, Refusals


def test_each_peer_is_named_once_for_a_reason() -> None:
    said: list[str] = []
    refusals = Refusals(said.append, lambda: 0.0, ())
    for _ in range(3):
        refusals.note(Dropped(Drop.BAD_SIGNATURE, peer(1)))
        refusals.note(Dropped(Drop.LENGTH, peer(1)))
        refusals.note(Dropped(Drop.UNWANTED, peer(1)))
    assert [line.partition("; ")[2] for line in said] == [
        "dropped: forged signature",
        "dropped: payload of a wrong length",
    ]


def test_a_peer_is_called_by_its_name_and_told_what_its_invitation_is_worth() -> None:
    said: list[str] = []
    refusals = Refusals(said.append, lambda: 0.0, (), lambda who: "bob (k5g6abcd...)")
    for reason in (Drop.MALFORMED, Drop.UNREACHABLE, Drop.INVITATION):
        refusals.note(Dropped(reason, peer(1)))
    assert all(line.startswith("peer bob (k5g6abcd...) ") for line in said)
    assert "invite it anew" in said[2]
    refusals.note(Dropped(Drop.INVITATION, None))
    assert said[3].startswith("a node that dialled us shows an invitation")


def test_a_crowd_is_one_sentence_an_hour_and_silences_no_other_word() -> None:
    said: list[str] = []
    now = [0.0]
    refusals = Refusals(said.append, lambda: now[0], ())
    for number in range(1, 400):
        refusals.note(Dropped(Drop.BAD_SIGNATURE, peer(number)))
    assert len(said) == EACH
    now[0] = HOUR
    refusals.note(Dropped(Drop.BAD_SIGNATURE, peer(400)))
    assert said[EACH:] == [
        f"others too, {400 - EACH} times in the last hour: misbehaves; dropped: forged signature",
    ]
    refusals.note(Dropped(Drop.LENGTH, peer(401)))
    assert len(said) == EACH + 2


def test_only_who_is_named_in_join_is_missed() -> None:
    said: list[str] = []
    refusals = Refusals(said.append, lambda: 0.0, ("host:1", "x@host:2"))
    for port in (1, 2, 3):
        refusals.note(Dropped(Drop.UNREACHABLE, None, f"host:{port}"))
    assert said == [f"the node at host:{port} cannot be reached: still trying" for port in (1, 2)]
    refusals.note(Dropped(Drop.UNREACHABLE, peer(1)))
    assert said[-1].endswith("it should set [network] advertise")


def test_an_alarm_is_said_once_and_stands_until_it_is_over() -> None:
    said: list[str] = []
    alarms = Alarms(said.append)
    alarms.clear("disk", "there is room")
    alarms.ring("disk", "full")
    alarms.ring("key", "elsewhere")
    alarms.ring("disk", "still full")
    assert alarms.now() == ["still full", "elsewhere"]
    alarms.clear("disk", "there is room")
    assert alarms.now() == ["elsewhere"]
    assert said == ["full", "elsewhere", "there is room"]
