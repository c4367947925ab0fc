"""How a payload that was wanted ends: it came and is served on, nobody gave it, or one holder failed.

Law: whoever cannot be reached withholds nothing: a payload that it announced and nobody could fetch is bad luck.
"""

from __future__ import annotations

from functools import partial

from gossip.fetcher import Wanted
from gossip.intake import Intake
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.messages import Update
from gossip.reception import Reception
from gossip.transport.blobs import BlobStore
from identity.keys import PeerId


class Deliveries:
    """Told by the fetcher; tells the intake.

    Attributes:
        intake: judges what came; whoever makes both sets it.

    Args:
        blobs: keeps what came, to serve it.
        reception: counts what did not.
    """

    intake: Intake

    def __init__(self, blobs: BlobStore, reception: Reception) -> None:
        self._blobs = blobs
        self._reception = reception
        self._unreachable: set[PeerId] = set()  # joined, but nobody answers where they say they serve payloads

    def fetched(self, wanted: Wanted, update: Update) -> None:
        """It came, whole and finite."""
        self._blobs.put(wanted.header.payload_digest, update.payload)
        self._reception.guard(wanted.holders[0][0], partial(self.intake.fetched, wanted, update))

    def not_fetched(self, wanted: Wanted, fault: RemoteFault) -> None:
        """Nobody gave it, or its author signed a bad one."""
        self.intake.not_fetched(wanted, fault)
        holder = wanted.holders[0][0]
        hidden = fault.reason is Drop.UNAVAILABLE and holder in self._unreachable
        self._reception.drop(Drop.UNREACHABLE if hidden else fault.reason, holder)

    def not_given(self, reason: Drop, holder: PeerId) -> None:
        """One try to fetch it from a holder failed."""
        if reason is Drop.UNREACHABLE:
            self._unreachable.add(holder)
        else:
            self._unreachable.discard(holder)
        self._reception.drop(reason, holder)

    def left(self, peer: PeerId) -> None:
        """A holder is gone."""
        self._unreachable.discard(peer)
