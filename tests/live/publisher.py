"""A process that signs and sends as fast as it can, to be killed: `publisher.py FOLDER KILLS`.

For every kill a child is forked that opens the folder, sends again what it sent last, and goes on publishing. What
leaves the child goes to a pipe that the parent reads to the end; the parent kills it after a random while and
writes all frames, in hex, one a line with the child's number, to standard output.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from gossip.protocol.messages import Schema, TensorSpec
from gossip.service import GossipService
from gossip.transport.contract import Receiver
from gossip.transport.executors import InlineExecutor
from identity.keys import PeerId, SigningKey
from node.draws import Purpose, generator, uniforms
from node.store.folder import Store

ELEMENTS = 64
OTHER = PeerId(bytes(range(32)))


class PipeTransport:
    """A transport with one peer, at the other end of a pipe."""

    address = "pipe:1"

    def __init__(self, end: int) -> None:
        self._end = end

    async def start(self, receiver: Receiver) -> None:
        return None

    async def dial(self, address: str, expect: PeerId | None = None) -> PeerId:
        raise NotImplementedError

    def send(self, peer: PeerId, frame: bytes, replaces: bytes | None = None) -> bool:
        os.write(self._end, frame.hex().encode() + b"\n")
        return True

    async def fetch(self, peer: PeerId, digest: bytes, length: int) -> memoryview:
        raise NotImplementedError

    def connected(self) -> tuple[PeerId, ...]:
        return (OTHER,)

    async def drop(self, peer: PeerId, reason: str, refuse: float = 0.0) -> None:
        return None

    async def close(self) -> None:
        return None


async def publish_for_ever(folder: Path, end: int) -> None:
    schema = Schema((TensorSpec("w", (ELEMENTS,)),))
    noise = np.random.default_rng(os.getpid())  # training after a crash need not give the same bits
    with Store(folder, ELEMENTS) as store:
        service = GossipService(
            SigningKey(bytes(range(32))),
            bytes(32),
            schema,
            PipeTransport(end),
            store.ledger,
            wants=lambda header, via, distance: False,
            on_event=lambda event: None,
            generator=generator(1, Purpose.JITTER),
            executor=InlineExecutor(),
        )
        checkpoint = store.checkpoints.load()
        head = store.ledger.head()
        round = 0 if checkpoint is None else checkpoint.round
        assert head is None or round <= head.round + 1
        while True:
            vector = noise.normal(size=ELEMENTS).astype(np.float32)
            update = await service.publish(round, vector.tobytes())
            round += 1
            store.checkpoints.save(round, torch.from_numpy(update.vector.copy()), None)


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    delays = uniforms(7, Purpose.JITTER, np.arange(kills)) * 0.2
    for number in range(kills):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            asyncio.run(publish_for_ever(folder, writing))
        os.close(writing)
        if number % 2:  # every second one is killed while it publishes, the others perhaps while they start
            select.select([reading], [], [], 10.0)
        time.sleep(float(delays[number]))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading) as frames:
            for line in frames:
                sys.stdout.write(f"{number} {line}")
        if not os.WIFSIGNALED(status):
            sys.exit(f"child {number} ended by itself: {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
