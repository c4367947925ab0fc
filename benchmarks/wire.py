"""What the wire costs, as ratios to bare sockets in the same run.

Rows:
- `update_4mb`: one 4 MB update over loopback, from the signed header to the verified array (header verified, payload
  fetched, hashed, checked for shape and finiteness), against raw TCP + SHA-256 + one Ed25519 verification.
- `payload_1_peer`, `payload_8_peers`: blobs from one peer or from eight at a time, as a share of raw TCP with as many
  connections and the same SHA-256 over what came; `..._unhashed`: against raw TCP that hashes nothing. `..._share_...`
  compares seconds, `..._cores_...` the seconds of all cores, which other work on the machine moves less. Hashing alone
  (1.8 GB/s a core) takes more than raw TCP, so that no `unhashed` row can come near 1.
- `small_messages`: control frames a second through one link.

The baseline has blocking sockets, a thread for each end of each connection, one uncleared buffer of the right size,
and one SHA-256 over the whole at the end; connecting and starting threads is not counted. Ours has one event loop for
both ends, and two threads for all hashing. Both are measured in turns, and what is reported is the ratio of the
medians. On a loaded machine the baseline has more threads that ask for a core (16 against 3 with eight peers).

Run: python benchmarks/wire.py
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any, TypeAlias

import numpy as np

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.errors import Drop
from gossip.protocol.events import GossipEvent, UpdateVerified
from gossip.protocol.handshake import Greeting, Handshake, Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Buffer, Schema, TensorSpec
from gossip.service import GossipService
from gossip.transport.http import HttpTransport
from identity.envelope import open_envelope, seal
from identity.keys import PeerId, SigningKey

FLOATS = 1_000_000  # 4 MB
REPEATS = 15
TURNS = 9
BLOB = 16 * 1024 * 1024
FRAMES = 20_000
NETWORK = bytes(32)


Cost: TypeAlias = tuple[float, float]


class Node:
    """A bare receiver on an HTTP transport."""

    def __init__(self, seed: int, pool: ThreadPoolExecutor) -> None:
        """A node of its own key."""
        self.key = SigningKey(seed.to_bytes(32, "big"))
        self.limits = Limits(queue=FRAMES, socket_rate=1e12, socket_burst=1e12)  # as much as it can, not as it should
        self.transport = HttpTransport(self.key.peer, pool, limits=self.limits)
        self.blobs: dict[bytes, Buffer] = {}
        self.frames = 0

    def handshake(self, dialled: bool, expect: PeerId | None = None) -> Handshake:
        """See `gossip.transport.contract.Receiver`."""
        greeting = Greeting(NETWORK, NETWORK, self.transport.address, 0, 0)
        return Handshake(self.key, greeting, os.urandom(32), dialled, expect)

    def joined(self, party: Party) -> None:
        """See `gossip.transport.contract.Receiver`."""

    def left(self, peer: PeerId, reason: str) -> None:
        """See `gossip.transport.contract.Receiver`."""

    def frame(self, peer: PeerId, data: bytes) -> float:
        """See `gossip.transport.contract.Receiver`."""
        self.frames += 1
        return 0.0

    def known(self, peer: PeerId) -> bool:
        """See `gossip.transport.contract.Receiver`."""
        return True

    def blob(self, digest: bytes, peer: PeerId) -> Buffer | None:
        """See `gossip.transport.contract.Receiver`."""
        return self.blobs.get(digest)

    def dropped(self, reason: Drop, peer: PeerId | None) -> None:
        """See `gossip.transport.contract.Receiver`."""


async def update_seconds(pool: ThreadPoolExecutor) -> tuple[float, float]:
    """Seconds for one update through the service, and for the same bytes over bare TCP: medians, taken in turns."""
    schema = Schema((TensorSpec("w", (FLOATS,)),))
    arrived = asyncio.Event()

    def on_event(event: GossipEvent) -> None:
        if isinstance(event, UpdateVerified):
            arrived.set()

    services: list[GossipService] = []
    for seed in (1, 2):
        key = SigningKey(seed.to_bytes(32, "big"))
        service = GossipService(
            key,
            NETWORK,
            schema,
            HttpTransport(key.peer, pool),
            MemoryLedger(),
            wants=lambda header, via, distance: True,
            on_event=on_event,
            generator=np.random.default_rng(seed),
            executor=pool,
            bootstrap=[services[0].address] if services else [],
        )
        await service.start()
        services.append(service)
    one, other = services
    while not one.peers() or not other.peers():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    vector = np.arange(FLOATS, dtype="<f4")
    ours, bare = [], []
    for round in range(REPEATS):
        one.advance(round)
        other.advance(round)
        arrived.clear()
        vector[0] = round
        sent = _Sent(one)
        update = asyncio.ensure_future(one.publish(round, vector.tobytes()))
        await sent.event.wait()
        began = sent.at
        await arrived.wait()
        ours.append(time.perf_counter() - began)
        bare.append(await _bare_update(bytes((await update).payload)))
    await one.close()
    await other.close()
    return median(ours), median(bare)


class _Sent:
    """When the header of the next publish is handed to the transport: the clock starts there."""

    def __init__(self, service: GossipService) -> None:
        self.event = asyncio.Event()
        self.at = 0.0
        transport = service._transport
        send = type(transport).send

        def timed(peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
            if not self.event.is_set():
                self.at = time.perf_counter()
                self.event.set()
            return send(transport, peer, frame, replaces)

        transport.send = timed  # type: ignore[method-assign]


async def _bare_update(payload: bytes) -> float:
    """Seconds to move these bytes over bare TCP, hash them and verify one signature."""
    envelope = seal(SigningKey(bytes(32)), "update", bytes(300))
    seconds, _ = await _bare_tcp(payload, 1, digest=True)
    began = time.perf_counter()
    open_envelope(envelope, "update")
    return seconds + time.perf_counter() - began


async def _bare_tcp(payload: bytes, peers: int, digest: bool) -> Cost:
    """Seconds to receive `payload` from each of so many peers at once, after one such transfer to warm up."""
    links = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(peers):
            near = socket.create_connection(server.getsockname())
            far, _ = server.accept()
            links.append((near, far))

    def give(far: socket.socket) -> None:
        far.sendall(payload)

    def take(near: socket.socket) -> None:
        view = np.empty(len(payload), dtype=np.uint8).data
        at = 0
        while at < len(view):
            at += near.recv_into(view[at:])
        if digest:
            hashlib.sha256(view).digest()

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2 * peers) as pool:

        async def pull() -> None:
            ends = [loop.run_in_executor(pool, give, far) for _, far in links]
            ends += [loop.run_in_executor(pool, take, near) for near, _ in links]
            await asyncio.gather(*ends)

        await pull()
        cost = await _timed(pull)
    for near, far in links:
        near.close()
        far.close()
    return cost


async def _timed(work: Callable[[], Awaitable[Any]]) -> Cost:
    """Seconds by the clock, and of all cores together."""
    began, spent = time.perf_counter(), time.process_time()
    await work()
    return time.perf_counter() - began, time.process_time() - spent


async def payload_costs(pool: ThreadPoolExecutor, peers: int) -> tuple[Cost, Cost, Cost]:
    """What it costs to fetch one blob from each of so many peers at once: ours, bare and hashed, bare; medians."""
    blob = os.urandom(BLOB)
    digest = hashlib.sha256(blob).digest()
    one = Node(100, pool)
    await one.transport.start(one)
    holders = [Node(n + 1, pool) for n in range(peers)]
    for holder in holders:
        await holder.transport.start(holder)
        holder.blobs[digest] = blob
        await one.transport.dial(holder.transport.address)

    async def pull() -> None:
        await asyncio.gather(*(one.transport.fetch(holder.key.peer, digest, BLOB) for holder in holders))

    await pull()
    ours, hashed, bare = [], [], []
    for _ in range(TURNS):
        ours.append(await _timed(pull))
        hashed.append(await _bare_tcp(blob, peers, digest=True))
        bare.append(await _bare_tcp(blob, peers, digest=False))
    for node in (one, *holders):
        await node.transport.close()
    return _middle(ours), _middle(hashed), _middle(bare)


def _middle(costs: list[Cost]) -> Cost:
    return median(wall for wall, _ in costs), median(cores for _, cores in costs)


async def messages_a_second(pool: ThreadPoolExecutor) -> float:
    """Frames of 200 bytes through one link."""
    one, other = Node(1, pool), Node(2, pool)
    for node in (one, other):
        await node.transport.start(node)
    peer = await one.transport.dial(other.transport.address)
    began = time.perf_counter()
    for _ in range(FRAMES):
        one.transport.send(peer, bytes(200))
    while other.frames < FRAMES:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    rate = FRAMES / (time.perf_counter() - began)
    for node in (one, other):
        await node.transport.close()
    return rate


async def _all() -> dict[str, float]:
    with ThreadPoolExecutor(2) as pool:
        ours, bare = await update_seconds(pool)
        rows = {"update_4mb_ms": 1e3 * ours, "update_4mb_bare_ms": 1e3 * bare, "update_4mb_ratio": ours / bare}
        for peers, name in ((1, "payload_1_peer"), (8, "payload_8_peers")):
            mine, hashed, plain = await payload_costs(pool, peers)
            rows[f"{name}_mb_s"] = peers * BLOB / mine[0] / 1e6
            rows[f"{name}_share_of_hashed"] = hashed[0] / mine[0]
            rows[f"{name}_share_unhashed"] = plain[0] / mine[0]
            rows[f"{name}_cores_of_hashed"] = hashed[1] / mine[1]
            rows[f"{name}_cores_unhashed"] = plain[1] / mine[1]
        rows["small_messages_per_s"] = await messages_a_second(pool)
    return rows


def run() -> dict[str, float]:
    """All rows by name, on uvloop if it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_all())
    work: Coroutine[None, None, dict[str, float]] = _all()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def main() -> None:
    """Print the table."""
    for name, value in run().items():
        print(f"{name:36s} {value:14.3f}")


if __name__ == "__main__":
    main()
