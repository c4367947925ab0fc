"""One attack on one live node: join, act for some of its rounds, watch what comes of it, leave.

Laws:
- Every wait has a deadline: an attack takes at most `Bounds.seconds`, and as long again to recover before it and to
  settle after it; it acts in at most `Trial.rounds` rounds of the target.
- What the target says of itself is read from its status page, what its model does is measured on the models that it
  publishes and on test samples (`simulator.live.harm`); the verdict is `simulator.live.scorecard`'s.
- The adversary knows its own share of the data, the models that it hears, the task and the rule by name (as the page
  tells them); not keys, and not the private samples that the target judges by.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Rule
from aggregation.registry import build_rule
from gossip.protocol.codec import payload_bytes
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.transport.contract import Transport
from hedgerow_registry import UnknownName
from identity.keys import PeerId, SigningKey, format_peer
from node.config import parse_config
from node.draws import Purpose, address, bits, generator
from node.errors import NodeError
from node.learning.learner import Learner
from node.learning.task import Task
from node.show.status import Status
from simulator.attacks.attack import Attack, Measure
from simulator.attacks.frame_fault import FrameFault
from simulator.attacks.spelling import build_attack
from simulator.attacks.wire_drip import Drip
from simulator.live.adversary import LiveAdversary
from simulator.live.dripper import Dripper
from simulator.live.harm import Harm
from simulator.live.puppet import Puppet
from simulator.live.scorecard import Row, Sight, score, settled
from simulator.live.suites import Trial

AROUND = 3  # rounds that an attack takes besides those in which it acts: joining, settling
_AGAIN = 0.05  # seconds between looks at the target's page

Open = Callable[[PeerId, str | None], Transport]
"""Makes the transport of an identity; it may tell others another address than it listens at."""

Read = Callable[[], Awaitable[Status]]
"""Reads the target's status page."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one attack may do.

    Attributes:
        seconds: longest duration of one attack, of the wait for recovery before it, and of settling after it.
        rounds: most rounds of the target in which it acts; None: as many as the trial says.
        loss: fall of accuracy that still counts as healthy.
        gain: rise of the attack's success that does.
        seed: of keys, draws and the adversary's share; None: fresh ones (a node that has convicted a key, or seen it
            before, judges it by that).
        settle: seconds that a refusal may take which has not come yet when the attack is over.
    """

    seconds: float = 60.0
    rounds: int | None = None
    loss: float = 0.05
    gain: float = 0.1
    seed: int | None = None
    settle: float = 12.0


class Campaign:
    """One attack against one node over any transport."""

    def __init__(
        self,
        target: str,
        status: Status,
        task: Task,
        opening: Open,
        read: Read,
        bounds: Bounds,
        seed: int,
        calm: dict[Measure, float] | None = None,
        tell: Callable[[float], None] = lambda part: None,
        earlier: frozenset[str] = frozenset(),
    ) -> None:
        """Nothing happens before `run`.

        Args:
            target: address to dial.
            status: the target's before all attacks: its network and rule, its usual pace, and its accuracy, which is
                waited for (at most `bounds.seconds`) before this attack begins.
            task: what it learns.
            opening: makes transports.
            read: reads the target's status.
            bounds: how much.
            seed: of keys, draws and the adversary's share.
            calm: lowest success of each measure that was seen before an attack; kept up to date.
            tell: told how much is over.
            earlier: our identities of earlier attacks, some of which may not have been let go yet.
        """
        config = parse_config({"network": {"name": str(status["network"])}})
        self._target = target
        self._network = config.network_id()
        self._rule = _rule(str(status["rule"]))
        self._task = task
        self._learner = Learner(task)
        self._common = self._learner.initial(config.seed())
        self._opening = opening
        self._read = read
        self._bounds = bounds
        self._seed = seed
        self._calm = {} if calm is None else calm
        self._first = status
        self._tell = tell
        self._earlier = earlier
        self._measured = -1  # newest round of the target's that was measured
        self._accuracy: list[float] = []
        self._shown: list[float] = []  # accuracy of published models
        self._success: list[float] = []

    async def run(self, suite: str, trial: Trial) -> Row:
        """Join, attack, leave, and say what came of it."""
        attack = build_attack(trial.attack, trial.parameters)
        harm = Harm(self._learner, self._task, attack.measure)
        before, remark = await self._recovered()
        began = time.monotonic()
        keys = identities(self._seed, trial.sybils)
        dripper = Dripper(payload_bytes(self._learner.schema))
        if any(isinstance(fault, Drip) for fault in attack.faults):
            await dripper.start()
        puppets = [
            Puppet(key, self._network, self._learner.schema, self._opening(key.peer, dripper.address or None),
                   generator(self._seed, Purpose.ATTACK, address(key.peer)), Limits(degree=1))
            for key in keys
        ]  # fmt: skip
        ours = {format_peer(key.peer) for key in keys} | self._earlier
        trouble = ""
        peer: PeerId | None = None
        after: Status | None = None
        try:
            try:
                async with asyncio.timeout(self._bounds.seconds):
                    for puppet in puppets:
                        await puppet.start()
                    peer = await puppets[0].join(self._target)
                    for puppet in puppets[1:]:
                        with suppress(RemoteFault):  # a crowd finds fewer places than it is
                            await puppet.join(self._target)
                    await self._act(trial, attack, puppets, peer, harm, before)
            except TimeoutError:
                played = len(self._success)
                remark = f"{self._bounds.seconds:.0f} s were up" + (f" after {played} rounds" if played else "")
                trouble = "" if played > 1 else "too slow to attack: give it more --seconds"
            except RemoteFault as fault:
                if fault.reason is Drop.REFUSED and any(puppet.sent for puppet in puppets):
                    remark = "it let us go and refuses us"  # what we sent was enough: a defence, and no trouble
                else:
                    trouble = f"it let us go: {fault}"
            after = await self._settled(trial, attack, before, ours, puppets[0], peer, harm)
        finally:
            for puppet in puppets:
                await puppet.close()
            await dripper.close()
        return score(
            suite,
            trial.attack,
            trial.spelling,
            sum(puppet.sent for puppet in puppets),
            ours,
            self._sight(before, after, attack.measure),
            sybils=trial.sybils,
            loss=self._bounds.loss,
            gain=self._bounds.gain,
            seconds=time.monotonic() - began,
            trouble=trouble,
            broken=any(cast(FrameFault, fault).instead for fault in attack.faults),
            remark=remark,
        )

    async def _recovered(self) -> tuple[Status, str]:
        """The status before the attack, once the target is as accurate as at first, and a remark if it is not."""
        status = await self._read()
        usual = self._first["accuracy"]
        if usual is None:
            return status, ""
        try:
            async with asyncio.timeout(self._bounds.seconds):
                while status["accuracy"] is None or status["accuracy"] < usual - self._bounds.loss:
                    await asyncio.sleep(_AGAIN)
                    status = await self._read()
        except TimeoutError:
            return await self._read(), "not recovered from the attack before"
        return status, ""

    async def _act(
        self, trial: Trial, attack: Attack, puppets: list[Puppet], target: PeerId, harm: Harm, before: Status
    ) -> None:
        """Act for as many rounds as the trial says; on the wire for twice as many while something is not refused yet.

        What is sent is for the round after the newest that was heard: a target that does not wait for us, or is done
        before we have made up our mind, would drop anything else unread as late.
        """
        adversary = LiveAdversary(attack, self._learner, self._task, self._common, self._seed, puppets, self._rule)
        faults = [cast(FrameFault, fault) for fault in attack.faults]
        ours = {format_peer(puppet.key.peer) for puppet in puppets}
        rounds = self._bounds.rounds or trial.rounds
        first = puppets[0]
        last = -1
        for turn in range(2 * rounds):
            status = await self._read()
            self._note(status)
            if turn >= rounds and settled(trial.attack, before, status, ours, trial.sybils):
                return
            last, honest = await self._newer(puppets, target, last)
            await self._look(first, target, harm)
            models = await asyncio.to_thread(adversary.act, turn, honest)
            for puppet, model in zip(puppets, models, strict=True):
                if puppet.connected(target):
                    await puppet.send(last + 1, model, faults)
            self._tell(min(1.0, (turn + 1) / (rounds + AROUND)))

    async def _newer(self, puppets: list[Puppet], target: PeerId, last: int) -> tuple[int, Tensor]:
        """Wait for a newer round than `last` at the first puppet; whom the target hung up on joins again."""
        first = puppets[0]
        while True:
            first.news.clear()  # before anything that waits: what comes meanwhile is looked at again
            if not first.connected(target):
                await first.join(self._target)
            for puppet in puppets[1:]:
                if not puppet.connected(target):
                    with suppress(RemoteFault):
                        await puppet.join(self._target)
            heard = _newest(first, target, last)
            if heard is not None:
                return heard
            await first.news.wait()

    async def _look(self, puppet: Puppet, target: PeerId, harm: Harm) -> None:
        """Measure the target's newest model, if it is new."""
        if target not in puppet.heard or puppet.heard[target][0] <= self._measured:
            return
        self._measured, model = puppet.heard[target]
        success, accuracy = await asyncio.to_thread(lambda: (harm.success(model), harm.accuracy(model)))
        self._shown.append(accuracy)
        if success is not None:
            self._success.append(success)

    def _note(self, status: Status) -> None:
        if status["accuracy"] is not None:
            self._accuracy.append(float(status["accuracy"]))

    async def _settled(
        self,
        trial: Trial,
        attack: Attack,
        before: Status,
        ours: set[str],
        puppet: Puppet,
        target: PeerId | None,
        harm: Harm,
    ) -> Status | None:
        """The last status: the target has decided on what came last (two rounds on), and has refused what it should;
        or time is up. None: no answer."""
        status: Status | None = None
        loop = asyncio.get_running_loop()
        began = loop.time()
        wanted = None
        while True:
            try:
                status = await self._read()
            except NodeError:
                return None
            self._note(status)
            if target is not None:
                await self._look(puppet, target, harm)
            wanted = int(status["round"]) + 2 if wanted is None else wanted
            waited = loop.time() - began
            over = int(status["round"]) >= wanted
            late = not settled(trial.attack, before, status, ours, trial.sybils) and waited < self._bounds.settle
            if (over and not (late and puppet.sent)) or waited > self._bounds.seconds:
                return status
            await asyncio.sleep(_AGAIN)

    def _sight(self, before: Status, after: Status | None, measure: Measure) -> Sight:
        shown = self._shown
        if before["accuracy"] is not None:
            accuracy = (before["accuracy"], min(self._accuracy, default=None))
        else:
            accuracy = (shown[0], min(shown)) if shown else (None, None)
        if not self._success:
            return Sight(before, after, accuracy, first=self._first)
        calm = self._calm[measure] = min(self._success[0], self._calm.get(measure, 1.0))
        return Sight(before, after, accuracy, (calm, max(self._success)), self._first)


def identities(seed: int, count: int) -> list[SigningKey]:
    """Identities of one attack."""
    words = (bits(seed, Purpose.KEYS, 2**32 + sybil, np.arange(4)) for sybil in range(count))
    return [SigningKey(word.astype("<u8").tobytes()) for word in words]


def _newest(puppet: Puppet, target: PeerId, last: int) -> tuple[int, Tensor] | None:
    """The target's newest round above `last` and all models heard, the target's first; None: nothing new."""
    if target not in puppet.heard or puppet.heard[target][0] <= last:
        return None
    round, model = puppet.heard[target]
    others = [other for peer, (_, other) in sorted(puppet.heard.items()) if peer != target]
    return round, torch.stack([model, *others])


def _rule(name: str) -> Rule | None:
    """What the target says it believes by, with default parameters; None: unknown."""
    with suppress(RuleError, UnknownName):
        return build_rule(name)
    return None
