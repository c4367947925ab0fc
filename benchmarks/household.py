"""Real nodes for the long runs: `hedgerow init` and `hedgerow run` in folders of their own, ended by their pid.

Law: whatever is started here is ended when its `with` is left, however it is left.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from identity.keys import SigningKey, format_peer
from node.daemon import KEY
from node.show.status import status_address

ROOT = Path(__file__).parent.parent
PATIENCE = 120.0  # seconds to wait for anything that a healthy node does at once: a busy machine takes long to import
LAG = "hedgerow_loop_lag_seconds_bucket"
NAMES = ("alice", "bob", "carol")


class Household:
    """One node in a folder, at its defaults but for the port, which the system chooses.

    Attributes:
        peer: text form of its peer id.
    """

    def __init__(self, folder: Path, part: int, parts: int, *words: str, listen: str = "127.0.0.1:0") -> None:
        """Make the folder; nothing runs yet. `words` are more of `hedgerow init`'s."""
        self.folder = folder
        words = ("init", str(folder), "--listen", listen, "--part", f"{part}/{parts}", *words)
        subprocess.run(command(*words), cwd=ROOT, check=True, capture_output=True)
        self.peer = format_peer(SigningKey.load(folder / KEY).peer)
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def say(self, key: str, value: object) -> None:
        """Write a number, a word or a list into its node.toml, at the first key of this name that is at its default."""
        path = self.folder / "node.toml"
        text, found = re.subn(rf"(?m)^# {key} = .*$", f"{key} = {json.dumps(value)}", path.read_text(), count=1)
        if not found:
            raise RuntimeError(f"{path} has no line for {key}")
        path.write_text(text)

    def __enter__(self) -> Self:
        """Run it; `ready` waits for it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command("run", str(self.folder)), cwd=ROOT, stdout=log, stderr=log)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        assert self._process is not None
        end(self._process)

    def kill(self) -> None:
        """kill -9; `__enter__` starts it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ready(self) -> None:
        """Wait until it says where it is.

        Raises:
            RuntimeError: it ended instead.
            TimeoutError: it says nothing.
        """
        until(lambda: self.told("status") or not self.alive, f"{self.folder.name} does not start")
        if not self.alive:
            raise RuntimeError(f"{self.folder.name} ended: {self._log.read_text()[-500:]}")

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def told(self, word: str) -> str:
        """What its line that begins with `word` says; "" if there is none yet."""
        lines = [line for line in self._log.read_text().splitlines() if line.startswith(word + ": ")]
        return lines[-1].removeprefix(word + ": ") if lines else ""

    def records(self) -> list[dict[str, Any]]:
        """Rounds so far, a line that is half written left out."""
        path = self.folder / "state" / "rounds.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def memory(self) -> float:
        """Resident MiB; 0 if it is gone."""
        return self._proc(lambda path: int(re.findall(r"VmRSS:\s+(\d+)", (path / "status").read_text())[0]) / 1024)

    def files(self) -> int:
        """Open files, sockets among them; 0 if it is gone."""
        return int(self._proc(lambda path: len(os.listdir(path / "fd"))))

    def turns(self) -> tuple[float, float]:
        """Seconds that the thread of its event loop ran, and that it was ready and waited for a core."""
        assert self._process is not None
        try:
            ran, waited = Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[:2]
        except OSError:
            return 0.0, 0.0
        return int(ran) / 1e9, int(waited) / 1e9

    def lags(self) -> dict[float, float]:
        """Its own histogram of how late its event loop ran: upper bound in seconds -> looks so far.

        Raises:
            OSError: its page does not answer.
        """
        found = re.findall(rf'(?m)^{LAG}{{le="([^"]+)"}} (\S+)$', _read(status_address(self.folder), "/metrics"))
        return {float(bound): float(count) for bound, count in found}

    def _proc(self, look: Callable[[Path], float]) -> float:
        assert self._process is not None
        try:
            return look(Path(f"/proc/{self._process.pid}"))
        except (OSError, IndexError):
            return 0.0


@contextmanager
def three(folder: Path, known: bool) -> Iterator[list[Household]]:
    """README's network: alice, and bob and carol who join her; running, and heard by each other in five rounds.

    Args:
        folder: of their folders.
        known: whether all name each other in `[network] known`; else alice is joined by her address alone.
    """
    with ThreadPoolExecutor() as pool:
        nodes = list(pool.map(lambda part: Household(folder / NAMES[part], part, len(NAMES)), range(len(NAMES))))
    first = nodes[0]
    if known:
        for node in nodes:
            node.say("known", [other.peer for other in nodes if other is not node])
    with ExitStack() as running:
        running.enter_context(first).ready()
        for node in nodes[1:]:
            node.say("join", [first.told("join").rpartition("@")[2]])
            running.enter_context(node)
        for node in nodes[1:]:
            node.ready()
        until(
            lambda: sum(heard(record, nodes[1:]) for record in first.records()) >= 5 or not first.alive,
            "alice does not hear bob and carol",
        )
        yield nodes


def heard(record: dict[str, Any], peers: Sequence[Household]) -> bool:
    """Whether the updates of all these peers were there in this round, and had a say."""
    silent = ("absent", "stranger")
    spoke = {each["peer"] for each in record["neighbours"] if each["verdict"] not in silent}
    return all(node.peer in spoke for node in peers)


def command(*words: str) -> list[str]:
    """The command line of `hedgerow WORDS`."""
    return [sys.executable, "-m", "hedgerow", *words]


def until(what: Callable[[], object], trouble: str, seconds: float = PATIENCE) -> None:
    """Wait for something true.

    Raises:
        TimeoutError: with this trouble.
    """
    give_up = time.monotonic() + seconds
    while not what():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{trouble}, waited {seconds:.0f} s")
        time.sleep(0.1)


@contextmanager
def beside(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs meanwhile, `python WORDS`, with its output in a pipe; it is ended in the end."""
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()


def end(process: subprocess.Popen[Any]) -> None:
    """SIGTERM to this very process; SIGKILL if it is there after ten seconds more than a node may take."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read(address: str, path: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
