"""Errors of a user's code (model, loss, data, rule) as one sentence with the user's file, line and function.

Laws:
- The original error stays the cause. A lack of memory is nobody's code and passes as it is.
- A frame is the user's when its file is neither hedgerow's, nor Python's, nor an installed package's; where there is
  none, the last frame of an installed package other than torch and numpy is named instead.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType

import torch

from node.learning.errors import TaskError, TaskWarning, UsersError

REPORT = "traceback.txt"  # in the run's folder
_MOST_TEXT = 400  # characters of an error's own text in a sentence
_ROOT = Path(__file__).resolve().parents[2]
_OURS = (
    *(f"{_ROOT / name}{os.sep}" for name in ("identity", "gossip", "aggregation", "node", "simulator")),
    *(str(_ROOT / name) for name in ("hedgerow.py", "hedgerow_registry.py")),
)
_PYTHON = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))
_PLUMBING = tuple(f"{os.sep}{name}{os.sep}" for name in ("torch", "numpy"))
_TYPED = ("<stdin>", "<string>", "<ipython")  # what was typed, or given to python -c


class users_code:
    """Around a call of user's code: whatever it raises becomes a UsersError.

    Args:
        what: begins the sentence, such as "the loss fails".
        hint: ends it.
    """

    __slots__ = ("_hint", "_what")

    def __init__(self, what: str, hint: str = "") -> None:
        self._what, self._hint = what, hint

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise UsersError in place of any other error; a TaskError says what to do already."""
        if isinstance(error, Exception) and not isinstance(error, TaskError | MemoryError | torch.OutOfMemoryError):
            raise UsersError(f"{self._what}: {said(error)}{_place(trace)}{self._hint}") from error


class reported:
    """Around a run: an error of user's code leaves its whole traceback in a file, which the sentence names.

    Args:
        folder: of the run; None: a temporary file is made.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise UsersError where the error is one already, or user's code was running."""
        if isinstance(error, UsersError):
            raise UsersError(f"{error}{self._write(error)}") from (error.__cause__ or error)
        passes = isinstance(error, TaskError | MemoryError | torch.OutOfMemoryError) or _our_own(error)
        if isinstance(error, Exception) and not passes:
            place = _place(trace, installed=False)
            if place:
                raise UsersError(f"an error in your code: {said(error)}{place}{self._write(error)}") from error

    def _write(self, error: Exception) -> str:
        text = "".join(traceback.format_exception(error))
        try:
            if self._folder is not None:
                path = self._folder / REPORT
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            else:
                handle, name = tempfile.mkstemp(prefix="hedgerow-", suffix=".txt")
                path = Path(name)
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
        except OSError:
            return ""
        return f"; the whole traceback is in {path}"


def _our_own(error: BaseException | None) -> bool:
    """Whether hedgerow says it: then it is a sentence already, whoever called."""
    root = type(error).__module__.partition(".")[0]
    return root in ("identity", "gossip", "aggregation", "node", "simulator", "hedgerow_registry")


def said(error: Exception) -> str:
    """An error in one line: its type and its text."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def warn(message: str) -> None:
    """Warn the user's line that makes a task; silent where hedgerow itself makes one from another."""
    frame: FrameType | None = sys._getframe(1)
    depth = 2
    leaving = True  # what makes the task; a task that hedgerow remakes from another has more of ours behind it
    while frame is not None:
        kind = _kind(frame.f_code)
        if kind not in ("ours", "python"):
            warnings.warn(message, TaskWarning, stacklevel=depth)
            return
        if kind == "ours" and not leaving:
            return
        leaving = leaving and not (kind == "ours" and frame.f_code.co_name == "__init__")
        frame, depth = frame.f_back, depth + 1


def _place(trace: TracebackType | None, installed: bool = True) -> str:
    """ " (line 3 of model.py, in forward)" of the last frame that is the user's, or ""."""
    best: tuple[CodeType, int] | None = None
    other: tuple[CodeType, int] | None = None
    for code, line in _frames(trace):
        kind = _kind(code)
        if kind == "user":
            best = code, line
        elif kind == "installed":
            other = code, line
    found = best or (other if installed else None)
    return "" if found is None else f" (line {found[1]} of {found[0].co_filename}, in {found[0].co_name})"


def _frames(trace: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno
        trace = trace.tb_next


def _kind(code: CodeType) -> str:
    """ "ours", "python", "plumbing" (torch, numpy), "installed" or "user"."""
    name = code.co_filename
    if name.startswith("<"):
        return "user" if name.startswith(_TYPED) and not code.co_name.startswith("__") else "python"
    path = os.path.realpath(name)
    if path.startswith(_OURS):
        return "ours"
    if f"{os.sep}site-packages{os.sep}" in path or f"{os.sep}dist-packages{os.sep}" in path:
        return "plumbing" if any(part in path for part in _PLUMBING) else "installed"
    if path.startswith(_PYTHON):
        return "python"
    return "installed" if name.endswith(".pyx") else "user"  # compiled packages name sources that are nowhere
