"""What others see of a node that listens on every interface: its own end of each connection.

Laws:
- Only our own sockets are asked, nobody's word: an address translator between us and the others is not seen from here
  (then the operator advertises an address).
- One address is told to all, the one that most can use: public before private, private before link-local and loopback;
  of equals the newest.
"""

from __future__ import annotations

import ipaddress
import socket

from gossip.protocol.address import Address, public
from identity.keys import PeerId

PROBE = "192.0.2.1"  # an address that is nobody's (RFC 5737): to ask the system which of ours it would use


class Vantage:
    """Our own IP address on each connection."""

    def __init__(self) -> None:
        self._here: dict[PeerId, str] = {}

    def joined(self, peer: PeerId, here: str) -> None:
        """We are connected to a peer, at this address of ours; "" if the connection has none."""
        self._here.pop(peer, None)
        if here:
            self._here[peer] = here

    def left(self, peer: PeerId) -> None:
        """A connection has ended."""
        if len(self._here) > 1:  # with the last one we know nothing better
            self._here.pop(peer, None)

    def state(self, listening: str) -> str:
        """The address to tell others: as it is, or with the host that it leaves to them filled in if we know it."""
        if not listening.startswith(":") or not self._here:
            return listening
        _, _, best = max((_reach(here), age, here) for age, here in enumerate(self._here.values()))
        return str(Address.parse(listening).at(best))


def outward() -> str:
    """The IP address that this machine would reach others from, without sending anything; loopback if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((PROBE, 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _reach(here: str) -> int:
    address = ipaddress.ip_address(here.partition("%")[0])
    if public(str(address)) is not None:
        return 2
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return 0 if (mapped or address).is_loopback or address.is_link_local else 1
