"""Addresses that peers state of themselves, signed: whom else could we dial?

Laws: one record a peer, the higher sequence wins; at most `Limits.records`, the oldest-stated goes; our own,
unsigned or foreign-network records never enter. Nothing here dials anybody.
"""

from __future__ import annotations

from collections import OrderedDict

from gossip.codec import RECORD, decode_record
from gossip.errors import Drop, RemoteFault
from gossip.limits import Limits
from gossip.messages import PeerRecord
from identity.envelope import open_envelope
from identity.errors import ForgedEnvelope
from identity.keys import PeerId


class AddressBook:
    """Verified records of other peers."""

    def __init__(self, me: PeerId, network: bytes, limits: Limits) -> None:
        """An empty book of `me` in one network."""
        self._me = me
        self._network = network
        self._limits = limits
        self._records: OrderedDict[PeerId, tuple[PeerRecord, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def learn(self, envelope: bytes) -> PeerRecord | None:
        """Take in a sealed record; returns it if it is news.

        Raises:
            RemoteFault: BAD_SIGNATURE, MALFORMED, OVERSIZE, WRONG_VERSION, WRONG_AUTHOR or WRONG_NETWORK.
        """
        try:
            opened = open_envelope(envelope, RECORD)
        except ForgedEnvelope as error:
            raise RemoteFault(Drop.BAD_SIGNATURE, str(error)) from None
        record = decode_record(opened.body, self._limits)
        if record.peer != opened.author:
            raise RemoteFault(Drop.WRONG_AUTHOR, "a record about somebody else")
        if record.network != self._network:
            raise RemoteFault(Drop.WRONG_NETWORK, "a record of another network")
        known = self._records.get(record.peer)
        if record.peer == self._me or (known is not None and known[0].sequence >= record.sequence):
            return None
        self._records[record.peer] = (record, envelope)
        self._records.move_to_end(record.peer)
        if len(self._records) > self._limits.records:
            self._records.popitem(last=False)
        return record

    def envelopes(self, without: PeerId, count: int) -> tuple[bytes, ...]:
        """The newest `count` sealed records, to be told to the peer `without`, which needs not hear of itself."""
        newest = [envelope for peer, (_, envelope) in reversed(self._records.items()) if peer != without]
        return tuple(newest[:count])

    def candidates(self) -> tuple[tuple[PeerId, str], ...]:
        """Peers with an address that could be dialled, ordered by id."""
        return tuple(sorted((peer, record.address) for peer, (record, _) in self._records.items() if record.address))
