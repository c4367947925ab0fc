"""A puppet follows the node that it joined, and notices when that one hangs up."""

from __future__ import annotations

import asyncio

import numpy as np

from gossip.protocol.messages import Schema, TensorSpec
from identity.keys import SigningKey
from simulator.live.puppet import Puppet
from simulator.world.clock import run
from simulator.world.network import MemoryNetwork
from simulator.world.transport import MemoryTransport

SCHEMA = Schema((TensorSpec("weight", (3,)),))


def puppet(network: MemoryNetwork, number: int) -> Puppet:
    key = SigningKey(bytes([number]) * 32)
    transport = MemoryTransport(network, key.peer, f"puppet-{number}")
    return Puppet(key, bytes(32), SCHEMA, transport, np.random.default_rng(number))


def test_whoever_waits_for_news_is_woken_when_the_other_side_hangs_up() -> None:
    async def story() -> None:
        network = MemoryNetwork(1)
        one, other = puppet(network, 1), puppet(network, 2)
        third = puppet(network, 3)
        for each in (one, other, third):
            await each.start()
        await one.join("puppet-2")
        await third.join("puppet-1")  # whoever else has dialled us is not the target
        one.news.clear()
        assert one.connected(other.key.peer)
        await other.close()
        async with asyncio.timeout(10):  # virtual
            await one.news.wait()
        assert not one.connected(other.key.peer)
        assert one.connected(third.key.peer)
        await one.close()
        await third.close()

    run(story())
