"""Attacks against a live node: the simulator's adversary over a real transport, bounded in time and count.

Laws:
- Only loopback addresses are attacked, unless the target's own status page names the attacker's key (`[network]
  attackable` in its node.toml). Our identities dial the target and nobody else; who dials them has asked for it.
- One attack after the other, each by fresh identities (`simulator.live.campaign`), and each once the target is as
  accurate as at first.
- Bounded in time and count, and honest about both: the time that is left is what rounds took so far.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import MIB, Limits
from gossip.transport.contract import Transport
from gossip.transport.http import HttpTransport
from hedgerow_registry import UnknownName
from identity.keys import PeerId, SigningKey, format_peer
from node.config import parse_config
from node.draws import Purpose, generator
from node.errors import NodeError
from node.learning.errors import TaskError
from node.learning.learner import Learner
from node.learning.task import Task
from node.learning.tasks import make_task
from node.show.status import Status, fetch_status, status_address
from simulator.attacks.attack import Measure
from simulator.live.campaign import AROUND, Bounds, Campaign, Open, identities
from simulator.live.puppet import Puppet
from simulator.live.scorecard import Row
from simulator.live.suites import SUITES, Trial

# Our own transport sends what no node should, and as much as it likes; our identities dial only the target.
_OPEN = Limits(frame=2 * MIB, queue=4096, degree=1)


class Forbidden(NodeError):
    """The target is not ours to attack."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where an assault is.

    Attributes:
        suite, attack: what is being tried.
        done: attacks that are over.
        count: attacks in all.
        part: how much of the present one is over, in [0, 1].
        left: seconds that the rest will take, if it goes on as it did.
    """

    suite: str
    attack: str
    done: int
    count: int
    part: float
    left: float


async def assault(
    page: str | Path,
    suites: Sequence[str] = ("wire", "model", "sybil"),
    *,
    task: Task | None = None,
    bounds: Bounds = Bounds(),
    key: SigningKey | None = None,
    trials: Sequence[tuple[str, Trial]] | None = None,
    observe: Callable[[Row, float], None] | None = None,
    watch: Callable[[Step], None] | None = None,
) -> tuple[Row, ...]:
    """Attack the node whose status page is at `page`, one attack after the other.

    Args:
        page: the node's folder, or "HOST:PORT" of its status page; that tells the network, the task and where the
            node listens.
        suites: of SUITES.
        task: the target's task; None: the task of that name that comes with hedgerow.
        bounds: how much.
        key: the attacker's own, by which a target on another machine consents; None: loopback only.
        trials: (suite, trial) pairs in place of the suites.
        observe: told every row as it comes, and how many seconds the rest will take.
        watch: told often where it is.

    Raises:
        Forbidden: the target is elsewhere and does not consent to this key.
        NodeError: nobody answers, or the target lets none of our identities in.
        UnknownName: no such suite or attack.
    """

    async def read() -> Status:
        return await asyncio.to_thread(fetch_status, page)

    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a target that hangs up on us is no news
    status = await read()
    where = _target(status_address(page), status, key)
    task = _task(str(status["task"])) if task is None else task
    seed = secrets.randbits(32) if bounds.seed is None else bounds.seed
    chosen = [(suite, trial) for suite in suites for trial in SUITES[suite]] if trials is None else trials
    calm: dict[Measure, float] = {}
    estimate = _Estimate([bounds.rounds or trial.rounds for _, trial in chosen], status)
    rows: list[Row] = []
    gone: frozenset[str] = frozenset()

    def tell(suite: str, trial: Trial, part: float) -> None:
        if watch is not None:
            left = estimate.left(len(rows), part)
            watch(Step(suite, trial.spelling, len(rows), len(chosen), part, left))

    with ThreadPoolExecutor(1, "attack") as pool:

        def opening(me: PeerId, advertise: str | None) -> Transport:
            return HttpTransport(me, pool, limits=_OPEN, advertise=advertise)

        await _admitted(where, str(status["network"]), task, opening, seed)
        for number, (suite, trial) in enumerate(chosen):
            campaign = Campaign(
                where, status, task, opening, read, bounds, seed + number, calm, partial(tell, suite, trial), gone
            )
            gone |= {format_peer(key.peer) for key in identities(seed + number, trial.sybils)}
            began = time.monotonic()
            row = await campaign.run(suite, trial)
            estimate.took(time.monotonic() - began)
            rows.append(row)
            if observe is not None:
                observe(row, estimate.left(len(rows), 0.0))
    return tuple(rows)


class _Estimate:
    """How long the rest takes: what rounds took so far times those that are left; at first, by the target's pace."""

    def __init__(self, rounds: Sequence[int], status: Status) -> None:
        self._rounds = [count + AROUND for count in rounds]
        took = [float(row["seconds"]) for row in status["course"]]
        self._first = max(took[-8:], default=1.0)
        self._seconds = 0.0
        self._done = 0

    def took(self, seconds: float) -> None:
        """One more is over."""
        self._seconds += seconds
        self._done += 1

    def left(self, done: int, part: float) -> float:
        """Seconds for what is left when `done` are over and of the next one `part`."""
        played = sum(self._rounds[: self._done])
        each = self._seconds / played if played else self._first
        return each * (sum(self._rounds[done:]) - part * sum(self._rounds[done : done + 1]))


async def _admitted(where: str, network: str, task: Task, opening: Open, seed: int) -> None:
    """Shake hands once, before any attack.

    Raises:
        NodeError: nobody listens there, or it lets us in for none; one sentence that says what to do.
    """
    (key,) = identities(seed ^ 2**31, 1)
    config = parse_config({"network": {"name": network}})
    puppet = Puppet(
        key, config.network_id(), Learner(task).schema, opening(key.peer, None), generator(seed, Purpose.ATTACK)
    )
    try:
        await puppet.start()
        await puppet.join(where)
    except RemoteFault as fault:
        other = f"it learns another model than '{task.name}': name its own with --task and --model"
        hints = {
            Drop.UNREACHABLE: "does it still run?",
            Drop.TIMEOUT: "does it still run?",
            Drop.SCHEMA: other,
            Drop.REFUSED: f"either its [network] allow keeps strangers out: attack one without; or {other}",
        }
        hint = hints.get(fault.reason, "it takes no strangers")
        raise NodeError(f"the node at {where} does not let us in ({fault}): {hint}") from None
    finally:
        await puppet.close()


def _task(name: str) -> Task:
    """The task that the target says it learns.

    Raises:
        NodeError: it does not come with hedgerow.
    """
    try:
        return make_task(name)
    except (UnknownName, TaskError) as error:
        raise NodeError(
            f"the target learns '{name}', which does not come with hedgerow ({error}): use --task"
        ) from None


def _target(page: str, status: Mapping[str, Any], key: SigningKey | None = None) -> str:
    """Address to dial.

    Raises:
        Forbidden: not loopback, and no consent.
    """
    host = page.removeprefix("http://").rstrip("/").rpartition(":")[0]
    listens, _, port = str(status["address"]).rpartition(":")
    consents = key is not None and format_peer(key.peer) in status["attackable"]
    for name in (host, listens or host):
        if not (_loopback(name) or consents):
            mine = "a key that --key names" if key is None else format_peer(key.peer)
            raise Forbidden(f"{name} is not this machine; its node consents if [network] attackable there names {mine}")
    return f"{listens or host}:{port}"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
