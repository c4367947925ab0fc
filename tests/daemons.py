"""Real daemons as subprocesses, for the live tests."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from identity.keys import SigningKey, format_peer
from node.daemon import KEY, init_node, parse_values

ROOT = Path(__file__).parent.parent
PATIENCE = 90.0  # seconds to wait for anything: processes on a busy machine take long to import


def until(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait for something true."""
    give_up = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)
    return value


def hedgerow(*words: str | Path) -> str:
    """What a command prints; it has to end well."""
    done = subprocess.run(
        [sys.executable, "-m", "hedgerow", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def name_of(daemon: Daemon) -> str:
    """Its peer id, as people write it."""
    return format_peer(SigningKey.load(daemon.folder / KEY).peer)


class Daemon:
    """One node in a folder."""

    def __init__(self, folder: Path, *settings: str, ticket: str | None = None) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder.with_suffix(".log")
        init_node(folder, parse_values(settings), ticket)

    def start(self, *settings: str, files: int | None = None) -> None:
        """Start in the background, with at most so many files open."""
        few = None if files is None else partial(resource.setrlimit, resource.RLIMIT_NOFILE, (files, files))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command("run", *settings), stderr=log, cwd=ROOT, preexec_fn=few)

    def said(self) -> str:
        """All that it has said."""
        return self.log.read_text() if self.log.exists() else ""

    def told(self, word: str) -> str:
        """What the latest line that begins with `word` says; waits for it."""

        def latest() -> str:
            lines = [line for line in self.said().splitlines() if line.startswith(word + ": ")]
            return lines[-1].removeprefix(word + ": ") if lines else ""

        return str(until(latest))

    def records(self) -> list[dict[str, Any]]:
        """Rounds so far."""
        path = self.folder / "state" / "rounds.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def round(self) -> int:
        """Latest round that is over; -1 at first."""
        records = self.records()
        return int(records[-1]["round"]) if records else -1

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code and how many seconds it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        return code, time.monotonic() - began

    def _command(self, verb: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "node.daemon", verb, str(self.folder), *words]
