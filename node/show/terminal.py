"""What commands print with: data on standard output, words and progress for people on standard error."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hedgerow_registry import Registry
from node.exits import STOPPED

EVERY = 10.0  # seconds between two lines of progress where there is no terminal
WIDE = 160  # columns of a table that goes into a file or a pipe


def _watched() -> bool:
    """Whether standard output is a terminal. It may be absent (pythonw), closed, or know only `write`."""
    try:
        return bool(sys.stdout.isatty())
    except (AttributeError, ValueError):
        return False


OUT = Console(highlight=False, markup=False, width=None if _watched() else WIDE)
LOG = Console(stderr=True, highlight=False, markup=False)


def drawable(text: str, otherwise: str) -> str:
    """The text where standard output can show all of it, else what is to be shown instead."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return otherwise
    return text


def tell(line: str) -> None:
    """One line for people, as it is."""
    LOG.print(line, soft_wrap=True)


class _Lines(Progress):
    """A bar where there is a terminal, a line every ten seconds where there is none, whether anything moves or not."""

    _over: threading.Event | None = None
    _teller: threading.Thread | None = None

    def start(self) -> None:
        super().start()
        if self.disable and self._over is None:
            self._over = threading.Event()
            self._teller = threading.Thread(target=self._tell, args=(self._over,), name="progress", daemon=True)
            self._teller.start()

    def stop(self) -> None:
        super().stop()
        if self._over is not None and self._teller is not None:
            self._over.set()
            self._teller.join()
            self._over = None

    def _tell(self, over: threading.Event) -> None:
        while not over.wait(EVERY):
            for job in self.tasks:
                left = job.fields.get("left")
                tell(f"{job.description}: {job.percentage:.0f} %" + (f", {left} left" if left else ""))


def progress(left: ProgressColumn | None = None) -> Progress:
    """Progress on standard error: what, how far, elapsed and remaining time (`left`, or what rich makes of the pace).

    A bar on a terminal, else a line every ten seconds.
    """
    return _Lines(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        left or TimeRemainingColumn(),
        console=LOG,
        transient=True,
        disable=not LOG.is_terminal,  # else it leaves an empty line
    )


def clock(seconds: float | None) -> str:
    """Minutes and seconds, 2:05; nobody knows yet = dashes."""
    return "-:--" if seconds is None else f"{round(seconds) // 60}:{round(seconds) % 60:02}"


def go_on(folder: Path) -> str:
    """What to type to go on with what was stopped: this very command, its folder named."""
    typed = sys.argv[1:]
    named = any(word == "--out" or word.startswith("--out=") for word in typed)
    return shlex.join(["hedgerow", *typed, *(() if named else ("--out", str(folder)))])


def halt(stop: BaseException, kept: str, folder: Path) -> NoReturn:
    """End a command that has not finished its work: say what is kept, and how to go on.

    Args:
        stop: why it ends: a KeyboardInterrupt, or an error that is raised anew with that sentence.
        kept: what is kept, in words.
        folder: where it is kept.
    """
    rest = f"{kept}; go on with: {go_on(folder)}"
    if not isinstance(stop, KeyboardInterrupt):
        raise type(stop)(f"{stop}; {rest}") from stop
    tell(f"Stopped: {rest}")
    raise typer.Exit(STOPPED) from None


def listing(registry: Registry[Any], as_json: bool = False) -> None:
    """Print what a registry holds, one line each: name, what it is, source; or an object by name, with parameters."""
    rows = registry.entries
    if as_json:
        facts = {
            name: {
                "summary": entry.summary,
                "source": entry.source,
                "parameters": dict(getattr(registry[name], "parameters", {})),
            }
            for name, entry in rows.items()
        }
        typer.echo(json.dumps(facts))
        return
    width = max(map(len, rows))
    for name, entry in rows.items():
        typer.echo(f"{name:{width}}  {entry.summary} [{entry.source}]".replace("   [", "  ["))
