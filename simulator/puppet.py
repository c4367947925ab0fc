"""One identity of an attacker over any transport: a real gossip service that listens, signs and breaks frames.

Laws:
- A puppet joins, signs and serves like any node, and takes in what the target publishes.
- Broken frames and blobs go beside the service, through the same connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gossip.codec import encode_frame
from gossip.errors import Drop, GossipError
from gossip.events import GossipEvent, PeerAhead, PeerJoined, UpdateVerified
from gossip.executors import InlineExecutor
from gossip.handshake import Handshake, Party
from gossip.ledger import MemoryLedger
from gossip.limits import Limits
from gossip.messages import Announce, Buffer, Schema
from gossip.service import GossipService
from gossip.transport import Receiver, Transport
from identity.keys import PeerId, SigningKey
from simulator.attacks.frame_fault import FaultView, FrameFault

HEARD = 64  # frames kept for replays


class Puppet:
    """Call `start`, `join`, then `send` once a round, then `close`.

    Attributes:
        heard: newest model of each author, by peer id: (round, (d,) float32).
        sent: frames and updates that left.
        news: set when an update was heard; whoever waits clears it.
    """

    def __init__(
        self,
        key: SigningKey,
        network: bytes,
        schema: Schema,
        transport: Transport,
        generator: np.random.Generator,
        limits: Limits = Limits(),
    ) -> None:
        """Nothing happens before `start`; arguments as those of GossipService."""
        self.key = key
        self.heard: dict[PeerId, tuple[int, Tensor]] = {}
        self.news = asyncio.Event()
        self.sent = 0
        self._round = 0
        self._network = network
        self._schema = schema
        self._limits = limits
        self._generator = generator
        self._announced: list[bytes] = []
        self._tap = _Tap(transport)
        self._gossip = GossipService(
            key,
            network,
            schema,
            self._tap,
            MemoryLedger(keep=2),
            wants=lambda header, via, distance: True,
            on_event=self._event,
            generator=generator,
            executor=InlineExecutor(),
            limits=limits,
        )

    async def start(self) -> None:
        """Listen."""
        await self._gossip.start()

    async def join(self, address: str) -> PeerId:
        """Dial the target and shake hands.

        Raises:
            RemoteFault: nobody answers, or not this network.
        """
        return await self._tap.dial(address)

    async def send(self, round: int, model: Tensor, faults: Sequence[FrameFault] = ()) -> None:
        """Publish a model and commit the faults. A model that is not finite is not published: no node would take it."""
        vector = model.detach().contiguous().numpy().astype("<f4", copy=False).tobytes()
        view = FaultView(
            key=self.key,
            network=self._network,
            schema=self._schema,
            limits=self._limits,
            round=round,
            vector=vector,
            heard=tuple(self._tap.heard),
            sent=tuple(self._announced),
            generator=self._generator,
        )
        broken = [fault.act(view) for fault in faults]
        self._follow(round)
        if not any(fault.instead for fault in faults) and bool(torch.isfinite(model).all()):
            update = await self._gossip.publish(round, vector)
            self.sent += 1
            self._announced.append(encode_frame(Announce(update.envelope)))
        for fault, act in zip(faults, broken, strict=True):
            self._tap.blobs.update(act.blobs or {})
            for frame in act.frames:
                for peer in self._tap.connected():
                    self.sent += self._tap.send(peer, frame)
            if fault.instead and act.frames:
                self._announced.append(act.frames[-1])

    def connected(self) -> bool:
        """Whether anybody is."""
        return bool(self._tap.connected())

    async def close(self) -> None:
        """Say goodbye."""
        await self._gossip.close()

    def _event(self, event: GossipEvent) -> None:
        if isinstance(event, PeerJoined | PeerAhead):
            self._follow(event.round)
        if not isinstance(event, UpdateVerified):
            return
        self._follow(event.update.header.round)
        author, round = event.update.header.author, event.update.header.round
        if author not in self.heard or round >= self.heard[author][0]:
            self.heard[author] = (round, torch.tensor(event.update.vector))
        self.news.set()

    def _follow(self, round: int) -> None:
        """Be in the target's round, or its updates would be too early for us. Later: an event must not re-enter."""
        if round > self._round:
            self._round = round
            asyncio.get_running_loop().call_soon(self._gossip.advance, round)


class _Tap:
    """Stands between a transport and a gossip service: keeps what comes in, and serves blobs that nobody should."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._service: Receiver
        self.blobs: dict[bytes, bytes] = {}
        self.heard: deque[bytes] = deque(maxlen=HEARD)

    # As a receiver

    def handshake(self, dialled: bool, expect: PeerId | None = None) -> Handshake:
        return self._service.handshake(dialled, expect)

    def joined(self, party: Party) -> None:
        self._service.joined(party)

    def left(self, peer: PeerId, reason: str) -> None:
        self._service.left(peer, reason)

    def frame(self, peer: PeerId, data: bytes) -> None:
        self.heard.append(data)
        self._service.frame(peer, data)

    def blob(self, digest: bytes) -> Buffer | None:
        broken = self.blobs.get(digest)
        return self._service.blob(digest) if broken is None else broken

    def dropped(self, reason: Drop, peer: PeerId | None) -> None:
        self._service.dropped(reason, peer)

    # As a transport

    @property
    def address(self) -> str:
        return self._transport.address

    async def start(self, receiver: Receiver) -> None:
        self._service = receiver
        await self._transport.start(self)

    async def dial(self, address: str, expect: PeerId | None = None) -> PeerId:
        return await self._transport.dial(address, expect)

    def send(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        try:
            return self._transport.send(peer, frame, replaces)
        except GossipError:  # too long even for a transport that was told to allow much
            return False

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        return await self._transport.fetch(peer, digest, length)

    def connected(self) -> tuple[PeerId, ...]:
        return self._transport.connected()

    async def drop(self, peer: PeerId, reason: str) -> None:
        await self._transport.drop(peer, reason)

    async def close(self) -> None:
        await self._transport.close()
