"""Nodes in a thread of this process, and ways to weaken one check of theirs: none of this can be configured.

Law: a weakness leaves out one check and nothing else, as if somebody had forgotten to write it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from gossip import fetcher, intake, patience, reception, service
from gossip.chain import admission
from gossip.protocol import codec, payload, rates
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.transport import blobs
from identity import envelope
from node import run as node_run
from node.config import FILE, load_config
from node.daemon import KEY, init_node
from node.learning.tasks import make_task
from node.run import Run
from node.show.status import FOUND_IN
from node.worker import Worker

Settings = Mapping[str, Mapping[str, Any]]


@contextmanager
def running(folder: Path, settings: Settings, others: int = 0) -> Iterator[Path]:
    """A node with a status page, and as many others beside it that it is connected to; its folder.

    All share one event loop in one thread. Parts of the data are dealt in order, the target's first.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="nodes", daemon=True)
    thread.start()
    tasks = []
    workers = []

    def start(name: str, part: int, join: str = "") -> str:
        """One more node; returns how others join it."""
        home = folder / name
        network = {"listen": "127.0.0.1:0", "gather": 0.0} | ({"join": (join,)} if join else {})
        values = {section: dict(keys) for section, keys in settings.items()}
        values["network"] = values.get("network", {}) | network
        values["task"] = {"parts": others + 1, "part": part} | values.get("task", {})
        init_node(home, values)
        config = load_config(home / FILE)
        told = threading.Event()
        lines: list[str] = []

        def say(line: str) -> None:
            lines.append(line)
            if line.startswith("status: "):
                told.set()

        worker = Worker(name)
        workers.append(worker)
        node = Run(config, home / KEY, make_task(config.task.name), home / "state", worker, say)
        tasks.append(asyncio.run_coroutine_threadsafe(node.play(), loop))
        assert told.wait(30), lines
        return next(line.removeprefix("join: ") for line in lines if line.startswith("join: "))

    try:
        join = start("target", 0)
        for part in range(1, others + 1):
            start(f"other-{part}", part, join)
        yield folder / "target"
    finally:
        for task in tasks:
            task.cancel()
        asyncio.run_coroutine_threadsafe(_end(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        for worker in workers:
            worker.shutdown()
    assert not (folder / "target" / "state" / FOUND_IN).exists()  # it left in order


async def _end() -> None:
    """Wait until nothing is left on this loop."""
    mine = asyncio.current_task()
    while others := [task for task in asyncio.all_tasks() if task is not mine]:
        await asyncio.wait(others, timeout=0.05)


class _Anything(bytes):
    """Equal to all."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


class _Blank(OrderedDict[bytes, intake._Known]):
    """Keeps nothing."""

    def __setitem__(self, digest: bytes, known: intake._Known) -> None:
        return None


class _Forgetful(intake.Intake):
    """Every header is new to it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._known = _Blank()


class _Generous(rates.Bucket):
    """Never empty."""

    def take(self, now: float, count: float = 1.0) -> bool:
        return True


def _overlooking(reason: Drop) -> Callable[[pytest.MonkeyPatch], None]:
    """Admission does not look for one thing."""
    judge = admission.judge

    def blind(*args: Any) -> admission.Judgement:
        judgement = judge(*args)
        return admission.ACCEPTED if judgement.reason is reason else judgement

    return lambda patch: patch.setattr(admission, "judge", blind)


def _replays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(service, "Intake", _Forgetful)
    _overlooking(Drop.REPLAY)(patch)


def _schema(patch: pytest.MonkeyPatch) -> None:
    home = intake.Home
    patch.setattr(intake, "Home", lambda peer, network, schema, size: home(peer, network, _Anything(schema), size))


def _length(patch: pytest.MonkeyPatch) -> None:
    """Takes payloads that are too short, and fills them up."""
    home, decode = intake.Home, payload.decode_payload

    class Short(int):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, int) and other <= int(self)

        def __ne__(self, other: object) -> bool:
            return not self == other

        __hash__ = int.__hash__

    def padded(schema: Any, digest: bytes, data: Any) -> Any:
        rest = bytes(data)[-(len(data) // 4 * 4 - 64) :]
        numbers = np.resize(np.frombuffer(rest[: len(rest) // 4 * 4], "<f4"), schema.elements)
        whole = codec.payload_prefix(digest, schema.nbytes) + np.nan_to_num(numbers).astype("<f4").tobytes()
        return decode(schema, digest, data if len(data) == len(whole) else whole)

    patch.setattr(intake, "Home", lambda peer, network, schema, size: home(peer, network, schema, Short(size)))
    patch.setattr(fetcher, "decode_payload", padded)


def _digest(patch: pytest.MonkeyPatch) -> None:
    finish = blobs.Assembly.finish

    def trusting(self: blobs.Assembly) -> memoryview:
        try:
            return finish(self)
        except RemoteFault as fault:
            if fault.reason is Drop.DIGEST:
                return self._view.toreadonly()
            raise

    patch.setattr(blobs.Assembly, "finish", trusting)


def hurry(patch: pytest.MonkeyPatch, **limits: Any) -> None:
    """Give payloads half a second instead of five; and whatever other limits."""
    patch.setattr(
        node_run, "Limits", lambda **given: replace(Limits(blob=0.5, blob_rate=float(1 << 22)), **limits, **given)
    )


def _size(patch: pytest.MonkeyPatch) -> None:
    """Frames of any length."""
    hurry(patch, frame=1 << 22)


def _canonical(patch: pytest.MonkeyPatch) -> None:
    """Any encoding of a message will do, as long as it can be read."""
    decode = codec._decode

    def loose(data: bytes, limit: int, arity: Any, read: Any, encode: Any) -> Any:
        try:
            again = msgpack.packb(msgpack.unpackb(data, max_map_len=0), use_bin_type=True)
        except Exception:
            again = data
        return decode(again, limit, arity, read, encode)

    patch.setattr(codec, "_decode", loose)


def _malformed(patch: pytest.MonkeyPatch) -> None:
    """What cannot be read is passed over in silence, and counted nowhere."""
    drop = reception.Reception.drop

    def quiet(self: Any, reason: Drop, peer: Any, address: str = "") -> None:
        if reason is not Drop.MALFORMED:
            drop(self, reason, peer, address)

    patch.setattr(reception.Reception, "drop", quiet)


def _patient(patch: pytest.MonkeyPatch) -> None:
    """Waits for a payload for ever, its round over or not."""
    patch.setattr(Limits, "blob_seconds", lambda self, length: 3600.0)
    patch.setattr(fetcher.Fetcher, "advance", lambda self, round: setattr(self.promises, "round", round))


def _rate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(patience, "Bucket", _Generous)


def _author_rate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(intake, "Bucket", _Generous)


WEAKNESSES: Mapping[str, tuple[Callable[[pytest.MonkeyPatch], None], tuple[str, ...]]] = {
    "none": (lambda patch: None, ()),
    "signature not checked": (
        lambda patch: patch.setattr(envelope, "verify", lambda author, signature, message: True),
        ("forge",),
    ),
    "replays taken": (_replays, ("replay",)),
    "frames of any size": (_size, ("oversize",)),
    "any encoding": (_canonical, ("other-encoding",)),
    "malformed frames passed over": (_malformed, ("other-encoding", "oversize", "truncate")),
    "schema not compared": (_schema, ("wrong-schema",)),
    "length not compared": (_length, ("wrong-length",)),
    "digest not compared": (_digest, ("other-bytes",)),
    "finiteness not checked": (
        lambda patch: patch.setattr(payload, "is_finite", lambda vector: True),
        ("not-finite",),
    ),
    "equivocation ignored": (_overlooking(Drop.EQUIVOCATION), ("equivocate",)),
    "chain not checked": (_overlooking(Drop.BROKEN_CHAIN), ("broken-chain",)),
    "round window not checked": (_overlooking(Drop.EARLY), ("ahead",)),
    "rate of a connection not limited": (_rate, ("pester", "tell")),
    "rate of an author not limited": (_author_rate, ("flood",)),
    "no deadline for payloads": (_patient, ("drip",)),
}
"""By what is left out: how to leave it out, and the attacks on the wire that such a node fails."""
