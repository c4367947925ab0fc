"""The seam between gossip and a network: small frames pushed, blobs pulled by digest.

What a transport promises (one conformance test runs over every transport):
- It knows peers by the id that they proved in a handshake; it runs the handshake that the receiver hands it, and
  tells `joined` only after it is complete on its side, with the IP address that it sees the peer at (`Party.seen`).
- At most one connection per pair: of two that cross, the one dialled by the smaller peer id stays; of two that the
  same side dialled, the newer stays.
- `send` never waits: each peer has a bounded queue; a frame with the same `replaces` key takes the place of the one
  that still waits; when the queue is full the oldest frame goes (told as `dropped(QUEUE_FULL)`).
- Frames of one connection arrive in the order in which they were queued, or not at all.
- Frames longer than `Limits.frame` never reach the receiver.
- `fetch` returns bytes whose SHA-256 is the digest and whose length is the length asked for
  (`gossip.transport.blobs.Assembly` checks both), or raises RemoteFault within `Limits.blob_seconds(length)`.
- After `close` there is no task, no open socket, and no more call to the receiver.
"""

from __future__ import annotations

from typing import Protocol

from gossip.protocol.errors import Drop
from gossip.protocol.handshake import Handshake, Party
from gossip.protocol.messages import Buffer
from identity.keys import PeerId


class Receiver(Protocol):
    """What a transport calls: `GossipService` is the one there is. No method waits or raises."""

    def handshake(self, dialled: bool, expect: PeerId | None = None) -> Handshake:
        """A new handshake for a new connection, dialled by us or by the other side."""
        ...

    def joined(self, party: Party) -> None:
        """A handshake is complete: frames may flow both ways."""
        ...

    def left(self, peer: PeerId, reason: str) -> None:
        """The connection to a joined peer has ended (not told for one that was replaced by a newer one)."""
        ...

    def frame(self, peer: PeerId, data: bytes) -> float:
        """A frame from a joined peer; its size was checked, nothing else.

        Returns:
            Seconds for which nothing more should be read of this peer.
        """
        ...

    def known(self, peer: PeerId) -> bool:
        """Whether this peer is no stranger: it has a share of everything that strangers cannot touch."""
        ...

    def blob(self, digest: bytes, peer: PeerId) -> Buffer | None:
        """The bytes with this SHA-256, if we hold them and would give them to this joined peer."""
        ...

    def dropped(self, reason: Drop, peer: PeerId | None) -> None:
        """The transport dropped something."""
        ...


class Transport(Protocol):
    """Moves frames and blobs; see the promises above."""

    @property
    def address(self) -> str:
        """Where others can dial us, known after `start`; "" if nowhere."""
        ...

    async def start(self, receiver: Receiver) -> None:
        """Begin to listen.

        Raises:
            LocalFault: for example, the port is in use.
        """
        ...

    async def dial(self, address: str, expect: PeerId | None = None) -> PeerId:
        """Connect and shake hands; returns who answered (also when already connected to it).

        Raises:
            RemoteFault: nobody answers, the handshake fails, or somebody other than `expect` answers.
        """
        ...

    def send(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        """Queue a frame. False if the peer is not connected. Never waits.

        Raises:
            LocalFault: the frame is longer than `Limits.frame`.
        """
        ...

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        """Pull a blob from a connected peer: read-only, hash and length checked.

        Raises:
            RemoteFault: not connected, not there, too slow, or not those bytes.
        """
        ...

    def connected(self) -> tuple[PeerId, ...]:
        """Joined peers, ordered by id."""
        ...

    async def drop(self, peer: PeerId, reason: str, refuse: float = 0.0) -> None:
        """End the connection to one peer, if there is one.

        Take nothing from its address for `refuse` seconds, if that is public and no known peer is there.
        """
        ...

    async def close(self) -> None:
        """Flush what is queued (at most `Limits.goodbye` seconds), then stop. Safe to call twice."""
        ...
