"""Calls that start an event loop of their own, from where one runs already: a notebook's cell, an async program.

Laws:
- Without a running loop the call is just called: its thread stays the main one, and signals are its own affair.
- Else it runs in a thread of its own while the caller waits. Ctrl-C asks it to end, once; the second time it is left.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
TICK = 0.2  # seconds: a thread that waits without end for another one would not hear Ctrl-C


def in_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Aside(Generic[T]):
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        """It begins at once."""
        self._call = call
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait(self, interrupt: Callable[[], None] | None = None) -> T:
        """What the call returns, or raises.

        Args:
            interrupt: asks the call to end, when Ctrl-C is pressed here; None: a KeyboardInterrupt is raised in it.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed again, or the call ended with it.
        """
        asked = False
        while self._thread.is_alive():
            try:
                self._thread.join(TICK)
            except KeyboardInterrupt:
                if asked:
                    raise
                asked = True
                (interrupt or self._raise_in_it)()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _raise_in_it(self) -> None:
        word = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(word, ctypes.py_object(KeyboardInterrupt))

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:
            self._error = error
