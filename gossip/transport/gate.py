"""Sockets that others open, counted the moment they are accepted, before anything reads a byte of them.

Laws:
- At most `Limits.sockets` at a time, `Limits.sockets_known` of these only for addresses of known peers; from one public
  network `Limits.origin_sockets`, and `Limits.origin_rate` new ones a second. Beyond that a socket is closed at once.
- Where all places are taken, the socket that has waited longest without a request makes room: whoever comes and asks
  gets in, whoever comes and is silent is pushed out by the next.
- `Limits.hello` seconds until the first request, `Limits.heartbeat` until each further one is whole, however it drips.
- `Limits.socket_rate` bytes a second, all requests and messages together: a socket that brings more is closed. What a
  message costs is counted above; pieces of messages that never end are seen here only.
- A public address that was refused for a while has no socket, unless a known peer is there.
- The last `Limits.files` files are never given to a socket: the disk needs them.
Addresses that are not public have no network here either (`gossip.transport.slots`): a laboratory is one of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import cast

from gossip.protocol.errors import Drop
from gossip.protocol.limits import Limits
from gossip.protocol.rates import Bucket
from gossip.transport.files import scarce
from gossip.transport.slots import group_of

_ORIGINS = 1024  # networks and addresses that are remembered, in each table; the one seen longest ago goes first


class Gate:
    """Use: `create_server(gate.enter, ...)`, then `busy` when a request came and `rest` when its answer is out."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        limits: Limits,
        dropped: Callable[[Drop], None] = lambda reason: None,
        friend: Callable[[str], bool] = lambda address: False,
    ) -> None:
        """Nobody is in.

        Args:
            make: makes what speaks over a socket that was let in.
            limits: `sockets*`, `origin_*`, `files`, `hello` and `heartbeat` are used.
            dropped: is told CONNECTIONS (a socket too many) and TIMEOUT (a socket without a request).
            friend: whether a known peer is at this IP address.
        """
        self._make = make
        self._limits = limits
        self._dropped = dropped
        self._friend = friend
        self._inside: dict[asyncio.Protocol, _Visitor] = {}
        self._waiting: OrderedDict[_Visitor, asyncio.TimerHandle] = OrderedDict()
        self._origins: Counter[str] = Counter()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()  # addresses, and until when

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self) -> asyncio.Protocol:
        """One more socket."""
        return _Visitor(self)

    def busy(self, speaker: asyncio.Protocol) -> None:
        """A request came over the socket of this speaker: nobody waits for one."""
        visitor = self._inside.get(speaker)
        if visitor is not None:
            self._settle(visitor)

    def rest(self, speaker: asyncio.Protocol) -> None:
        """Its answer is out: the next request has its time."""
        visitor = self._inside.get(speaker)
        if visitor is not None:
            self._settle(visitor)
            self._await(visitor, self._limits.heartbeat)

    def refuse(self, address: str, seconds: float) -> None:
        """Take nothing from this IP address for so long, if it is public: loopback is shared by a laboratory."""
        if not group_of(address):
            return
        self._refused[address] = asyncio.get_running_loop().time() + seconds
        self._refused.move_to_end(address)
        if len(self._refused) > _ORIGINS:
            self._refused.popitem(last=False)

    def bucket(self) -> Bucket:
        """What one socket may bring."""
        limits = self._limits
        return Bucket.full(limits.socket_rate, limits.socket_burst, asyncio.get_running_loop().time())

    def spent(self, visitor: _Visitor) -> None:
        """It brought more."""
        self._dropped(Drop.PEER_RATE)
        visitor.end()

    def close(self) -> None:
        """End every socket."""
        for visitor in list(self._inside.values()):
            self._settle(visitor)
            visitor.end()

    # what visitors call

    def admit(self, visitor: _Visitor) -> asyncio.Protocol | None:
        """What speaks over this socket; None: it is one too many."""
        if not self._room(visitor):
            self._dropped(Drop.CONNECTIONS)
            return None
        speaker = self._make()
        self._inside[speaker] = visitor
        self._origins[visitor.group] += 1
        self._await(visitor, self._limits.hello)
        return speaker

    def leave(self, visitor: _Visitor, speaker: asyncio.Protocol) -> None:
        """It has ended."""
        self._settle(visitor)
        if self._inside.pop(speaker, None) is None:
            return
        self._origins[visitor.group] -= 1
        if not self._origins[visitor.group]:
            del self._origins[visitor.group]

    # private

    def _room(self, visitor: _Visitor) -> bool:
        limits, group = self._limits, visitor.group
        friend = self._friend(visitor.address)
        if scarce(visitor.descriptor, limits.files):
            return False
        if group and not friend:
            if asyncio.get_running_loop().time() < self._refused.get(visitor.address, float("-inf")):
                return False
            crowded = self._origins[group] >= limits.origin_sockets
            if crowded or not self._bucket(group).take(asyncio.get_running_loop().time()):
                return False
        most = limits.sockets if friend else limits.sockets - limits.sockets_known
        if len(self) >= most and self._waiting:
            longest = next(iter(self._waiting))
            self._dropped(Drop.CONNECTIONS)
            longest.end()
        return len(self) < most

    def _bucket(self, group: str) -> Bucket:
        bucket = self._buckets.get(group)
        if bucket is None:
            rate = self._limits.origin_rate
            bucket = self._buckets[group] = Bucket.full(rate, rate, asyncio.get_running_loop().time())
            if len(self._buckets) > _ORIGINS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(group)
        return bucket

    def _await(self, visitor: _Visitor, seconds: float) -> None:
        self._waiting[visitor] = asyncio.get_running_loop().call_later(seconds, self._late, visitor)

    def _settle(self, visitor: _Visitor) -> None:
        timer = self._waiting.pop(visitor, None)
        if timer is not None:
            timer.cancel()

    def _late(self, visitor: _Visitor) -> None:
        self._dropped(Drop.TIMEOUT)
        visitor.end()


class _Visitor(asyncio.Protocol):
    """One accepted socket: passes everything on to what speaks over it, once it is let in."""

    def __init__(self, gate: Gate) -> None:
        self.address = ""
        self.group = ""
        self.descriptor = -1
        self._gate = gate
        self._speaker: asyncio.Protocol | None = None
        self._bytes: Bucket | None = None
        self._transport: asyncio.Transport | None = None

    def end(self) -> None:
        """Close it now; it is out at once."""
        if self._speaker is not None:
            self._gate.leave(self, self._speaker)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        name, below = transport.get_extra_info("peername"), transport.get_extra_info("socket")
        self.address = str(name[0]) if name else ""
        self.group = group_of(self.address)
        self.descriptor = -1 if below is None else below.fileno()
        self._speaker = self._gate.admit(self)
        if self._speaker is None:
            self._transport.abort()
        else:
            self._bytes = self._gate.bucket()
            self._speaker.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._speaker is None or self._bytes is None:
            return
        if self._bytes.take(asyncio.get_running_loop().time(), len(data)):
            self._speaker.data_received(data)
        else:
            self._gate.spent(self)

    def eof_received(self) -> bool | None:
        return None if self._speaker is None else self._speaker.eof_received()

    def pause_writing(self) -> None:
        if self._speaker is not None:
            self._speaker.pause_writing()

    def resume_writing(self) -> None:
        if self._speaker is not None:
            self._speaker.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._speaker is not None:
            self._gate.leave(self, self._speaker)
            self._speaker.connection_lost(error)
