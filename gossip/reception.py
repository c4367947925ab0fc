"""Who is heard: what a frame pays and passes before its message is taken, and what becomes of who sent a bad one.

Laws:
- Order: refused for a while, the peer's bucket, canonical bytes, one token more for each signature beyond the first.
- Nothing that a peer does raises out of here: every drop is counted by its reason and told as `Dropped`. What fails on
  our side meanwhile is told as `Broken`; only a disk that is full for now costs no more than what came.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

from gossip.company import Company
from gossip.patience import Patience
from gossip.protocol.codec import decode_frame
from gossip.protocol.errors import DiskFault, Drop, LocalFault, RemoteFault
from gossip.protocol.events import Broken, Dropped, GossipEvent
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Announce, Frame, Goodbye, HeaderRequest, Peers, Redeem, Relay, Vouches
from gossip.transport.contract import Transport
from identity.keys import PeerId

Take = Callable[[PeerId, Frame, float], None]


class Reception:
    """Judges who sends what.

    Attributes:
        counters: drops by reason.
        patience: how much work each peer may make.

    Args:
        company: who is here, and who of them is a stranger.
        transport: lets go of whoever misbehaved.
        limits: what peers may use.
        on_event: is told of every drop.
    """

    def __init__(
        self, company: Company, transport: Transport, limits: Limits, on_event: Callable[[GossipEvent], None]
    ) -> None:
        self.counters: Counter[Drop] = Counter()
        self.patience = Patience(limits)
        self._company = company
        self._transport = transport
        self._limits = limits
        self._on_event = on_event
        self._leaving: set[asyncio.Task[None]] = set()

    def hear(self, peer: PeerId, data: bytes, take: Take) -> float:
        """Take a frame of somebody who is here; returns the seconds in which nothing more is read of it."""
        now = clock()
        if self.patience.refuses(peer, now):
            return self._limits.refusal  # it is on its way out
        if not self.patience.take(peer, now):
            self.blame(Drop.PEER_RATE, peer)
            return self.patience.pause(peer, now)
        try:
            message = decode_frame(data, self._limits)
        except RemoteFault as fault:
            self.blame(fault.reason, peer)
            return self.owes(peer, 1)
        price = _price(message)
        if price > 1 and not self.patience.take(peer, now, price - 1):
            self.blame(Drop.PEER_RATE, peer)
        else:
            self.guard(peer, partial(take, peer, message, now), self.blame)
        return self.owes(peer, price)

    def guard(
        self, peer: PeerId, take: Callable[[], object], drop: Callable[[Drop, PeerId], None] | None = None
    ) -> None:
        """Do something with what a peer sent; what it raises is told, and ends here."""
        try:
            take()
        except RemoteFault as fault:
            (drop or self.drop)(fault.reason, peer)
        except DiskFault:
            self.drop(Drop.DISK, peer)
        except LocalFault as fault:
            self._on_event(Broken(fault))

    def owes(self, peer: PeerId, tokens: int) -> float:
        """Seconds until what a peer used of all strangers' budget is paid; nothing for a known one."""
        return 0.0 if self._company.known(peer) else self.patience.share(tokens, clock())

    def refuses(self, peer: PeerId) -> bool:
        """Whether we have nothing to do with it for now."""
        return self.patience.refuses(peer, clock())

    def drop(self, reason: Drop, peer: PeerId | None, address: str = "") -> None:
        """Count what was dropped, and tell it."""
        self.counters[reason] += 1
        self._on_event(Dropped(reason, peer, address))

    def blame(self, reason: Drop, peer: PeerId) -> None:
        """Drop what a peer itself sent; let it go when that was once too often."""
        self.drop(reason, peer)
        if self.patience.tires(peer, reason, clock()):
            self.dismiss(peer, "it misbehaved", 0.0 if self._company.known(peer) else self._limits.refusal)

    def dismiss(self, peer: PeerId, reason: str, refuse: float = 0.0) -> None:
        """Let a peer go, in the background."""
        task = asyncio.get_running_loop().create_task(self._transport.drop(peer, reason, refuse))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Wait for those who are on their way out."""
        await asyncio.gather(*self._leaving, return_exceptions=True)


def clock() -> float:
    """Monotonic seconds of the running loop."""
    return asyncio.get_running_loop().time()


def _price(message: Frame) -> int:
    """Tokens that a frame costs: one for each signature that is looked at, or header that is shown for it."""
    match message:
        case Peers(envelopes) | Vouches(_, envelopes):
            return max(1, len(envelopes))
        case HeaderRequest(_, first, last):
            return last - first + 1
        case Announce() | Relay() | Goodbye() | Redeem():
            return 1
