"""What a person can do something about, of all that is dropped: handshakes that fail, neighbours that misbehave.

Laws:
- One sentence for each peer and reason, as long as the peers are few: `EACH` of a reason.
- A crowd silences nobody: beyond that, one sentence an hour for each reason says how many more there were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gossip.protocol.errors import Drop
from gossip.protocol.events import Dropped
from identity.keys import PeerId, short
from node.trust.conduct import GUILT

EACH = 16
HOUR = 3600.0

_REFUSALS = {
    Drop.WRONG_NETWORK: "belongs to a network of another name: give both nodes the same [network] name",
    Drop.SCHEMA: "learns another model: give both nodes the same [task] name and model, with the same frozen weights",
    Drop.NOT_ALLOWED: "is not on the allow-list: add it to [network] allow to let it in",
    Drop.UNEXPECTED_PEER: "has another peer id than the join line says: ask for a new join line",
    Drop.INVITATION: "shows an invitation that is not open (expired, revoked, or used by another key): invite it anew",
    Drop.SELF: "is this node itself: take its own address out of [network] join",
    Drop.UNREACHABLE: "cannot be reached: still trying",
}


class Refusals:
    """Tells people about drops, each once.

    Args:
        say: told one line at a time.
        clock: monotonic seconds.
        join: addresses that the operator named; others that cannot be reached are nobody's concern.
        name: what people call a peer.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        clock: Callable[[], float],
        join: Sequence[str],
        name: Callable[[PeerId], str] = short,
    ) -> None:
        self._say = say
        self._clock = clock
        self._join = join
        self._name = name
        self._told: dict[str, set[bytes | str]] = {}
        self._more: dict[str, int] = {}
        self._since: dict[str, float] = {}

    def note(self, event: Dropped) -> None:
        """Something was dropped."""
        peer, reason = event.peer, event.reason
        if peer is not None and reason in GUILT:
            self._tell(f"misbehaves; dropped: {GUILT[reason]}", peer, f"peer {self._name(peer)}")
        elif peer is not None and reason is Drop.INVITATION:
            self._tell(_REFUSALS[reason], peer, f"peer {self._name(peer)}")
        elif peer is not None and reason is Drop.UNREACHABLE:
            fault = (
                "cannot be fetched from, as nobody answers at the address it states: it should set [network] advertise"
            )
            self._tell(fault, peer, f"peer {self._name(peer)}")
        elif peer is None and reason in _REFUSALS:
            joining = any(text.rpartition("@")[2] == event.address for text in self._join)
            if reason is Drop.UNREACHABLE and not joining:
                return  # an address that others told us: nobody waits for it
            who = f"the node at {event.address}" if event.address else "a node that dialled us"
            self._tell(_REFUSALS[reason], event.address, who)

    def _tell(self, what: str, key: bytes | str, who: str) -> None:
        told = self._told.setdefault(what, set())
        if key in told:
            return
        if len(told) < EACH:
            told.add(key)
            self._say(f"{who} {what}")
            return
        self._more[what] = self._more.get(what, 0) + 1
        now = self._clock()
        if now - self._since.setdefault(what, now) >= HOUR:
            self._say(f"others too, {self._more[what]} times in the last hour: {what}")
            self._more[what], self._since[what] = 0, now
