"""Who may be linked with us: the allow-list, those whom the operator distrusts, and those who redeem an invitation.

Laws:
- Distrust comes first: neither an allow-list nor an invitation lets in whom the operator distrusts.
- Where an allow-list is set and an invitation is open, whoever it does not name is heard out to its first frame, for at
  most `Limits.redeem` seconds, `Limits.uninvited` at a time. That frame redeems the invitation, or the link ends. Until
  then nothing is told to the node, and nothing is sent.
- A proof is right for one invitation on one link. Whoever redeemed it once may do so again: the answer may be lost.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Collection
from typing import Protocol

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.handshake import Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Redeem
from gossip.protocol.rates import Bucket
from gossip.protocol.ticket import acceptance, redemption
from identity.keys import PeerId


class Invitations(Protocol):
    """Durable memory of invitations. Called on the event loop's thread; short."""

    def marks(self, peer: PeerId | None = None) -> Collection[bytes]:
        """Marks of those that are open, and of those that this peer has redeemed."""
        ...

    def redeem(self, mark: bytes, peer: PeerId) -> bool:
        """Take one for this peer, durably. False if it is not open to it, or cannot be written."""
        ...

    def held(self, peer: PeerId) -> bytes | None:
        """The mark of an invitation that this peer gave us and has not taken yet."""
        ...

    def taken(self, peer: PeerId) -> None:
        """This peer has taken its invitation."""
        ...


class Lobby:
    """The allow-list and all that adds to it or takes from it.

    Attributes:
        distrusted: peers that may not be linked.

    Args:
        allow: peers that may connect; None: everybody.
        invitations: what is kept of them; None: there are none.
        limits: what peers may use.
    """

    def __init__(self, allow: frozenset[PeerId] | None, invitations: Invitations | None, limits: Limits) -> None:
        self.distrusted: frozenset[PeerId] = frozenset()
        self._allow = allow
        self._known: frozenset[PeerId] = frozenset()
        self._invitations = invitations
        self._limits = limits
        self._sessions: dict[PeerId, bytes] = {}
        self._buckets: dict[PeerId, Bucket] = {}
        self._waiting: dict[PeerId, tuple[Party, asyncio.TimerHandle]] = {}
        self._heard: set[PeerId] = set()  # of those who wait: their first frame was here

    def acquainted(self, known: frozenset[PeerId], distrusted: frozenset[PeerId]) -> frozenset[PeerId]:
        """What the operator says of peers now; returns those who are here and have to go."""
        self._known, self.distrusted = known, distrusted
        return frozenset(self._sessions) & distrusted

    def allows(self, peer: PeerId) -> bool:
        """Whether it may be linked."""
        return peer not in self.distrusted and (self._allow is None or peer in self._allow or peer in self._known)

    def allow(self, dialled: bool) -> frozenset[PeerId] | None:
        """Whom to greet on a new connection; None: everybody that is not distrusted."""
        if self._allow is None or not (dialled or len(self._waiting) >= self._limits.uninvited or not self._open()):
            return None
        return self._allow | self._known

    def enter(self, party: Party, late: Callable[[PeerId], None]) -> bool:
        """Somebody has shaken hands; False if it must redeem first. `late` is called when it did not in time."""
        peer, loop = party.peer, asyncio.get_running_loop()
        self.left(peer)
        self._sessions[peer] = party.session
        self._buckets[peer] = Bucket.full(self._limits.redeem_rate, self._limits.redeem_burst, loop.time())
        if self.allows(peer):
            return True
        room = len(self._waiting) < self._limits.uninvited  # others may have shaken hands at the same time
        self._waiting[peer] = party, loop.call_later(self._limits.redeem if room else 0.0, late, peer)
        return False

    def waits(self, peer: PeerId) -> bool:
        """Whether it has yet to redeem."""
        return peer in self._waiting

    def knocks(self, peer: PeerId) -> bool:
        """Whether this is its first frame; the others are not heard."""
        first = peer not in self._heard
        self._heard.add(peer)
        return first

    def admit(self, peer: PeerId) -> Party:
        """It has redeemed: it is here from now on."""
        self._heard.discard(peer)
        party, timer = self._waiting.pop(peer)
        timer.cancel()
        self._known |= {peer}
        return party

    def left(self, peer: PeerId) -> bool:
        """Its connection has ended; True if it was still waiting, and nobody has been told of it."""
        self._sessions.pop(peer, None)
        self._buckets.pop(peer, None)
        self._heard.discard(peer)
        waiting = self._waiting.pop(peer, None)
        if waiting is not None:
            waiting[1].cancel()
        return waiting is not None

    def close(self) -> None:
        """Nobody waits any more."""
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        self._heard.clear()

    def proof(self, peer: PeerId) -> Redeem | None:
        """What to show a peer that gave us an invitation, on this link."""
        mark = None if self._invitations is None else self._invitations.held(peer)
        return None if mark is None else Redeem(redemption(mark, self._sessions[peer]))

    def redeem(self, peer: PeerId, proof: bytes) -> Redeem | None:
        """Take a proof; returns the answer, or None if the proof was itself the answer to ours.

        Raises:
            RemoteFault: PEER_RATE, or INVITATION: it is not open to this peer on this link.
        """
        if not self._buckets[peer].take(asyncio.get_running_loop().time()):
            raise RemoteFault(Drop.PEER_RATE, "an invitation is redeemed once a link")
        session, kept = self._sessions[peer], self._invitations
        if kept is None:
            raise RemoteFault(Drop.INVITATION)
        held = kept.held(peer)
        if held is not None and hmac.compare_digest(proof, acceptance(held, session)):
            kept.taken(peer)
            return None
        for mark in kept.marks(peer):
            if hmac.compare_digest(proof, redemption(mark, session)) and kept.redeem(mark, peer):
                return Redeem(acceptance(mark, session))
        raise RemoteFault(Drop.INVITATION)

    def validate(self) -> None:
        """Assert the invariants."""
        assert len(self._waiting) <= self._limits.uninvited + self._limits.inbound
        assert self._heard <= set(self._waiting) <= set(self._sessions)
        assert set(self._buckets) == set(self._sessions)

    def _open(self) -> bool:
        return self._invitations is not None and bool(self._invitations.marks())
