"""Places for those who dial us: who stays when they are short. Pure.

Laws:
- Decided once it is known who somebody is, never by who came first: a known peer takes the place of a stranger.
- At most `Limits.inbound` in all; strangers hold at most `Limits.inbound` - `Limits.inbound_known` of them, and of one
  public network at most `Limits.group`.
- Among strangers (the newcomer is one of them) goes who is of the fullest network; of these who gave the fewest
  payloads, then who came last. So a crowd pushes out itself, and nobody is pushed out by somebody who has done no more.
Addresses that are not public (loopback, private, link-local) have no network, each is one of its own: whoever can flood
from there is inside already, and a laboratory is one /24.

Source: eviction of inbound peers in Bitcoin Core (`SelectNodeToEvict`), after Heilman et al., "Eclipse attacks on
Bitcoin's peer-to-peer network", USENIX Security 2015.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gossip.protocol.address import public
from gossip.protocol.limits import Limits
from identity.keys import PeerId


def group_of(seen: str) -> str:
    """The network of an IP address that we see somebody from: its /24 or /48; "" if it is not public or no address."""
    address = public(seen)
    if address is None:
        return ""
    width = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, width), strict=False))


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who dialled us.

    Attributes:
        peer: who.
        known: no stranger.
        group: the public network that we see it in, "" if it has none.
        gave: payloads that it gave us over this link.
        born: when the link began, in the loop's seconds.
    """

    peer: PeerId
    known: bool
    group: str
    gave: int
    born: float


def who_goes(newcomer: Guest, inside: Sequence[Guest], limits: Limits) -> Guest | None:
    """Who has to go so that the newcomer may come in: nobody (None), one of those inside, or the newcomer itself.

    Args:
        newcomer: who has just proved who it is.
        inside: all others who dialled us, and are not on their way out.
        limits: `inbound*` and `group` are used.
    """
    strangers = [guest for guest in inside if not guest.known]
    if newcomer.known:
        if len(inside) < limits.inbound:
            return None
        return _last(strangers) if strangers else newcomer
    crowded = newcomer.group != "" and sum(guest.group == newcomer.group for guest in strangers) >= limits.group
    if crowded:
        return newcomer
    if len(inside) < limits.inbound and len(strangers) < limits.inbound - limits.inbound_known:
        return None
    return _last([*strangers, newcomer])


def _last(strangers: Sequence[Guest]) -> Guest:
    """Of these the one with the weakest claim to its place."""
    sizes = Counter(guest.group for guest in strangers if guest.group)
    return min(strangers, key=lambda guest: (-max(1, sizes[guest.group]), guest.gave, -guest.born, guest.peer))
