"""Errors that name the guilty side, and every reason for which a peer's bytes are dropped.

GossipError
├── RemoteFault      a peer's bytes or behaviour: counted by its `reason`, dropped, never fatal
├── LocalFault       our bug, our configuration, our disk or our port: loud
│   └── DiskFault    our disk refuses for now (full, read-only): nothing was written, try again later
├── BadAddress       (also ValueError) a text that is no "host:port", in one sentence
└── BadTicket        (also ValueError) a text that is no ticket, in one sentence
"""

from __future__ import annotations

from enum import StrEnum


class Drop(StrEnum):
    """Why something that came from (or was meant for) a peer was dropped. Each has a counter and a test."""

    OVERSIZE = "oversize"  # longer than its limit; nothing was parsed
    MALFORMED = "malformed"  # not the canonical bytes of any message
    BAD_SIGNATURE = "bad-signature"
    WRONG_NETWORK = "wrong-network"
    WRONG_VERSION = "wrong-version"
    # header names another author than its key, or an announce of somebody else's header
    WRONG_AUTHOR = "wrong-author"
    PEER_RATE = "peer-rate"  # the connection's bucket is empty (before any cryptography)
    AUTHOR_RATE = "author-rate"  # the author's bucket is empty (after the signature)
    DUPLICATE = "duplicate"  # these very bytes came from this peer before
    REPLAY = "replay"  # (author, sequence) was used before, perhaps before a restart
    STALE = "stale"  # round below local - W
    EARLY = "early"  # round above local + 2; the newest of each author is kept until then
    BROKEN_CHAIN = "broken-chain"  # previous digest contradicts a header we hold: evidence kept
    ROUND_ORDER = "round-order"  # rounds do not grow along the author's chain
    EQUIVOCATION = "equivocation"  # a second header for one (author, sequence): evidence kept
    CONVICTED = "convicted"  # the author was caught before
    SCHEMA = "schema"  # another schema than the network's
    LENGTH = "length"  # payload length is not the schema's
    UNWANTED = "unwanted"  # the node does not want this payload now
    UNAVAILABLE = "unavailable"  # no holder gave the payload in time
    DIGEST = "digest"  # bytes that came are not the bytes that were named
    NOT_FINITE = "not-finite"  # NaN or infinity in a payload
    QUEUE_FULL = "queue-full"  # our own queue to a slow peer: the oldest frame went
    REFUSED = "refused"  # handshake failed or out of order
    NOT_ALLOWED = "not-allowed"  # not on the allow-list
    DISTRUSTED = "distrusted"  # whoever runs this node said so
    INVITATION = "invitation"  # not open to this peer on this link: never given, expired, revoked, used, replayed
    VOUCH = "vouch"  # a statement that cannot count: about oneself, or about more peers than one can know
    UNEXPECTED_PEER = "unexpected-peer"  # somebody else answers at this address
    SELF = "self"  # we dialled ourselves, or our own hello came back
    TIMEOUT = "timeout"  # a deadline passed
    ENCODING = "encoding"  # a Content-Encoding: refused with 415
    CONNECTIONS = "connections"  # a cap on connections
    STRANGER = "stranger"  # a blob asked for by somebody without a handshake
    UNREACHABLE = "unreachable"  # nobody answers at this address, or it cannot be dialled
    DISK = "disk"  # our own disk could not remember it: as if it had not come


class GossipError(Exception):
    """Root of everything that `gossip` raises on purpose."""


class RemoteFault(GossipError):
    """A peer's bytes or behaviour are at fault."""

    def __init__(self, reason: Drop, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail


class LocalFault(GossipError):
    """We are at fault: a bug, the configuration, the disk, a port in use."""


class DiskFault(LocalFault):
    """Our disk refuses for now (full, read-only): nothing was written, and later it may be."""


class BadAddress(GossipError, ValueError):
    """A text that is not "host:port", or one that nobody else can dial."""


class BadTicket(GossipError, ValueError):
    """A text that is no ticket, or one that was damaged on the way."""
