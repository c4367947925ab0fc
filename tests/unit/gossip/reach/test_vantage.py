"""What a node on every interface tells of itself: the address of its own that most others can use."""

from __future__ import annotations

import ipaddress

from peers import peer

from gossip.reach.vantage import Vantage, outward


def test_a_node_that_names_its_host_says_just_that() -> None:
    vantage = Vantage()
    vantage.joined(peer(1), "10.0.0.7")
    assert vantage.state("me.example:7") == "me.example:7"


def test_a_node_on_every_interface_says_where_it_was_met() -> None:
    vantage = Vantage()
    assert vantage.state(":7") == ":7"
    vantage.joined(peer(1), "127.0.0.1")
    assert vantage.state(":7") == "127.0.0.1:7"
    vantage.joined(peer(2), "::ffff:10.0.0.7")
    assert vantage.state(":7") == "10.0.0.7:7"
    vantage.joined(peer(3), "2a00:1450:4001::7")
    assert vantage.state(":7") == "[2a00:1450:4001::7]:7"
    vantage.joined(peer(4), "fe80::1%eth0")
    assert vantage.state(":7") == "[2a00:1450:4001::7]:7"
    vantage.left(peer(3))
    assert vantage.state(":7") == "10.0.0.7:7"


def test_the_last_address_is_kept_when_everybody_has_left() -> None:
    vantage = Vantage()
    vantage.joined(peer(1), "10.0.0.7")
    vantage.left(peer(1))
    assert vantage.state(":7") == "10.0.0.7:7"
    vantage.joined(peer(2), "")
    assert vantage.state(":7") == "10.0.0.7:7"


def test_this_machine_knows_an_address_of_its_own() -> None:
    assert not ipaddress.ip_address(outward()).is_unspecified
