"""Who is connected: where we see each peer, and whether it is a stranger.

Laws: somebody's standing is asked for once a round, and again when it may have changed; nothing is kept of whoever left
but that answer, until the round is over.
"""

from __future__ import annotations

from collections.abc import Callable

from gossip.protocol.handshake import Party
from gossip.transport.slots import group_of
from identity.keys import PeerId

_ANSWERS = 4096  # standings that are remembered in one round


class Company:
    """Peers that are here."""

    def __init__(self, known: Callable[[PeerId], bool]) -> None:
        """Nobody is here; `known` says who is no stranger."""
        self._ask = known
        self._seen: dict[PeerId, str] = {}
        self._standing: dict[PeerId, bool] = {}

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._seen

    def joined(self, party: Party) -> None:
        """It is here."""
        self._seen[party.peer] = party.seen
        self._standing.pop(party.peer, None)

    def left(self, peer: PeerId) -> None:
        """It has gone."""
        self._seen.pop(peer, None)

    def seen(self, peer: PeerId) -> str:
        """The IP address that we see it at; "" if it has none, or is not here."""
        return self._seen.get(peer, "")

    def group(self, peer: PeerId) -> str:
        """The public network that we see it in; "" if it has none, or is not here."""
        return group_of(self.seen(peer))

    def known(self, peer: PeerId) -> bool:
        """Whether it is no stranger, here or not."""
        if peer not in self._standing:
            if len(self._standing) >= _ANSWERS:
                self._standing.clear()
            self._standing[peer] = self._ask(peer)
        return self._standing[peer]

    def refresh(self) -> None:
        """Standings may have changed: ask anew."""
        self._standing.clear()
