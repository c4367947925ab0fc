"""A holder of payloads that answers properly and then gives a byte at a time: the slow half of the attack `drip`.

Law: every connection ends when the dripper is closed, or when whoever asked has gone.
"""

from __future__ import annotations

import asyncio

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
        self.asked = 0  # requests so far

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
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {_TYPE}\r\nContent-Length: {self._length}\r\n\r\n"
            writer.write(head.encode("ascii"))
            for _ in range(self._length):
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(self._pause)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
