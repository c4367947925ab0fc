"""Where peers listen: "host:port", and nothing else that a URL could hide in.

Laws: a name, an IPv4 or a bracketed IPv6 address, a colon, a port; no user, path or scheme. An empty host means "the
address you see me from", which is what a peer says that listens on every interface.
"""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]|):[0-9]{1,5}")


def is_address(text: str) -> bool:
    """Whether this is "host:port"; the host may be empty."""
    return _ADDRESS.fullmatch(text) is not None


def is_unspecified(host: str) -> bool:
    """Whether listening on this host means listening on every interface."""
    return host in ("", "0.0.0.0", "::")


def locate(address: str, seen: str) -> str:
    """Where a peer that dialled us is reached.

    Args:
        address: its own word.
        seen: the IP address that we see it from.

    Returns:
        "host:port", or "" if its word is no address.
    """
    if not is_address(address):
        return ""
    if not address.startswith(":"):
        return address
    return f"[{seen}]{address}" if ":" in seen else f"{seen}{address}"
