"""A Sybil that listens: it joins a live node, follows its rounds and remembers the newest model of everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gossip.protocol.events import GossipEvent, PeerAhead, PeerJoined, PeerLeft, UpdateVerified
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Schema
from gossip.transport.contract import Transport
from identity.keys import PeerId, SigningKey
from simulator.attacks.frame_fault import FrameFault
from simulator.attacks.sybil import Sybil


class Puppet:
    """Call `start`, `join`, then `send` once a round, then `close`.

    Attributes:
        heard: newest model of each author, by peer id: (round, (d,) float32).
        sent: frames and updates that left.
        news: set when an update was heard or the connection ended; whoever waits clears it.
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
        self._sybil = Sybil(key, network, schema, transport, generator=generator, limits=limits, hear=self._hear)

    async def start(self) -> None:
        """Listen."""
        await self._sybil.start()

    async def join(self, address: str) -> PeerId:
        """Dial the target and shake hands.

        Raises:
            RemoteFault: nobody answers, or not this network.
        """
        return await self._sybil.dial(address)

    async def send(self, round: int, model: Tensor, faults: Sequence[FrameFault] = ()) -> None:
        """Publish a model and commit the faults; see `Sybil.send`."""
        vector = model.detach().contiguous().numpy().astype("<f4", copy=False).tobytes()
        self.sent += await self._sybil.send(round, vector, faults)

    def connected(self, target: PeerId) -> bool:
        """Whether it is linked with the target; others may have dialled it meanwhile."""
        return self._sybil.connected(target)

    async def close(self) -> None:
        """Say goodbye."""
        await self._sybil.close()

    def _hear(self, event: GossipEvent) -> None:
        if isinstance(event, PeerJoined | PeerAhead):
            self._follow(event.round)
        if isinstance(event, PeerLeft):
            self.news.set()
        if not isinstance(event, UpdateVerified):
            return
        self._follow(event.update.header.round)
        author, round = event.update.header.author, event.update.header.round
        if author not in self.heard or round >= self.heard[author][0]:
            self.heard[author] = (round, torch.tensor(event.update.vector))
        self.news.set()

    def _follow(self, round: int) -> None:
        """Be in the target's round. Later: an event must not re-enter the service."""
        asyncio.get_running_loop().call_soon(self._sybil.advance, round)
