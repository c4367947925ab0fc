"""Ctrl-C in the `hedgerow` command: one line and exit code 130, whatever the process is in the middle of.

Laws:
- Before the work begins there is nothing to keep, so the process ends at once: an exception out of an import ends in a
  trace, or is swallowed by it. The line says what there is (`meanwhile`), once a command knows.
- During the work (`raising`) Ctrl-C is a KeyboardInterrupt, so that the command can say what is kept. Inside an import
  or a finaliser, which would swallow it, it is put off until they are over.
- The second Ctrl-C ends the process at once.
- Who has Ctrl-C ignored (nohup, a job in the background) keeps it ignored.
- This module imports nothing heavy: it is the first that the command imports.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from node.exits import STOPPED

AGAIN = 0.05  # seconds after which a Ctrl-C that was put off is tried again
_SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"  # a progress bar hides it

_there = b""  # what there is to say besides, while Ctrl-C ends the process at once

Handler = Callable[[int, FrameType | None], None]


def end_at_once() -> None:
    """From now on Ctrl-C says `Stopped` and ends the process. Nothing changes where it is ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


def meanwhile(words: str) -> None:
    """Until the work begins, Ctrl-C says this besides: what was done, and where it is."""
    global _there
    _there = f": {words}".encode(errors="replace")


@contextmanager
def raising() -> Iterator[None]:
    """Within, Ctrl-C is a KeyboardInterrupt that no import swallows."""
    with _handling(_Raise()):
        yield


@contextmanager
def as_python_does() -> Iterator[None]:
    """Within, Ctrl-C is Python's own affair: what `asyncio.run` takes for the order to cancel its main task."""
    with _handling(signal.default_int_handler):
        yield


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    global _there
    _there = b""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Raise:
    """Raises KeyboardInterrupt, as soon as it is safe and once."""

    def __init__(self) -> None:
        self._asked = False
        self._put_off = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._asked and not self._put_off:
            _end(number, frame)
        self._asked = True
        self._put_off = _swallows(frame)
        if not self._put_off:
            raise KeyboardInterrupt
        again = threading.Timer(AGAIN, signal.raise_signal, (number,))
        again.daemon = True
        again.start()


def _swallows(frame: FrameType | None) -> bool:
    """Whether an exception raised here might not come out: an import or a finaliser is under way."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib") or code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with suppress(OSError):  # nobody reads
        os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + b"Stopped" + _there + b"\n")
    os._exit(STOPPED)
