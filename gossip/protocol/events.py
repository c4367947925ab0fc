"""What the gossip service tells the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gossip.protocol.errors import Drop, LocalFault
from gossip.protocol.messages import Update, UpdateHeader
from identity.keys import PeerId


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A handshake succeeded. `round` and `sequence` are the peer's own claims; `address` may be empty.

    `group` is the public network that we see it in (`gossip.transport.slots.group_of`), "" if it has none; `dialled`:
    by us; `afar`: for what it says from afar alone (`gossip.reach.distant`).
    """

    peer: PeerId
    round: int
    sequence: int
    address: str
    group: str = ""
    dialled: bool = True
    afar: bool = False


@dataclass(frozen=True, slots=True)
class PeerAdopted:
    """A peer that was dialled for what it says from afar is a neighbour from now on."""

    peer: PeerId
    group: str = ""


@dataclass(frozen=True, slots=True)
class PeerNamed:
    """This peer answers at an address that the operator named."""

    peer: PeerId
    address: str


@dataclass(frozen=True, slots=True)
class PeerRedeemed:
    """An invitation was taken, durably: this peer and we know each other. `ours`: it was we who gave it."""

    peer: PeerId
    ours: bool


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """The connection to a peer ended; `reason` is for people."""

    peer: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class UpdateVerified:
    """An update passed every check, told once per update.

    `via` is who told us: the author itself when `distance` is 1, a relayer when it is more (claimed + 1, in
    [2, 16]).
    """

    update: Update
    via: PeerId
    distance: int


@dataclass(frozen=True, slots=True)
class UpdateHeard:
    """A verified update came once more from another peer: who and how far. Told once per (update, via)."""

    header: UpdateHeader
    digest: bytes
    via: PeerId
    distance: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something was dropped and counted; `peer` is who sent it, if known, `address` where we dialled in vain."""

    reason: Drop
    peer: PeerId | None
    address: str = ""


@dataclass(frozen=True, slots=True)
class HeadAhead:
    """A peer showed a header of our own key beyond our ledger (a restored backup): it has been adopted.

    The next `publish` continues after `sequence`, and needs a round above `round`.
    """

    sequence: int
    round: int
    via: PeerId


@dataclass(frozen=True, slots=True)
class PeerAhead:
    """A neighbour announced an update of its own that is too early to be admitted: it is in this round, at least."""

    peer: PeerId
    round: int


@dataclass(frozen=True, slots=True)
class Equivocated:
    """An author signed two contradicting headers: both are the proof; its further updates are refused."""

    author: PeerId
    first: bytes
    second: bytes


@dataclass(frozen=True, slots=True)
class KeyElsewhere:
    """A peer showed a header of our own key that this process did not sign: another one signs with it.

    Attributes:
        sequence: of that header.
        conflict: it contradicts one of ours; whoever has seen both refuses the key for good.
        yields: of the two processes, this one is to stop.
    """

    sequence: int
    conflict: bool
    yields: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """Something on our side failed while a peer's frame was handled: the node cannot go on."""

    fault: LocalFault


GossipEvent: TypeAlias = (
    PeerJoined
    | PeerAdopted
    | PeerNamed
    | PeerRedeemed
    | PeerLeft
    | UpdateVerified
    | UpdateHeard
    | Dropped
    | HeadAhead
    | PeerAhead
    | Equivocated
    | KeyElsewhere
    | Broken
)
