"""Statements "I know X" on their way: sums on a new link, what the other lacks, what is new to everybody else.

Laws:
- The digest is looked up before a signature is verified; a signature is verified before its body is read.
- Durable before passed on: what is new goes to all linked peers but its teller once `Vouching.fresh` gives it out.
- Each round one linked peer in turn is told the sums: what was lost on the way, or held back by a rate, is repaired.
- Nobody is sent more than half of what `Limits.vouches_rate` lets us take; the rest waits for the peer's next sums.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from gossip.protocol.codec import SUM_BYTES, SUMS, VOUCH, decode_vouch
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Frame, Vouch, Vouches
from gossip.protocol.rates import Bucket
from identity.envelope import digest_of, open_envelope, split
from identity.errors import ForgedEnvelope
from identity.keys import PeerId

Pair = tuple[PeerId, PeerId]
"""Issuer and subject."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A vouch whose signature held, as it came."""

    issuer: PeerId
    subject: PeerId
    sequence: int
    until: int
    digest: bytes
    envelope: bytes

    @classmethod
    def of(cls, vouch: Vouch, digest: bytes, envelope: bytes) -> Statement:
        """The same with the bytes that were signed."""
        return cls(vouch.issuer, vouch.subject, vouch.sequence, vouch.until, digest, envelope)

    @property
    def pair(self) -> Pair:
        """Of one pair one statement counts."""
        return self.issuer, self.subject

    def end(self, term: int) -> int:
        """The round in which it is forgotten."""
        return self.until or self.sequence + term


class Vouching(Protocol):
    """What a node holds of statements. Called on the event loop's thread; short."""

    def knows(self, digest: bytes) -> bool:
        """Whether it holds this very statement, or lets it wait."""
        ...

    def admit(self, statement: Statement) -> None:
        """Take one in whose signature holds.

        Raises:
            RemoteFault: it does not count: replayed, ended, too far ahead, about its own issuer, one too many.
        """
        ...

    def fresh(self) -> Sequence[bytes]:
        """What came to be held since the last call: durable on return, and to be passed on."""
        ...

    def sums(self) -> tuple[bytes, ...]:
        """A digest of what is held, for each first four bits of the issuer (`sum_of`)."""
        ...

    def held(self, number: int) -> Sequence[bytes]:
        """The statements of one of these sixteen."""
        ...

    def advance(self, round: int) -> None:
        """The node is in this round."""
        ...


def sum_of(digests: Iterable[bytes]) -> bytes:
    """The 8 bytes by which two nodes see whether they hold the same of one sixteenth."""
    return hashlib.sha256(b"".join(sorted(digests))).digest()[:SUM_BYTES]


def number_of(issuer: PeerId) -> int:
    """Which of the sixteen a statement belongs to."""
    return issuer[0] >> 4


class Grapevine:
    """Carries statements between what this node holds and its links.

    Args:
        vouching: what the node holds; None: nothing, and whatever comes is dropped.
        network: 32-byte id of ours.
        limits: what peers may use.
        linked: who is linked now.
        allows: whether a peer may be linked: who was distrusted a moment ago may not be gone yet.
        send: sends a frame to a peer.
        blame: told what was wrong with one statement of a frame.
    """

    def __init__(
        self,
        vouching: Vouching | None,
        network: bytes,
        limits: Limits,
        linked: Callable[[], tuple[PeerId, ...]],
        allows: Callable[[PeerId], bool],
        send: Callable[[PeerId, Frame], None],
        blame: Callable[[Drop, PeerId], None],
    ) -> None:
        self._vouching = vouching
        self._network = network
        self._limits = limits
        self._there = linked
        self._allows = allows
        self._send = send
        self._blame = blame
        self._lacking: dict[PeerId, Iterator[bytes]] = {}  # what linked peers lack, and were not sent yet
        self._paces: OrderedDict[PeerId, Bucket] = OrderedDict()  # also of those who left: they may come back at once
        self._turn = 0

    def joined(self, peer: PeerId) -> None:
        """A link is new: tell what we hold."""
        if self._vouching is not None:
            self._send(peer, Vouches(self._vouching.sums()))

    def left(self, peer: PeerId) -> None:
        """A link has ended."""
        self._lacking.pop(peer, None)

    def advance(self, round: int, now: float) -> None:
        """A round begins: pass on what the node signed, pay what is owed, tell the next peer what we hold."""
        if self._vouching is None:
            return
        self._vouching.advance(round)
        self._pass_on(self._vouching.fresh(), None, now)
        for peer in tuple(self._lacking):
            self._pay(peer, now)
        linked = self._linked()
        if linked:
            self._turn += 1
            self._send(linked[self._turn % len(linked)], Vouches(self._vouching.sums()))

    def take(self, peer: PeerId, message: Vouches, now: float) -> None:
        """Take a frame.

        Raises:
            RemoteFault: UNWANTED, where the node holds no statements; DISTRUSTED, of somebody on his way out.
        """
        vouching = self._vouching
        if vouching is None:
            raise RemoteFault(Drop.UNWANTED, "statements are not held here")
        if not self._allows(peer):
            raise RemoteFault(Drop.DISTRUSTED)
        for envelope in message.envelopes:
            try:
                self._admit(vouching, envelope)
            except RemoteFault as fault:
                self._blame(fault.reason, peer)
        self._pass_on(vouching.fresh(), peer, now)
        if message.sums:
            self._compare(vouching, peer, message.sums)
            self._pay(peer, now)

    def _admit(self, vouching: Vouching, envelope: bytes) -> None:
        digest = digest_of(VOUCH, split(envelope).body)
        if vouching.knows(digest):
            return
        try:
            opened = open_envelope(envelope, VOUCH)
        except ForgedEnvelope as error:
            raise RemoteFault(Drop.BAD_SIGNATURE, str(error)) from None
        vouch = decode_vouch(opened.body, self._limits)
        if vouch.issuer != opened.author:
            raise RemoteFault(Drop.WRONG_AUTHOR, "a statement in another's name")
        if vouch.network != self._network:
            raise RemoteFault(Drop.WRONG_NETWORK, "a statement of another network")
        vouching.admit(Statement.of(vouch, digest, envelope))

    def _compare(self, vouching: Vouching, peer: PeerId, sums: Sequence[bytes]) -> None:
        """What a peer may lack; it begins elsewhere each time, as some sums may differ for ever."""
        ours = vouching.sums()
        order = [(self._turn + number) % SUMS for number in range(SUMS)]
        differ = [number for number in order if ours[number] != sums[number]]
        self._lacking[peer] = (envelope for number in differ for envelope in vouching.held(number))

    def _pass_on(self, envelopes: Sequence[bytes], teller: PeerId | None, now: float) -> None:
        for start in range(0, len(envelopes), self._limits.vouches_in_frame):
            part = tuple(envelopes[start : start + self._limits.vouches_in_frame])
            for peer in self._linked():
                if peer != teller and self._pace(peer, now).take(now, len(part)):
                    self._send(peer, Vouches((), part))

    def _pay(self, peer: PeerId, now: float) -> None:
        """Send of what a peer lacks as much as its pace allows."""
        lacking, size = self._lacking.get(peer), self._limits.vouches_in_frame
        while lacking is not None and self._pace(peer, now).take(now, size):
            part = tuple(islice(lacking, size))
            if part:
                self._send(peer, Vouches((), part))
            if len(part) < size:
                del self._lacking[peer]
                return

    def _linked(self) -> list[PeerId]:
        return [peer for peer in self._there() if self._allows(peer)]

    def _pace(self, peer: PeerId, now: float) -> Bucket:
        pace = self._paces.get(peer)
        if pace is None:
            limits = self._limits
            pace = self._paces[peer] = Bucket.full(limits.vouches_rate / 2, limits.vouches_burst / 2, now)
            if len(self._paces) > limits.connections:
                self._paces.popitem(last=False)
        self._paces.move_to_end(peer)
        return pace
