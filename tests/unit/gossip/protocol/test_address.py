"""Addresses: what is accepted can be dialled by others, written in one way; what is not is one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gossip.protocol.address import Address, dialable, locate
from gossip.protocol.errors import BadAddress


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("host:1", "host", 1),
        ("my_host:7700", "my_host", 7700),
        ("a.b-c.example.:65535", "a.b-c.example.", 65535),
        ("1.2.3.4:5", "1.2.3.4", 5),
        ("[::1]:80", "::1", 80),
        ("[0:0:0::1]:80", "::1", 80),
        (":4701", "", 4701),
        ("[::]:0", "::", 0),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert Address.parse(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not HOST:PORT"),
        ("host", "not HOST:PORT"),
        ("host:", "not HOST:PORT"),
        ("host:99999", "port from 0 to 65535"),
        ("h:123456", "not HOST:PORT"),
        ("h:1/x", "leave out http"),
        ("http://10.0.0.7:7700", "leave out http"),
        ("u@h:1", "no host name"),
        ("ho st:1", "no host name"),
        ("-h:1", "no host name"),
        ("::1:7700", r"in brackets, \[::1\]:PORT"),
        ("[fe80::1%eth0]:7700", "leave out %eth0"),
        ("[1.2.3.4]:1", "no IPv6 address"),
        ("127.1:1", "no IPv4 address"),
        ("0x7f.1:1", "no IPv4 address"),
        ("1.2.3.400:1", "no IPv4 address"),
    ],
)
def test_what_is_no_address_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(BadAddress, match=says) as caught:
        Address.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [":7700", "0.0.0.0:7700", "[::]:7700", "host:0"])
def test_what_is_for_listening_only_cannot_be_dialled(text: str) -> None:
    assert not Address.parse(text).dialable
    with pytest.raises(BadAddress, match="cannot be dialled"):
        dialable(text)


@given(st.text("aZ09_-.:[]%@/ ", max_size=24))
def test_what_can_be_dialled_has_one_spelling_which_the_http_client_understands(text: str) -> None:
    try:
        address = dialable(text)
    except BadAddress:
        return
    assert dialable(str(address)) == address
    url = URL(f"http://{address}/v1/gossip")
    assert (url.host, url.port) == (address.host.lower(), address.port)


def test_a_peer_is_where_it_says_or_where_it_is_seen() -> None:
    assert locate("host:1", "9.9.9.9") == "host:1"
    assert locate(":1", "9.9.9.9") == "9.9.9.9:1"
    assert locate("0.0.0.0:1", "9.9.9.9") == "9.9.9.9:1"
    assert locate("[::]:1", "fe80::1%eth0") == "[fe80::1]:1"
    assert locate(":1", "::ffff:9.9.9.9") == "9.9.9.9:1"  # as a socket for both families shows IPv4
    assert locate("[::1]:1", "::1") == "[::1]:1"
    assert [locate(one, "9.9.9.9") for one in ("nonsense", "::1:7700", "host:0", "")] == ["", "", "", ""]
