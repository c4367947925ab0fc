"""Rounds as lines of JSON: data for whoever wants to look back, not a log."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from identity.keys import format_peer
from node.errors import StoreError
from node.store.record import NodeRecord

TAIL = 1 << 20  # bytes at the end of a journal that are searched for a whole record


def record_object(record: NodeRecord) -> dict[str, Any]:
    """A record as plain JSON values; peers by their text form, verdicts by name, durations in seconds."""
    return {
        "round": record.round,
        "next_round": record.next_round,
        "rule": record.rule,
        "accuracy": record.accuracy,
        "neighbours": [
            {"peer": format_peer(n.peer), "weight": round(n.weight, 6), "verdict": n.verdict.name.lower()}
            for n in record.neighbours
        ],
        "relayed": record.relayed,
        "duration": record.duration,
        "waited": record.waited,
        "deadline": record.deadline,
        "train_seconds": record.train_seconds,
        "rule_seconds": record.rule_seconds,
        "closed_by": record.closed_by,
    }


def latest_record(path: Path) -> dict[str, Any] | None:
    """The newest record of a file that a `Journal` wrote; None when there is none that is whole."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and {"round", "accuracy"} <= found.keys():
                    return found
    return None


class Journal:
    """Appends one line a round; every line is whole in the file before the next round begins.

    Raises:
        StoreError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write records to {path}: {error.strerror}") from error

    def write(self, record: NodeRecord) -> None:
        """Append a line and hand it to the operating system."""
        self._file.write(json.dumps(record_object(record), separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()
