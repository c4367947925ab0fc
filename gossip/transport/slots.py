"""Inbound connections, counted: so many in all, and so many from one public network.

Laws: what was entered is left once. Addresses that are not public (loopback, private, link-local) have no group:
whoever can flood from there is inside already, and a laboratory is one /24.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

from gossip.protocol.address import public
from gossip.protocol.limits import Limits


def group_of(seen: str) -> str:
    """The network of an IP address that we see somebody from: its /24 or /48; "" if it is not public or no address."""
    address = public(seen)
    if address is None:
        return ""
    width = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, width), strict=False))


class Slots:
    """Places for those who dial us."""

    def __init__(self, limits: Limits) -> None:
        """All are free; `inbound` and `group` are used."""
        self._limits = limits
        self._groups: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._groups.total()

    def enter(self, seen: str) -> bool:
        """Take a place for a connection from this IP address; False if there is none."""
        group = group_of(seen)
        crowded = group != "" and self._groups[group] >= self._limits.group
        if crowded or len(self) >= self._limits.inbound:
            return False
        self._groups[group] += 1
        return True

    def leave(self, seen: str) -> None:
        """Give a place back."""
        group = group_of(seen)
        self._groups[group] -= 1
        assert self._groups[group] >= 0, "left more often than entered"
        if not self._groups[group]:
            del self._groups[group]
