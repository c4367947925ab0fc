"""Virtual time: an asyncio loop whose clock jumps to the next timer instead of waiting for it.

Laws:
- Time moves only when nothing is ready to run; it then moves to the earliest timer, exactly.
- Timers of one instant fire in the order in which they were set (asyncio's own heap does not promise that), so a
  run has one order of events, whatever the machine does.
- No real input or output: a loop that waits for a socket, a thread or for nothing at all raises `Deadlock` at
  once.

Source: the same idea as in looptime and in FoundationDB's simulator (Zhou et al., SIGMOD 2021): run the real
    code, replace time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from heapq import heappush
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Deadlock(RuntimeError):
    """Every task waits and no timer is set: nothing can ever happen again."""


class _Leap(selectors.BaseSelector):
    """A selector that never waits: it adds the timeout to the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[FileDescriptorLike, selectors.SelectorKey] = {}

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        """Remember the file object; it is never polled."""
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[fileobj] = selectors.SelectorKey(fileobj, number, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Forget the file object."""
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Move the clock by `timeout` seconds.

        Raises:
            Deadlock: no timer is set.
        """
        if timeout is None:
            raise Deadlock("every task waits and no timer is set")
        if timeout > 0:
            self.now += timeout
        return []

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        """What is registered."""
        return self._keys


class _Timer(asyncio.TimerHandle):
    """A timer that knows when it was set relative to others."""

    __slots__ = ("number",)
    number: int

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _Timer):
            return NotImplemented
        return (self.when(), self.number) < (other.when(), other.number)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, from 0 seconds."""

    _scheduled: list[_Timer]

    def __init__(self) -> None:
        self._leap = _Leap()
        self._timers = 0
        super().__init__(self._leap)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at a virtual time; see `asyncio.AbstractEventLoop.call_at`."""
        timer = _Timer(when, callback, args, self, context)
        self._timers += 1
        timer.number = self._timers
        heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # as BaseEventLoop.call_at does
        return timer

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._leap.now


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in virtual time; cancels what it leaves behind.

    Raises:
        Deadlock: it can never end.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
