"""How much work a peer may make us, and how long misconduct is borne. Time is an argument.

Laws:
- An account is an identity's, not a connection's: leaving and coming back clears nothing.
- Each peer has a rate of its own: beyond it a frame is dropped, and nothing more is read until there is a token again.
- Statements about others have one more, since checking sixteen costs a frame's reader a millisecond.
- All strangers share one more: what they use beyond it is owed, and until it is paid nothing more is read of whoever
  used it. So a crowd waits in turn, and no frame is lost.
- After `Limits.guilt` things that no honest node sends, or `Limits.rate_guilt` frames beyond its rate, a peer is
  refused for `Limits.refusal` seconds; so long after the last of them the count begins anew.
- Bounded: `Limits.authors` accounts; the one used longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from gossip.protocol.errors import Drop
from gossip.protocol.limits import Limits
from gossip.protocol.rates import Bucket
from identity.keys import PeerId

GUILTY = frozenset({Drop.MALFORMED, Drop.BAD_SIGNATURE, Drop.OVERSIZE})
"""What nobody sends who checks what it passes on: a relay and a record are verified before they are told."""

_TOLD = 4.0  # peers frames in a row: whoever reconnects after a cut tells at each join


@dataclass(slots=True)
class _Account:
    """One identity's."""

    frames: Bucket
    peers: Bucket
    vouches: Bucket
    guilt: int = 0
    excess: int = 0
    last: float = 0.0  # when it was guilty
    until: float = float("-inf")  # refused


class Patience:
    """What is left of ours, by peer."""

    def __init__(self, limits: Limits) -> None:
        """Nobody has done anything."""
        self._limits = limits
        self._strangers = Bucket.full(limits.strangers_rate, limits.strangers_burst, 0.0)
        self._accounts: OrderedDict[PeerId, _Account] = OrderedDict()

    def take(self, peer: PeerId, now: float, count: int = 1) -> bool:
        """Take so many tokens of this peer's own; False if it has not as many."""
        return self._account(peer, now).frames.take(now, count)

    def tells(self, peer: PeerId, now: float) -> bool:
        """Whether it may tell addresses now: so many when it joins, and then one in `1 / Limits.peers_rate` seconds."""
        return self._account(peer, now).peers.take(now)

    def vouches(self, peer: PeerId, now: float, count: int) -> bool:
        """Take tokens for so many statements that it tells; False if it has not as many."""
        return self._account(peer, now).vouches.take(now, count)

    def pause(self, peer: PeerId, now: float) -> float:
        """Seconds until it has a token of its own."""
        return self._account(peer, now).frames.due(now)

    def share(self, count: int, now: float) -> float:
        """A stranger used so many tokens of all strangers': seconds until they are paid for."""
        self._strangers.owe(now, count)
        return self._strangers.due(now, 0.0)

    def tires(self, peer: PeerId, reason: Drop, now: float) -> bool:
        """Something that it sent was dropped: whether that was once too often, and it is refused from now on."""
        if reason not in GUILTY and reason is not Drop.PEER_RATE:
            return False
        account = self._account(peer, now)
        if now - account.last > self._limits.refusal:
            account.guilt = account.excess = 0
        account.last = now
        if reason is Drop.PEER_RATE:
            account.excess += 1
        else:
            account.guilt += 1
        if account.guilt < self._limits.guilt and account.excess < self._limits.rate_guilt:
            return False
        account.guilt = account.excess = 0
        account.until = now + self._limits.refusal
        return True

    def refuses(self, peer: PeerId, now: float) -> bool:
        """Whether we have nothing to do with it for now."""
        account = self._accounts.get(peer)
        return account is not None and now < account.until

    def validate(self) -> None:
        """Assert the invariant: bounded."""
        assert len(self._accounts) <= self._limits.authors

    def _account(self, peer: PeerId, now: float) -> _Account:
        account = self._accounts.get(peer)
        if account is None:
            limits = self._limits
            frames = Bucket.full(limits.peer_rate, limits.peer_burst, now)
            vouches = Bucket.full(limits.vouches_rate, limits.vouches_burst, now)
            account = _Account(frames, Bucket.full(limits.peers_rate, _TOLD, now), vouches)
            self._accounts[peer] = account
            if len(self._accounts) > limits.authors:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(peer)
        return account
