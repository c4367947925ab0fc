"""Attacks against a live node: the simulator's adversary over a real transport, bounded in time.

Laws:
- Only loopback addresses are attacked, unless the target's own status page names the attacker's key (`[network]
  attackable` in its node.toml).
- Every wait has a deadline: one attack takes at most `Bounds.seconds` (and a goodbye).
- The verdict comes from the target's own status page, before and after (`simulator.scorecard`).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gossip.errors import GossipError
from gossip.http import HttpTransport
from gossip.limits import MIB, Limits
from gossip.transport import Transport
from identity.keys import PeerId, SigningKey, format_peer
from node.config import parse_config
from node.draws import Purpose, address, bits, generator
from node.errors import NodeError
from node.learning.learner import Learner
from node.learning.task import Task
from node.learning.tasks import make_task
from node.status import Status, fetch_status, status_address
from simulator.attacks.attack import Attack, AttackView, Stage
from simulator.attacks.frame_fault import FrameFault
from simulator.attacks.registry import ATTACKS, build_attack
from simulator.puppet import Puppet
from simulator.scorecard import Row, score

SHARE = 400  # training samples that the adversary owns
_OPEN = Limits(frame=2 * MIB)  # our own transport lets us send what no node should
_NEWEST = 0.05  # seconds between looks at whether the target published

Open = Callable[[PeerId], Transport]
"""Makes the transport of an identity."""

Read = Callable[[], Awaitable[Status]]
"""Reads the target's status page."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one attack may do.

    Attributes:
        seconds: longest duration of one attack.
        rounds: rounds of the target in which it acts.
        drop: loss of accuracy that still counts as healthy.
        seed: of keys, draws and the adversary's share.
    """

    seconds: float = 30.0
    rounds: int = 4
    drop: float = 0.1
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """One line of a suite.

    Attributes:
        attack: its spelling.
        parameters: what differs from the defaults.
        sybils: identities.
    """

    attack: str
    parameters: Mapping[str, object]
    sybils: int


SUITES: Mapping[str, tuple[Trial, ...]] = {
    "wire": tuple(Trial(name, {}, 1) for name, spec in ATTACKS.items() if spec.stage is Stage.WIRE),
    "model": (
        Trial("label-flip", {}, 1),
        Trial("label-shift+boosted", {"factor": 100.0}, 1),
        Trial("backdoor", {}, 1),
        Trial("gaussian", {}, 1),
        Trial("sign-flip", {}, 1),
        Trial("free-rider", {}, 1),
        Trial("ipm", {}, 1),
    ),
    "sybil": (
        Trial("label-flip+clones", {}, 5),
        Trial("label-flip+scaled-clones", {}, 5),
        Trial("label-flip+orthogonal-noise", {}, 5),
        Trial("label-flip+pairs", {}, 6),
        Trial("label-flip+structured-noise", {}, 5),
        Trial("label-flip+null-space-decoys", {}, 5),
        Trial("label-flip+framing", {}, 6),
        Trial("sleeper+label-flip", {"wake": 2}, 5),
    ),
}


class Forbidden(NodeError):
    """The target is not ours to attack."""


async def assault(
    page: str | Path,
    suites: Sequence[str] = ("wire", "model", "sybil"),
    *,
    task: Task | None = None,
    bounds: Bounds = Bounds(),
    key: SigningKey | None = None,
    trials: Sequence[tuple[str, Trial]] | None = None,
    observe: Callable[[Row], None] | None = None,
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
        observe: told every row as it comes.

    Raises:
        Forbidden: the target is elsewhere and does not consent to this key.
        NodeError: nobody answers.
        UnknownName: no such suite or attack.
    """

    page = status_address(page)

    async def read() -> Status:
        return await asyncio.to_thread(fetch_status, page)

    status = await read()
    where = _target(page, status, key)
    chosen = [(suite, trial) for suite in suites for trial in SUITES[suite]] if trials is None else trials
    rows = []
    with ThreadPoolExecutor(1, "attack") as pool:
        for number, (suite, trial) in enumerate(chosen):
            campaign = Campaign(
                where,
                str(status["network"]),
                make_task(str(status["task"])) if task is None else task,
                lambda me: HttpTransport(me, pool, limits=_OPEN),
                read,
                replace(bounds, seed=bounds.seed + number),
                status["accuracy"],
            )
            row = await campaign.run(suite, trial)
            rows.append(row)
            if observe is not None:
                observe(row)
    return tuple(rows)


class Campaign:
    """One attack against one node over any transport."""

    def __init__(
        self,
        target: str,
        network: str,
        task: Task,
        opening: Open,
        read: Read,
        bounds: Bounds,
        baseline: float | None = None,
    ) -> None:
        """Nothing happens before `run`.

        Args:
            target: address to dial.
            network: name of the network.
            task: what it learns.
            opening: makes transports.
            read: reads the target's status.
            bounds: how much.
            baseline: accuracy before all attacks; it is waited for (at most `bounds.seconds`) before this one begins.
        """
        self._baseline = baseline
        config = parse_config({"network": {"name": network}})
        self._target = target
        self._network = config.network_id()
        self._task = task
        self._learner = Learner(task)
        self._common = self._learner.initial(config.seed())
        self._opening = opening
        self._read = read
        self._bounds = bounds

    async def run(self, suite: str, trial: Trial) -> Row:
        """Join, attack, leave, and compare the target's status before and after."""
        attack = build_attack(trial.attack, trial.parameters)
        before, note = await self._recovered()
        keys = [
            SigningKey(bits(self._bounds.seed, Purpose.KEYS, 2**32 + sybil, np.arange(4)).astype("<u8").tobytes())
            for sybil in range(trial.sybils)
        ]
        puppets = [
            Puppet(key, self._network, self._learner.schema, self._opening(key.peer),
                   generator(self._bounds.seed, Purpose.ATTACK, address(key.peer)))
            for key in keys
        ]  # fmt: skip
        try:
            async with asyncio.timeout(self._bounds.seconds):
                peers = [await self._join(puppet) for puppet in puppets]
                await self._act(attack, puppets, peers[0])
        except TimeoutError:
            note = "time was up"
        except GossipError as error:
            note = str(error)
        finally:
            decided = await self._settled(keys)
            for puppet in puppets:
                await puppet.close()
        tried = sum(puppet.sent for puppet in puppets)
        ours = {format_peer(key.peer) for key in keys}
        return score(suite, trial.attack, tried, ours, before, decided, self._bounds.drop, note)

    async def _recovered(self) -> tuple[Status, str]:
        """The status before the attack, once the target is as accurate as at first, and a note if it is not."""
        status = await self._read()
        if self._baseline is None:
            return status, ""
        try:
            async with asyncio.timeout(self._bounds.seconds):
                while status["accuracy"] is None or status["accuracy"] < self._baseline - self._bounds.drop / 2:
                    await asyncio.sleep(_NEWEST)
                    status = await self._read()
        except TimeoutError:
            return await self._read(), "not recovered from the attack before"
        return status, ""

    async def _join(self, puppet: Puppet) -> PeerId:
        await puppet.start()
        return await puppet.join(self._target)

    async def _act(self, attack: Attack, puppets: list[Puppet], target: PeerId) -> None:
        adversary = _Adversary(attack, self._learner, self._task, self._common, self._bounds.seed, puppets)
        faults = [cast(FrameFault, fault) for fault in attack.faults]
        first = puppets[0]
        last = -1
        for turn in range(self._bounds.rounds):
            while (heard := _newest(first, target, last)) is None:
                first.news.clear()
                await first.news.wait()
            last, honest = heard
            models = await asyncio.to_thread(adversary.act, turn, honest)
            for puppet, model in zip(puppets, models, strict=True):
                if puppet.connected():
                    await puppet.send(last, model, faults)

    async def _settled(self, keys: list[SigningKey]) -> Status | None:
        """The status once the target has decided on what came last: two rounds on, or after a few seconds."""
        try:
            status = await self._read()
            wanted = int(status["round"]) + 2
            async with asyncio.timeout(self._bounds.seconds / 2):
                while int(status["round"]) < wanted:
                    await asyncio.sleep(_NEWEST)
                    status = await self._read()
        except TimeoutError:
            return await self._final()
        except NodeError:
            return None
        return status

    async def _final(self) -> Status | None:
        try:
            return await self._read()
        except NodeError:
            return None


class _Adversary:
    """The simulator's adversary, with one honest node in sight (and whomever it relays)."""

    def __init__(
        self, attack: Attack, learner: Learner, task: Task, common: Tensor, seed: int, puppets: Sequence[Puppet]
    ) -> None:
        self._attack = attack
        self._learner = learner
        self._seed = seed
        self._names = [address(puppet.key.peer) for puppet in puppets]
        draw = generator(seed, Purpose.PARTITION)
        size = min(SHARE, len(task.train))
        self._clean = torch.from_numpy(draw.choice(len(task.train), size=size, replace=False))
        poisoned = attack.poison(task.train, self._clean, draw)
        self._public = len(task.train)
        self._data = task.train if poisoned is None else task.train.joined(poisoned)
        self._rows = self._clean if poisoned is None else torch.arange(self._public, len(self._data))
        self._previous = common[None]
        self._params = common

    def act(self, round: int, honest: Tensor) -> Tensor:
        """What each puppet sends: (k, d) honest models, the target's first -> (S, d)."""
        count = len(self._names)
        if len(self._previous) != len(honest):
            self._previous = self._previous[:1].expand(len(honest), -1)
        if round < self._attack.wake:
            models = torch.stack([self._train(self._clean, name, round) for name in self._names])
        else:
            groups = min(self._attack.groups, count)
            trained = [
                self._train(self._rows[group :: self._attack.groups], self._names[group], round)
                for group in range(groups)
            ]
            models = torch.stack([trained[sybil % groups] for sybil in range(count)])
        sent = models if round < self._attack.wake else self._attack.craft(self._view(round, honest, models), models)
        self._params = torch.cat([honest, models]).mean(dim=0)
        self._previous = honest
        return sent

    def _train(self, rows: Tensor, name: int, round: int) -> Tensor:
        params, _ = self._learner.train(self._params, self._data, rows, self._seed, name, round)
        return params if bool(torch.isfinite(params).all()) else self._params

    def _view(self, round: int, honest: Tensor, models: Tensor) -> AttackView:
        known, count = len(honest), len(self._names)
        sybils = tuple(range(known, known + count))
        others = tuple(range(1, known))
        return AttackView(
            round=round,
            seed=self._seed,
            address=self._names[0],
            honest=honest,
            previous=self._previous,
            start=self._params,
            trained=models[0],
            targets=((0,),) * count,
            neighbours=(others + sybils, *((0,),) * (known - 1)),
            classes=torch.ones(known, self._learner.classes, dtype=torch.bool),
            learner=self._learner,
            data=self._data,
            public=self._public,
            samples=self._rows,
            clean=self._clean,
        )


def _newest(puppet: Puppet, target: PeerId, last: int) -> tuple[int, Tensor] | None:
    """The target's newest round above `last` and all models heard, the target's first; None: nothing new."""
    if target not in puppet.heard or puppet.heard[target][0] <= last:
        return None
    round, model = puppet.heard[target]
    others = [other for peer, (_, other) in sorted(puppet.heard.items()) if peer != target]
    return round, torch.stack([model, *others])


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
