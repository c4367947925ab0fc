"""A door before a node that gives payloads a byte at a time and passes all else on: the slow half of the attack `drip`.

A target asks elsewhere for payloads only once the peer itself has answered there: so handshakes go through to it.

Law: every connection ends when the dripper is closed, or when whoever asked has gone.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gossip.transport.listener import BLOB_PATH

PAUSE = 0.2  # seconds between two bytes
_HEAD = 4096  # bytes of a request that are read
_TYPE = "application/octet-stream"


class Dripper:
    """Listens on loopback; `address` is known after `start`."""

    def __init__(self, length: int, pause: float = PAUSE) -> None:
        """Args: length: bytes that every answer promises; pause: seconds between two of them."""
        self._length = length
        self._pause = pause
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.behind = ""  # "HOST:PORT" of the node behind the door; "" = nobody
        self.asked = 0  # requests so far
        self.proven = asyncio.Event()  # a handshake went through to the node behind: payloads are asked for here now

    async def start(self, host: str = "127.0.0.1") -> str:
        """Begin to listen at any free port; returns the address."""
        self._server = await asyncio.start_server(self._serve, host, 0, limit=_HEAD)
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"
        return self.address

    async def close(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(f"GET {BLOB_PATH}".encode()):
                await self._pass_on(head, reader, writer)
                return
            self.asked += 1
            answer = f"HTTP/1.1 200 OK\r\nContent-Type: {_TYPE}\r\nContent-Length: {self._length}\r\n\r\n"
            writer.write(answer.encode("ascii"))
            for _ in range(self._length):
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(self._pause)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.behind.rpartition(":")
        if not port:
            return
        inner, outer = await asyncio.open_connection(host, int(port))
        try:
            outer.write(head)
            ways = [asyncio.create_task(_copy(*way)) for way in ((reader, outer), (inner, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            outer.close()
            self.proven.set()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_HEAD):
            sink.write(data)
            await sink.drain()
