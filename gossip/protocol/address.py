"""Where peers listen: "host:port", and nothing else that a URL could hide in.

Laws:
- A name, an IPv4 or a bracketed IPv6 address, a colon, a port; no user, path or scheme. An empty host means "the
  address you see me from", which is what a peer says that listens on every interface.
- Who is outside leads nobody inside: a peer that is seen at a public address cannot point us at one that is not public,
  in whatever spelling, such as a service behind our own firewall. Names are not looked up here: what they resolve to is
  not judged.
"""

from __future__ import annotations

import ipaddress
import re

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_ADDRESS = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]|):[0-9]{1,5}")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")  # what resolvers read as an IPv4 address: 127.1, 0x7f.1, 2130706433
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that is assigned of public IPv6 (RFC 4291, section 2.4)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 addresses as IPv6-only hosts see them (RFC 6052)


def is_address(text: str) -> bool:
    """Whether this is "host:port"; the host may be empty."""
    return _ADDRESS.fullmatch(text) is not None


def is_unspecified(host: str) -> bool:
    """Whether listening on this host means listening on every interface."""
    return host in ("", "0.0.0.0", "::")


def public(text: str) -> Ip | None:
    """The public address that this text is: IPv4 where it wraps one. None for all other addresses, and for names."""
    try:
        address: Ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _TRANSLATED else None
        address = address.ipv4_mapped or address.sixtofour or within or address
    unicast = address in _UNICAST if address.version == 6 else not address.is_multicast
    return address if unicast and address.is_global else None


def leads_inside(address: str, seen: str) -> bool:
    """Whether somebody outside points at what is not public.

    Args:
        address: "host:port", as stated.
        seen: the IP address that we see the one from who tells it.
    """
    host = address.rpartition(":")[0].strip("[]").casefold()
    if public(seen) is None or public(host) is not None:
        return False
    last = host.rstrip(".").rpartition(".")[2]  # no name ends in a number
    return ":" in host or last == "localhost" or _NUMBER.fullmatch(last) is not None


def locate(address: str, seen: str) -> str:
    """Where a peer that dialled us is reached.

    Args:
        address: its own word.
        seen: the IP address that we see it from.

    Returns:
        "host:port", or "" if its word is no address. The host is the one it is seen from if it states none, or one
        that leads inside.
    """
    if not is_address(address):
        return ""
    host, _, port = address.rpartition(":")
    if host and not leads_inside(address, seen):
        return address
    return f"[{seen}]:{port}" if ":" in seen else f"{seen}:{port}"
