"""The in-memory network: what its weather does, in virtual time."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.handshake import Greeting, Handshake, Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Buffer
from identity.keys import PeerId, SigningKey
from simulator.world.clock import run
from simulator.world.medium import Weather
from simulator.world.network import MemoryNetwork
from simulator.world.transport import MemoryTransport

DIGEST = hashlib.sha256(b"\0" * 1000).digest()


class Ear:
    """A receiver that notes when what came in."""

    def __init__(self, network: MemoryNetwork, number: int, limits: Limits = Limits(queue=1000)) -> None:
        self.key = SigningKey(bytes([number]) * 32)
        self.transport: MemoryTransport = MemoryTransport(network, self.key.peer, f"ear-{number}", limits)
        self.frames: list[tuple[float, bytes]] = []
        self.lefts: list[tuple[float, str]] = []
        self.drops: list[Drop] = []

    def handshake(self, dialled: bool, expect: PeerId | None = None) -> Handshake:
        greeting = Greeting(bytes(32), bytes(32), self.transport.address, 0, 0)
        return Handshake(self.key, greeting, self.key.peer, dialled, expect)

    def joined(self, party: Party) -> None:
        pass

    def left(self, peer: PeerId, reason: str) -> None:
        self.lefts.append((asyncio.get_running_loop().time(), reason))

    def frame(self, peer: PeerId, data: bytes) -> float:
        self.frames.append((asyncio.get_running_loop().time(), data))
        return 0.0

    def blob(self, digest: bytes, peer: PeerId) -> Buffer | None:
        return bytes(1000) if digest == DIGEST else None

    def dropped(self, reason: Drop, peer: PeerId | None) -> None:
        self.drops.append(reason)


async def two(weather: Weather, limits: Limits = Limits(queue=1000)) -> tuple[MemoryNetwork, Ear, Ear]:
    network = MemoryNetwork(1, weather)
    one, other = Ear(network, 1, limits), Ear(network, 2)
    await one.transport.start(one)
    await other.transport.start(other)
    await one.transport.dial("ear-2")
    await asyncio.sleep(weather.latency + weather.jitter)
    return network, one, other


async def talk(weather: Weather, count: int, gap: float) -> tuple[float, list[tuple[float, bytes]]]:
    _, one, other = await two(weather)
    began = asyncio.get_running_loop().time()
    for number in range(count):
        one.transport.send(other.key.peer, number.to_bytes(100, "big"))
        if gap:
            await asyncio.sleep(gap)
    await asyncio.sleep(60)
    return began, other.frames


def test_a_frame_takes_the_latency() -> None:
    began, frames = run(talk(Weather(latency=0.5), 1, 0))
    assert frames[0][0] == pytest.approx(began + 0.5)


def test_jitter_delays_and_never_reorders() -> None:
    _, frames = run(talk(Weather(latency=0.1, jitter=1.0), 300, 0.01))
    assert [int.from_bytes(data, "big") for _, data in frames] == list(range(300))
    assert len({when for when, _ in frames}) > 10


def test_bandwidth_spreads_what_is_sent_at_once() -> None:
    began, frames = run(talk(Weather(latency=0.0, bandwidth=1000.0), 20, 0))
    assert [when - began for when, _ in frames] == pytest.approx([0.1 * (k + 1) for k in range(20)])


def test_loss_takes_its_share_and_the_same_frames_each_time() -> None:
    first, second = (run(talk(Weather(loss=0.3), 2000, 0.001))[1] for _ in range(2))
    assert first == second
    assert 0.65 < len(first) / 2000 < 0.75


def test_a_cut_loses_frames_and_heals() -> None:
    async def main() -> list[bytes]:
        network, one, other = await two(Weather())
        for word, sides in ((b"before", {}), (b"during", {one.key.peer: 0, other.key.peer: 1}), (b"after", {})):
            network.cut(sides)
            one.transport.send(other.key.peer, word)
            await asyncio.sleep(1)
        assert one.lefts == other.lefts == []
        return [data for _, data in other.frames]

    assert run(main()) == [b"before", b"after"]


def test_a_long_cut_ends_the_connection_on_both_sides_and_dialling_across_it_times_out() -> None:
    async def main() -> None:
        network, one, other = await two(Weather())
        network.cut({one.key.peer: 0, other.key.peer: 1})
        await asyncio.sleep(Limits().heartbeat + 1)
        assert [reason for _, reason in one.lefts + other.lefts] == ["heartbeat missed"] * 2
        with pytest.raises(RemoteFault) as caught:
            await one.transport.dial("ear-2")
        assert caught.value.reason is Drop.TIMEOUT
        network.heal()
        assert await one.transport.dial("ear-2") == other.key.peer

    run(main())


def test_a_death_is_noticed_after_the_latency_and_fetches_end() -> None:
    async def main() -> None:
        _, one, other = await two(Weather(latency=0.5))
        asking = asyncio.ensure_future(one.transport.fetch(other.key.peer, DIGEST, 1000))
        await asyncio.sleep(0)
        other.transport.abort()
        died = asyncio.get_running_loop().time()
        with pytest.raises(RemoteFault) as caught:
            await asking
        assert caught.value.reason is Drop.UNAVAILABLE
        assert one.lefts == [(died + 0.5, "connection reset")]
        assert other.lefts == []

    run(main())


def test_bytes_are_counted_at_the_sender() -> None:
    async def main() -> tuple[int, int]:
        _, one, other = await two(Weather())
        before = one.transport.sent, other.transport.sent
        one.transport.send(other.key.peer, bytes(100))
        assert await one.transport.fetch(other.key.peer, DIGEST, 1000) == bytes(1000)
        return one.transport.sent - before[0], other.transport.sent - before[1]

    assert run(main()) == (164, 1000)


def test_a_frame_that_breaks_the_limit_is_dropped_by_who_gets_it() -> None:
    async def main() -> None:
        _, one, other = await two(Weather(), Limits(frame=2 * Limits().frame))
        one.transport.send(other.key.peer, bytes(Limits().frame + 1))
        one.transport.send(other.key.peer, b"fine")
        await asyncio.sleep(1)
        assert [data for _, data in other.frames] == [b"fine"]
        assert other.drops == [Drop.OVERSIZE]

    run(main())
