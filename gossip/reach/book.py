"""Addresses that peers state of themselves, signed: whom else could we dial?

Laws:
- A record that is here is known by its digest, before any signature is checked.
- One record a peer, the higher sequence wins; our own, unsigned or foreign-network records never enter.
- Peers with standing (people vouch for them) are told first and forgotten last: whom else would we dial to hear it?
- At most `Limits.records`; of those one introducer told `Limits.introduced`, of those in one public network
  `Limits.neighbourhood`: whoever tells more pushes out what it told before, not what others told. Else the oldest goes.
- An address that is not public is taken from those only whom we see at such a one: we live among them. So a record
  from outside that leads inside enters no book, and nobody is told of it.
- Whom to dial is drawn introducer first, then network, then peer: a book that one peer has filled gives it one draw.
- Nothing here dials anybody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from gossip.protocol.address import leads_inside
from gossip.protocol.codec import RECORD, decode_record
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import PeerRecord
from gossip.transport.slots import group_of
from identity.envelope import digest_of, open_envelope, split
from identity.errors import ForgedEnvelope
from identity.keys import PeerId


@dataclass(frozen=True, slots=True)
class _Told:
    """A record, its bytes, who told it, and the public network that its address is in."""

    record: PeerRecord
    envelope: bytes
    digest: bytes
    via: PeerId
    group: str


class AddressBook:
    """Verified records of other peers.

    Attributes:
        favoured: peers with standing; assign it when that changes.
    """

    def __init__(self, me: PeerId, network: bytes, limits: Limits) -> None:
        """An empty book of `me` in one network."""
        self._me = me
        self._network = network
        self._limits = limits
        self._records: OrderedDict[PeerId, _Told] = OrderedDict()
        self.favoured: frozenset[PeerId] = frozenset()

    def __len__(self) -> int:
        return len(self._records)

    def learn(self, envelope: bytes, via: PeerId, seen: str = "") -> PeerRecord | None:
        """Take in a sealed record that `via` told; returns it if it is news that we may follow.

        Args:
            envelope: the record.
            via: who told it.
            seen: the IP address that we see `via` at, "" if it has none.

        Raises:
            RemoteFault: BAD_SIGNATURE, MALFORMED, OVERSIZE, WRONG_VERSION, WRONG_AUTHOR or WRONG_NETWORK.
        """
        try:
            parts = split(envelope)
            here = self._records.get(parts.author)
            if here is not None and here.digest == digest_of(RECORD, parts.body):
                return None
            opened = open_envelope(envelope, RECORD)
        except ForgedEnvelope as error:
            raise RemoteFault(Drop.BAD_SIGNATURE, str(error)) from None
        record = decode_record(opened.body, self._limits)
        if record.peer != opened.author:
            raise RemoteFault(Drop.WRONG_AUTHOR, "a record about somebody else")
        if record.network != self._network:
            raise RemoteFault(Drop.WRONG_NETWORK, "a record of another network")
        known = self._records.get(record.peer)
        if record.peer == self._me or (known is not None and known.record.sequence >= record.sequence):
            return None
        if record.address.startswith(":"):
            return None  # "where you see me": it has not been seen by anybody yet, so there is nothing to pass on
        if leads_inside(record.address, seen):
            return None  # no fault: whoever lives behind a translator states what it listens on
        first = via if known is None else known.via  # who tells of a known peer anew has not introduced it
        group = group_of(record.address.rpartition(":")[0].strip("[]"))
        told = _Told(record, envelope, opened.digest, first, group)
        self._records[record.peer] = told
        self._records.move_to_end(record.peer)
        self._trim(self._limits.introduced, lambda one: one.via == told.via)
        if told.group:
            self._trim(self._limits.neighbourhood, lambda one: one.group == told.group)
        self._trim(self._limits.records, lambda one: True)
        return record

    def envelopes(self, without: PeerId, count: int) -> tuple[bytes, ...]:
        """The newest `count` sealed records, those of peers with standing first.

        Args:
            without: to whom they are told: it needs not hear of itself.
            count: how many at most.
        """
        newest = [(peer, told.envelope) for peer, told in reversed(self._records.items()) if peer != without]
        newest.sort(key=lambda one: one[0] not in self.favoured)
        return tuple(envelope for _, envelope in newest[:count])

    def vouched(self, to: PeerId, told: Collection[bytes], count: int) -> dict[bytes, bytes]:
        """Records of peers with standing that a peer may lack, sealed, by their digests.

        Args:
            to: whom they are for.
            told: digests of those that it was told before.
            count: how many at most.
        """
        lacking = {
            each.digest: each.envelope
            for peer, each in self._records.items()
            if peer in self.favoured and to not in (peer, each.via) and each.digest not in told
        }
        return dict(list(lacking.items())[:count])

    def address(self, peer: PeerId) -> str:
        """Where a peer says that it listens; "" if that is not known."""
        told = self._records.get(peer)
        return "" if told is None else told.record.address

    def candidates(self) -> tuple[tuple[PeerId, str], ...]:
        """Peers with an address that could be dialled, ordered by id."""
        return tuple(sorted((peer, told.record.address) for peer, told in self._records.items() if told.record.address))

    def draw(self, generator: np.random.Generator, choices: Collection[PeerId]) -> PeerId:
        """One of these peers (of `candidates`, at least one): an introducer's turn, a network's, a peer's."""
        left = [(self._records[peer].via, self._records[peer].group or peer, peer) for peer in sorted(choices)]
        for key in range(2):
            turns = sorted({one[key] for one in left}, key=str)
            turn = turns[int(generator.integers(len(turns)))]
            left = [one for one in left if one[key] == turn]
        return left[int(generator.integers(len(left)))][2]

    def _trim(self, most: int, among: Callable[[_Told], bool]) -> None:
        """Forget the oldest beyond so many among some."""
        mine = sorted((peer for peer, told in self._records.items() if among(told)), key=lambda p: p in self.favoured)
        for peer in mine[: max(0, len(mine) - most)]:
            del self._records[peer]
