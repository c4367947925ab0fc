"""Where large payloads are hashed and checked: a pool that is passed in, or inline under virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from gossip.protocol.limits import KIB

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

OFFLOAD_BYTES = 256 * KIB
"""Below this, hashing (about 1.5 GB/s) costs less than two switches of threads."""


class InlineExecutor(Executor):
    """Runs each call at once, in the caller's thread."""

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """Run the call; its result or exception is in the future that is returned."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


async def offload(executor: Executor, nbytes: int, work: Callable[[], Result]) -> Result:
    """The result of `work`, off the event loop if it touches enough bytes to be worth it."""
    if nbytes < OFFLOAD_BYTES or isinstance(executor, InlineExecutor):
        return work()
    return await asyncio.get_running_loop().run_in_executor(executor, work)
