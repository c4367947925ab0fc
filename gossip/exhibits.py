"""What a peer is shown of chains and addresses: when it joins, when it asks for headers, when we refuse it.

Law: what is shown is signed by its author and forwarded untouched; of our own records only the address is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gossip.chain.ledger import Ledger
from gossip.intake import Home, Intake
from gossip.protocol.codec import RECORD, decode_header, encode_record
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Announce, Frame, PeerRecord, Peers, Relay
from gossip.reach.book import AddressBook
from identity.envelope import seal, split
from identity.keys import PeerId, SigningKey


class Exhibits:
    """Frames for a peer, in the order in which they are sent.

    Args:
        key: signs our record.
        home: what our headers must agree with.
        ledger: own headers, and proofs.
        intake: headers of others.
        book: addresses of others.
        address: where others can dial us now.
        send: sends a frame to a peer.
        limits: what peers may use.
    """

    def __init__(
        self,
        key: SigningKey,
        home: Home,
        ledger: Ledger,
        intake: Intake,
        book: AddressBook,
        address: Callable[[], str],
        send: Callable[[PeerId, Frame], None],
        limits: Limits,
    ) -> None:
        self._key = key
        self._home = home
        self._ledger = ledger
        self._intake = intake
        self._book = book
        self._address = address
        self._send = send
        self._limits = limits

    def show(self, peer: PeerId, frames: Iterable[Frame]) -> None:
        """Send a peer what it is shown."""
        for frame in frames:
            self._send(peer, frame)

    def at_join(self, peer: PeerId, sequence: int) -> Iterator[Frame]:
        """For a peer that says its chain ends at `sequence`: our head, the proof against it, its own newer header."""
        head = self._ledger.head()
        if head is not None and self._ledger.payload(head.sequence) is not None:
            yield Announce(head.envelope)
        yield from self.proof(peer)
        known = self._intake.chains.recent(peer)
        if known and known[-1].sequence > sequence:
            yield Relay(1, known[-1].envelope)

    def records(self, peer: PeerId) -> Peers:
        """Addresses for a peer: ours first."""
        head = self._ledger.head()
        mine = PeerRecord(self._home.network, self._key.peer, self._address(), head.sequence if head else 0)
        others = self._book.envelopes(peer, self._limits.peers_in_frame - 1)
        return Peers((seal(self._key, RECORD, encode_record(mine)), *others))

    def proof(self, author: PeerId) -> Iterator[Frame]:
        """The two headers for which we refuse a key: its owner may not know that somebody else has it."""
        proof = self._ledger.proof(author)
        if proof is not None:
            for envelope in (proof.first, proof.second):
                yield Relay(1, envelope)

    def headers(self, author: PeerId, first: int, last: int) -> Iterator[Frame]:
        """Headers that a peer lacks: our own, or others' whose payloads we could serve; 0 to 0: the newest."""
        if author != self._key.peer:
            yield from self._intake.relayable(author, first, last)
            return
        head = self._ledger.head()
        newest = [] if head is None else [head]
        for entry in self._ledger.own(first, last) if first else newest:
            header = decode_header(split(entry.envelope).body, self._limits)
            if header.schema == self._home.schema:  # a chain may have begun with another model
                yield Announce(entry.envelope)
