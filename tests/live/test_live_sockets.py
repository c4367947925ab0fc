"""A daemon with few files and very many sockets: it plays on, whoever opens them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import PATIENCE, Daemon, until

from gossip.transport.files import raise_limit

COMMON = ["network.name=sockets", "network.listen=127.0.0.1:0", "round.pace=0.2", "task.parts=2"]
FILES = 1024
SOCKETS = 1500


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Daemon]]:
    daemons = [Daemon(tmp_path / name, *COMMON, f"task.part={part}") for part, name in enumerate("ab")]
    yield daemons
    for daemon in daemons:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


async def crowd(address: str, node: Daemon, rounds: int, asks: bool) -> None:
    """Open so many sockets, and again whatever was closed, while the node plays so many rounds."""
    host, _, port = address.rpartition(":")
    over, there = asyncio.Event(), asyncio.Event()
    opened = 0

    async def one(number: int) -> None:
        nonlocal opened
        while not over.is_set():
            with contextlib.suppress(OSError):
                local = f"127.0.{1 + number // 250}.{1 + number % 250}"
                reader, writer = await asyncio.open_connection(host, int(port), local_addr=(local, 0))
                opened += 1
                if opened >= SOCKETS:
                    there.set()
                try:
                    if asks:
                        writer.write(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    await reader.read()
                finally:
                    writer.close()
            await asyncio.sleep(0.5)

    holding = [asyncio.ensure_future(one(number)) for number in range(SOCKETS)]
    await asyncio.wait_for(there.wait(), PATIENCE)
    began = node.round()
    await asyncio.to_thread(until, lambda: node.round() >= began + rounds)
    over.set()
    for task in holding:
        task.cancel()
    await asyncio.gather(*holding, return_exceptions=True)


@pytest.mark.parametrize("port", ["join", "status"])
@pytest.mark.parametrize("asks", [False, True])
def test_a_thousand_sockets_end_no_node(pair: list[Daemon], asks: bool, port: str) -> None:
    assert raise_limit() > 2 * SOCKETS
    a, b = pair
    a.start(files=FILES)
    b.start(f'network.join=["{a.told("join")}"]')
    until(lambda: a.records() and [n["verdict"] for n in a.records()[-1]["neighbours"]] not in ([], ["absent"]))
    address = a.told(port).rpartition("@")[2].removeprefix("http://")
    asyncio.run(crowd(address, a, 12, asks))
    assert a.process is not None
    assert a.process.poll() is None, a.said()
    heard = [[n["verdict"] for n in record["neighbours"]] for record in a.records()[-8:]]
    assert all(verdicts != ["absent"] for verdicts in heard)
    for daemon in pair:
        assert daemon.terminate()[0] == 0, daemon.said()
