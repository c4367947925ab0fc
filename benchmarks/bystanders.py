"""`python -m benchmarks.bystanders HOST:PORT NETWORK SECONDS COUNT`: strangers who mean well, beside one node.

Each is a real gossip service: it fetches the node's model each round and publishes that model with a little noise of
its own, in place of training (a core for them all would be too few). It dials again whenever it was put out. Says
"begun" when all have dialled. Bounded: `SECONDS`. Loopback only.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.errors import LocalFault
from gossip.protocol.events import GossipEvent, PeerAhead, PeerJoined, UpdateVerified
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Schema, UpdateHeader
from gossip.service import GossipService
from gossip.transport.executors import InlineExecutor
from gossip.transport.files import raise_limit
from gossip.transport.http import HttpTransport
from identity.keys import PeerId, SigningKey
from node.config import parse_config
from node.learning.learner import Learner
from node.learning.tasks import make_task

NOISE = 1e-3


class Bystander:
    """One stranger that means well."""

    def __init__(self, network: bytes, schema: Schema, pool: ThreadPoolExecutor, where: str, number: int) -> None:
        """Nothing happens before `live`."""
        key = SigningKey.generate()
        self._generator = np.random.default_rng(number)
        self._round = -1
        self._target: PeerId | None = None
        self._model: NDArray[np.float32] | None = None
        self._news = asyncio.Event()
        self.gossip = GossipService(
            key,
            network,
            schema,
            HttpTransport(key.peer, pool),
            MemoryLedger(keep=1),
            wants=self._wants,
            on_event=self._hear,
            generator=self._generator,
            executor=InlineExecutor(),
            limits=Limits(settle=0.0, degree=0),
            bootstrap=[where],
        )

    async def live(self) -> None:
        """Publish in every round of the node, until cancelled."""
        said = -1
        try:
            await self.gossip.start()
            while True:
                await self._news.wait()
                self._news.clear()
                if self._round > said and self._model is not None:
                    said = self._round
                    mine = self._model + NOISE * self._generator.standard_normal(len(self._model), dtype=np.float32)
                    with suppress(LocalFault):
                        await self.gossip.publish(said, mine.astype("<f4").tobytes())
        finally:
            await self.gossip.close()

    def _wants(self, header: UpdateHeader, via: PeerId, distance: int) -> bool:
        if header.author != self._target:
            return False
        self._follow(header.round)
        return True

    def _hear(self, event: GossipEvent) -> None:
        if isinstance(event, PeerJoined):
            self._target = self._target or event.peer
        if isinstance(event, PeerJoined | PeerAhead) and event.peer == self._target:
            self._follow(event.round)
        if isinstance(event, UpdateVerified):
            self._model = event.update.vector
            self._news.set()

    def _follow(self, round: int) -> None:
        """Be in the node's round. Later: an event must not re-enter the service."""
        if round > self._round:
            self._round = round
            asyncio.get_running_loop().call_soon(self.gossip.advance, round)
            self._news.set()


async def crowd(where: str, network: bytes, seconds: float, count: int) -> None:
    """So many strangers for so long."""
    schema = Learner(make_task("digits")).schema
    with ThreadPoolExecutor(2) as pool, suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(Bystander(network, schema, pool, where, number).live())
                await asyncio.sleep(0.05)
            print("begun", flush=True)


def main(where: str, network: str, seconds: float, count: int) -> None:
    """Be there."""
    raise_limit()
    asyncio.run(crowd(where, parse_config({"network": {"name": network}}).network_id(), seconds, count))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
