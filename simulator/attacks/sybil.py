"""One identity of an attacker over any transport: a real gossip service that signs what it is told to, and breaks
frames.

Laws:
- A Sybil handshakes, signs, announces and serves like any node.
- Broken frames and blobs go beside the service, through the same connections (simulator.attacks.tap).
- In a world it is deaf: the adversary sees what honest nodes sign without asking. On a real network it listens, and
  is told what the target publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.codec import encode_frame
from gossip.protocol.events import GossipEvent
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Announce, Schema
from gossip.service import GossipService
from gossip.transport.contract import Transport
from gossip.transport.executors import InlineExecutor
from identity.keys import PeerId, SigningKey
from simulator.attacks.frame_fault import Broken, FaultView, FrameFault
from simulator.attacks.tap import Tap


class Sybil:
    """One identity; call `start`, then `send` once a round, then `close`."""

    def __init__(
        self,
        key: SigningKey,
        network: bytes,
        schema: Schema,
        transport: Transport,
        *,
        generator: np.random.Generator,
        limits: Limits,
        hear: Callable[[GossipEvent], None] | None = None,
        nonce: Callable[[], bytes] | None = None,
        bootstrap: Sequence[str] = (),
        allow: frozenset[PeerId] | None = None,
    ) -> None:
        """Nothing happens before `start`; arguments as those of GossipService, and `hear`: told everything that its
        service is; None: it is deaf."""
        self._key = key
        self._network = network
        self._schema = schema
        self._limits = limits
        self._generator = generator
        self._round = 0
        self._sent: list[bytes] = []
        self._tap = Tap(transport, deaf=hear is None)
        self._gossip = GossipService(
            key,
            network,
            schema,
            self._tap,
            MemoryLedger(keep=2),
            wants=lambda header, via, distance: hear is not None,
            on_event=hear or (lambda event: None),
            generator=generator,
            executor=InlineExecutor(),
            limits=limits,
            bootstrap=bootstrap,
            allow=allow,
            nonce=nonce,
        )

    async def start(self) -> None:
        """Listen, and dial whoever is to be dialled in the background."""
        await self._gossip.start()

    async def dial(self, address: str) -> PeerId:
        """Dial somebody and shake hands.

        Raises:
            RemoteFault: nobody answers, or not this network.
        """
        return await self._tap.dial(address)

    def advance(self, round: int) -> None:
        """Be in this round, or what others publish in it would be too early for us. Never goes back."""
        if round > self._round:
            self._round = round
            self._gossip.advance(round)

    async def send(self, round: int, vector: bytes, faults: Sequence[FrameFault] = ()) -> int:
        """Announce a model, or what the faults make of it.

        Args:
            round: of the update.
            vector: d little-endian float32; a model that is not finite is not sent (no honest node would take it).
            faults: to commit.

        Returns:
            Updates announced, and broken frames that left.
        """
        broken = self._broken(round, vector, faults) if faults else []
        sent = 0
        self.advance(round)
        if not any(fault.instead for fault in faults) and np.isfinite(np.frombuffer(vector, "<f4")).all():
            update = await self._gossip.publish(round, vector)
            sent += 1
            if faults:
                self._sent.append(encode_frame(Announce(update.envelope)))
        for fault, act in zip(faults, broken, strict=True):
            for digest, blob in (act.blobs or {}).items():
                self._tap.serve(digest, blob)
            sent += sum(self._tap.inject(frame) for frame in act.frames)
            if fault.instead and act.frames:
                self._sent.append(act.frames[-1])
        return sent

    def connected(self, peer: PeerId) -> bool:
        """Whether it is linked with us."""
        return peer in self._tap.connected()

    async def close(self) -> None:
        """Say goodbye."""
        await self._gossip.close()

    def _broken(self, round: int, vector: bytes, faults: Sequence[FrameFault]) -> list[Broken]:
        view = FaultView(
            key=self._key,
            network=self._network,
            schema=self._schema,
            limits=self._limits,
            round=round,
            vector=vector,
            heard=tuple(self._tap.heard),
            sent=tuple(self._sent),
            generator=self._generator,
        )
        return [fault.act(view) for fault in faults]
