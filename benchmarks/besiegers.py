"""`python -m benchmarks.besiegers HOST:PORT NETWORK SECONDS SHARE`: hostile strangers of every kind against one node.

Whoever is put out comes again as somebody else from another address (127.0.x.y). All of them are on one core. Says
"begun"; its last line is JSON: kind -> [most that were in at a time, how often one got in, how often one did not].
Bounded: `SECONDS`, and the numbers of `KINDS` times `SHARE`. Loopback only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Self

import aiohttp

from gossip.protocol.codec import (
    MAX_ROUND,
    RECORD,
    decode_frame,
    decode_header,
    encode_frame,
    encode_header,
    encode_record,
    payload_bytes,
    schema_digest,
)
from gossip.protocol.errors import RemoteFault
from gossip.protocol.handshake import Greeting, Handshake
from gossip.protocol.limits import Limits
from gossip.protocol.messages import NO_DIGEST, Announce, HeaderRequest, PeerRecord, Peers, Schema, UpdateHeader
from gossip.transport.files import raise_limit
from gossip.transport.listener import LINK_PATH
from identity.envelope import digest_of, seal, split
from identity.keys import SigningKey
from node.config import parse_config
from node.learning.learner import Learner
from node.learning.tasks import make_task

LIMITS = Limits()
AGAIN = 0.5  # seconds until somebody who was put out comes again
BATCH, REST = 50, 0.05  # frames at a time and seconds between: 1000 a second each, five times what is allowed
_OFF = (OSError, aiohttp.ClientError, asyncio.TimeoutError, RemoteFault, EOFError)
_addresses = count()


class Intruder:
    """One identity at one address: it shakes hands, and then it does as it pleases."""

    def __init__(self, network: bytes, schema: Schema) -> None:
        """Nothing happens before `async with`."""
        self.key = SigningKey.generate()
        self.network = network
        self.round = 0
        self.claims = 0
        self.news = asyncio.Event()
        self._length, self._schema = payload_bytes(schema), schema_digest(schema)
        self._sequence, self._previous = 0, NO_DIGEST

    async def enter(self, where: str) -> None:
        """Dial and shake hands.

        Raises:
            OSError, ClientError, TimeoutError, RemoteFault, EOFError: it was not let in.
        """
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, local_addr=(address(), 0)))
        try:
            async with asyncio.timeout(LIMITS.connect + LIMITS.hello):
                self.socket = await self._http.ws_connect(f"http://{where}{LINK_PATH}", compress=0)
                greeting = Greeting(self.network, self._schema, "", 0, self.claims)
                shake = Handshake(self.key, greeting, secrets.token_bytes(32), True)
                await self.socket.send_bytes(shake.first() or b"")
                while shake.party is None:
                    answer = shake.receive(await self._next())
                    if answer is not None:
                        await self.socket.send_bytes(answer)
                self.round = shake.party.hello.round
        except BaseException:
            await self._http.close()
            raise

    async def leave(self) -> None:
        """Hang up."""
        await self._http.close()

    async def listen(self) -> None:
        """Follow the node's rounds, and answer its pings, until it hangs up."""
        while True:
            data = await self._next()
            with suppress(RemoteFault):
                frame = decode_frame(data, LIMITS)
                if isinstance(frame, Announce):
                    self.round = max(self.round, decode_header(split(frame.envelope).body, LIMITS).round)
                    self.news.set()

    def header(self, round: int) -> bytes:
        """The next header of our chain: a frame about a payload that nobody has."""
        self._sequence += 1
        body = encode_header(
            UpdateHeader(
                network=self.network,
                author=self.key.peer,
                sequence=self._sequence,
                round=round,
                previous=self._previous,
                payload_length=self._length,
                payload_digest=hashlib.sha256(secrets.token_bytes(8)).digest(),
                schema=self._schema,
            )
        )
        self._previous = digest_of("update", body)
        return encode_frame(Announce(seal(self.key, "update", body)))

    async def _next(self) -> bytes:
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise EOFError("it hung up")
        return bytes(message.data)


async def hold(me: Intruder) -> None:
    """Announce an update each round, and give it to nobody."""
    said = -1
    while True:
        if me.round > said:
            said = me.round
            await me.socket.send_bytes(me.header(said))
        await me.news.wait()
        me.news.clear()


async def occupy(me: Intruder) -> None:
    """Take a place and say nothing."""
    await asyncio.Event().wait()


async def far(me: Intruder) -> None:
    """Be at the end of all rounds, and publish there."""
    for back in count(1):
        await me.socket.send_bytes(me.header(me.round + 3 if back % 2 else MAX_ROUND - 10**6 + back))
        await asyncio.sleep(REST)


async def tell(me: Intruder) -> None:
    """Tell addresses of peers that were never there."""
    keys = [SigningKey.generate() for _ in range(LIMITS.peers_in_frame)]
    for lot in count(1):
        records = (PeerRecord(me.network, key.peer, f"127.9.{lot % 250}.1:7700", lot) for key in keys)
        sealed = (seal(key, RECORD, encode_record(each)) for key, each in zip(keys, records, strict=True))
        frame = encode_frame(Peers(tuple(sealed)))
        await _flood(me.socket.send_bytes, frame)


async def ask(me: Intruder) -> None:
    """Ask for headers."""
    frame = encode_frame(HeaderRequest(me.key.peer, 1, LIMITS.headers_in_request))
    while True:
        await _flood(me.socket.send_bytes, frame)


async def junk(me: Intruder) -> None:
    """Send bytes that are no message."""
    while True:
        await _flood(me.socket.send_bytes, secrets.token_bytes(64))


async def ping(me: Intruder) -> None:
    """Ping."""
    while True:
        await _flood(me.socket.ping, b"x" * 100)


KINDS: Mapping[str, tuple[Callable[[Intruder], Awaitable[None]] | None, int]] = {
    "silent holders": (hold, 40),
    "place takers": (occupy, 48),
    "far rounds": (far, 8),
    "floods of peers": (tell, 8),
    "floods of requests": (ask, 8),
    "floods of junk": (junk, 8),
    "floods of pings": (ping, 8),
    "socket hoarders": (None, 300),
}
"""What they do, and how many come: the crowds of `hedgerow attack --suite siege`, and those of docs/threats.md."""


class Siege:
    """All of them, and how it goes."""

    def __init__(self, where: str, network: bytes) -> None:
        """Nothing happens before `run`."""
        self._where, self._network = where, network
        self._schema = Learner(make_task("digits")).schema
        self._inside = dict.fromkeys(KINDS, 0)
        self.most = dict.fromkeys(KINDS, 0)
        self.entered = dict.fromkeys(KINDS, 0)
        self.kept_out = dict.fromkeys(KINDS, 0)

    async def run(self, seconds: float, share: float) -> None:
        """Until time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                left = {kind: max(1, round(number * share)) for kind, (_, number) in KINDS.items()}
                while any(left.values()):  # in turns: places are few, and each kind is to have some
                    for kind in (kind for kind, number in left.items() if number):
                        group.create_task(self._again_and_again(kind))
                        left[kind] -= 1

    async def _again_and_again(self, kind: str) -> None:
        act = KINDS[kind][0]
        while True:
            with suppress(*_OFF, ExceptionGroup):
                await (self._hoard(kind) if act is None else self._visit(kind, act))
            await asyncio.sleep(AGAIN)

    async def _visit(self, kind: str, act: Callable[[Intruder], Awaitable[None]]) -> None:
        me = Intruder(self._network, self._schema)
        me.claims = MAX_ROUND if act is far else 0
        try:
            await me.enter(self._where)
        except _OFF:
            self.kept_out[kind] += 1
            return
        with _Inside(self, kind):
            doing = asyncio.ensure_future(act(me))
            try:
                await me.listen()
            finally:
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)
                await me.leave()

    async def _hoard(self, kind: str) -> None:
        """A socket without a key: silent, or with a request that never ends."""
        host, _, port = self._where.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port), local_addr=(address(), 0))
        except OSError:
            self.kept_out[kind] += 1
            return
        with _Inside(self, kind):
            try:
                if self.entered[kind] % 2:
                    writer.write(b"GET /v1/gossip HTTP/1.1\r\nHost: 127.0.0.1\r\n")
                await reader.read()
            finally:
                writer.close()


class _Inside:
    def __init__(self, siege: Siege, kind: str) -> None:
        self._siege, self._kind = siege, kind

    def __enter__(self) -> Self:
        siege, kind = self._siege, self._kind
        siege.entered[kind] += 1
        siege._inside[kind] += 1
        siege.most[kind] = max(siege.most[kind], siege._inside[kind])
        return self

    def __exit__(self, *why: object) -> None:
        self._siege._inside[self._kind] -= 1


def address() -> str:
    """A loopback address that nobody of us had for long: 127.0.1.1 to 127.0.250.250."""
    number = next(_addresses)
    return f"127.0.{1 + number // 250 % 250}.{1 + number % 250}"


async def _flood(send: Callable[[bytes], Awaitable[None]], data: bytes) -> None:
    for _ in range(BATCH):
        await send(data)
    await asyncio.sleep(REST)


def main(where: str, network: str, seconds: float, share: float) -> None:
    """Besiege, and say how it went."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    raise_limit()
    siege = Siege(where, parse_config({"network": {"name": network}}).network_id())
    print("begun", flush=True)
    asyncio.run(siege.run(seconds, share))
    print(json.dumps({kind: [siege.most[kind], siege.entered[kind], siege.kept_out[kind]] for kind in KINDS}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
