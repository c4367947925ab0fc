"""Where peers listen: one type, one parser, one printer, for node.toml, the command line, hellos and records.

Laws:
- A name, an IPv4 or a bracketed IPv6 address, a colon, a port; no user, path or scheme. Underscores are letters:
  names with them resolve in practice (docker compose). What only a resolver reads as an IPv4 address (127.1,
  0x7f.1) and what holds on one machine only (a zone, %eth0) is no address.
- No host means "the address you see me from": what a peer says in its hello when it listens on every interface. Such
  an address is for whoever is connected, nobody can pass it on; `dialable` is what can.
- Who is outside leads nobody inside: a peer that is seen at a public address cannot point us at one that is not public,
  in whatever spelling, such as a service behind our own firewall. Names are not looked up here: what they resolve to is
  not judged.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from gossip.protocol.errors import BadAddress

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_PORT = 65535
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_PORT = re.compile(r"[0-9]{1,5}")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")  # what resolvers read as an IPv4 address: 127.1, 0x7f.1, 2130706433
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that is assigned of public IPv6 (RFC 4291, section 2.4)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 addresses as IPv6-only hosts see them (RFC 6052)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port.

    Attributes:
        host: a name or an IP address, without brackets; "" is the one that the reader sees the writer at.
        port: 0 to 65535; 0, any free one, is for listening only.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read "host:port", "[IPv6]:port" or ":port".

        Raises:
            BadAddress: it is something else; the message says what would be right.
        """
        if "://" in text or "/" in text:
            raise BadAddress(f"'{text}' is not HOST:PORT: leave out http:// and whatever follows the port")
        host, colon, port = text.rpartition(":")
        if not (colon and _PORT.fullmatch(port) and int(port) <= MAX_PORT):
            raise BadAddress(f"'{text}' is not HOST:PORT with a port from 0 to {MAX_PORT}")
        return cls(_read_host(text, host), int(port))

    @property
    def everywhere(self) -> bool:
        """Whether listening here means listening on every interface, so that the host says nothing to others."""
        return self.host in ("", "0.0.0.0") or (":" in self.host and not int(ipaddress.IPv6Address(self.host)))

    @property
    def dialable(self) -> bool:
        """Whether a third party can dial it: it names a host and a port."""
        return self.port > 0 and not self.everywhere

    def at(self, host: str) -> Address:
        """The same port on another host, given as IP addresses come from a socket."""
        bare = host.partition("%")[0]
        try:
            mapped = ipaddress.IPv6Address(bare).ipv4_mapped if ":" in bare else None
        except ValueError:
            mapped = None
        return Address(bare if mapped is None else str(mapped), self.port)

    def __str__(self) -> str:
        """As it is written everywhere: IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def dialable(text: str) -> Address:
    """Read an address that others are to dial.

    Raises:
        BadAddress: it is none, or nobody else can dial it: no host, every interface, port 0.
    """
    address = Address.parse(text)
    if address.everywhere:
        host = address.host or "nothing"
        raise BadAddress(f"'{text}' cannot be dialled: {host} stands for every interface, name a host")
    if not address.port:
        raise BadAddress(f"'{text}' cannot be dialled: port 0 stands for any free one, name the port")
    return address


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


def locate(stated: str, seen: str) -> str:
    """Where a peer that dialled us is reached.

    Args:
        stated: its own word.
        seen: the IP address that we see it from.

    Returns:
        "host:port", or "" if its word is no address. The host is the one it is seen from if it states none, or one
        that leads inside.
    """
    try:
        address = Address.parse(stated)
    except BadAddress:
        return ""
    if address.everywhere or leads_inside(stated, seen):
        address = address.at(seen)
    return str(address) if address.dialable else ""


def beside(address: str, seen: str) -> str:
    """The port that a peer states, at the address that we see it from: nobody else's, whatever it states."""
    return locate(f":{address.rpartition(':')[2]}", seen)


def _read_host(text: str, host: str) -> str:
    if "%" in host:
        zone = host[host.find("%") :].rstrip("]")
        raise BadAddress(f"'{text}' has a zone, which means something on one machine only: leave out {zone}")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if bracketed or ":" in bare:
        try:
            address = ipaddress.IPv6Address(bare)
        except ValueError:
            raise BadAddress(f"'{text}' is not HOST:PORT: '{bare}' is no IPv6 address") from None
        if not bracketed:
            raise BadAddress(f"'{text}': an IPv6 address is written in brackets, [{address}]:PORT")
        return str(address)
    if bare and _NUMBER.fullmatch(bare.casefold().rstrip(".").rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(bare))
        except ValueError:
            raise BadAddress(f"'{text}': '{bare}' is no IPv4 address of four numbers from 0 to 255") from None
    if bare and not _NAME.fullmatch(bare):
        raise BadAddress(f"'{text}' is not HOST:PORT: '{bare}' is no host name")
    return bare
