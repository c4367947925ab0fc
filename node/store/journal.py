"""Rounds as lines of JSON: data for whoever wants to look back, not a log."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from identity.keys import format_peer
from node.errors import StoreError
from node.store.record import NodeRecord

TAIL = 1 << 20  # bytes at the end of a journal that are searched for a whole record
MOST = 64 << 20  # bytes of a file: 8 to 60 hours of rounds with 8 neighbours; the one before it is kept too


def record_object(record: NodeRecord) -> dict[str, Any]:
    """A record as plain JSON values; peers by their text form, verdicts by name, durations in seconds.

    `diverged` is there only in a round whose training did.
    """
    return {
        "round": record.round,
        "next_round": record.next_round,
        "rule": record.rule,
        "accuracy": record.accuracy,
        "neighbours": [
            {"peer": format_peer(n.peer), "weight": round(n.weight, 6), "verdict": n.verdict.name.lower()}
            | ({"far": True} if n.far else {})
            for n in record.neighbours
        ],
        "relayed": record.relayed,
        "duration": record.duration,
        "waited": record.waited,
        "deadline": record.deadline,
        "train_seconds": record.train_seconds,
        "rule_seconds": record.rule_seconds,
        "closed_by": record.closed_by,
        "last_line": record.line,
        "said": record.said,
        "alone": record.alone,
        "right": record.right,
    } | ({"diverged": True} if record.diverged else {})


def latest_record(path: Path) -> dict[str, Any] | None:
    """The newest record of a file that a `Journal` wrote; None when there is none that is whole."""
    for file in (path, _before(path)):
        with suppress(OSError, ValueError), file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - TAIL))
            for line in reversed(opened.read().splitlines()):
                with suppress(ValueError):
                    found = json.loads(line)
                    if isinstance(found, dict) and {"round", "accuracy"} <= found.keys():
                        return found
    return None


class Journal:
    """Appends one line a round; every line is whole in the file before the next round begins.

    Laws: a line that cannot be written is lost, and the next one is tried again. A file of `most` bytes becomes NAME.1,
    in place of the one before; so no more than two are kept.
    """

    def __init__(self, path: Path, most: int = MOST) -> None:
        """Nothing is opened before the first record."""
        self._path = path
        self._most = most
        self._file: int | None = None
        self._torn = True  # a line may be: of an earlier run, or of a disk that was full

    def write(self, record: NodeRecord) -> None:
        """Append a line and hand it to the operating system.

        Raises:
            StoreError: it cannot be written; one sentence with the file's name.
        """
        line = json.dumps(record_object(record), separators=(",", ":")).encode() + b"\n"
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._file).st_size
            if size and size + len(line) > self._most and self._path.is_file():
                self._path.replace(_before(self._path))
                self.close()
                self.write(record)
                return
            if self._torn and size and os.pread(self._file, 1, size - 1) != b"\n":
                line = b"\n" + line
            self._torn = True
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._torn = False
        except OSError as error:
            raise StoreError(f"cannot write records to {self._path}: {error.strerror}; rounds go on") from error

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _before(path: Path) -> Path:
    """Where the file before this one is kept."""
    return path.with_name(path.name + ".1")
