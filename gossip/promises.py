"""Who announced a payload and did not give it: remembered, and for a while believed less.

Laws:
- A promise is an announced payload that we asked for. It is broken when all tries failed though the holder was there,
  or when its round was over while we still waited for its bytes. One that is kept clears the identity.
- After `Limits.promises` broken ones a stranger is not fetched from for `Limits.distrust` rounds, nor are other
  strangers of its public network after as many by strangers of it; each further one counts anew.
- A known peer is fetched from all the same, as one of the strangers: it may have been cut off, and keeps nobody out.
- Bounded: `Limits.authors` identities and networks; whoever broke one longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from gossip.protocol.limits import Limits
from identity.keys import PeerId


class Promises:
    """What became of payloads that peers announced.

    Attributes:
        round: our own round.
    """

    def __init__(self, limits: Limits, known: Callable[[PeerId], bool], round: int = 0) -> None:
        """Nothing was promised; `known` says who is no stranger."""
        self.round = round
        self._limits = limits
        self._known = known
        self._broken: OrderedDict[PeerId | str, tuple[int, int]] = (
            OrderedDict()
        )  # how many, and in which round the last

    def kept(self, peer: PeerId) -> None:
        """It gave what it announced."""
        self._broken.pop(peer, None)

    def broke(self, peer: PeerId, group: str) -> None:
        """It did not; it is seen in this public network ("": none)."""
        self._count(peer)
        if group and not self._known(peer):
            self._count(group)

    def trusts(self, peer: PeerId, group: str) -> bool:
        """Whether its word is good for a payload."""
        if self._suspect(peer):
            return False
        return not group or self._known(peer) or not self._suspect(group)

    def validate(self) -> None:
        """Assert the invariant: bounded."""
        assert len(self._broken) <= self._limits.authors

    def _suspect(self, who: PeerId | str) -> bool:
        broken, last = self._broken.get(who, (0, 0))
        return broken >= self._limits.promises and self.round <= last + self._limits.distrust

    def _count(self, who: PeerId | str) -> None:
        broken, _ = self._broken.get(who, (0, 0))
        self._broken[who] = broken + 1, self.round
        self._broken.move_to_end(who)
        if len(self._broken) > self._limits.authors:
            self._broken.popitem(last=False)
