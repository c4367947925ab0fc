"""The adversary of a world: it reads what honest nodes sign, and speaks last through its Sybils.

Laws:
- It acts on a round once every node that is up has signed its update of that round, or after a share of the deadline.
- It acts once a round, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gossip.protocol.messages import Buffer
from simulator.adversary import Adversary
from simulator.attacks.frame_fault import FrameFault
from simulator.attacks.sybil import Sybil
from simulator.world.ground import Ground
from simulator.world.transport import MemoryTransport

_PATIENCE = 0.5  # share of the deadline that the adversary waits for honest nodes that are late
_OPEN = 2  # its own transports take frames this many times longer than any node's


class Attacker:
    """All Sybils of a world, and the mind behind them; without either, nothing happens."""

    def __init__(self, ground: Ground, do: Callable[[Coroutine[None, None, None]], None]) -> None:
        """Nobody listens before `start`; `do`: runs what takes time."""
        setup = ground.setup
        self._ground = ground
        self._do = do
        self._adversary = None if setup.attack is None or not setup.sybils else Adversary(setup, ground.rule)
        self._faults = [cast(FrameFault, fault) for fault in (setup.attack.faults if setup.attack else ())]
        self._sybils: list[Sybil] = []
        self._signed: dict[int, Tensor] = {}
        self._crafted: dict[int, Tensor] = {}
        self._acted = 0

    async def start(self) -> None:
        """Bring the Sybils up."""
        setup = self._ground.setup
        for vertex in range(setup.honest, setup.honest + setup.sybils):
            self._sybils.append(self._sybil(vertex))
            await self._sybils[-1].start()

    async def close(self) -> None:
        """Take them down."""
        for sybil in self._sybils:
            await sybil.close()

    def read(self, vertex: int, round: int, payload: Buffer) -> None:
        """An honest node has signed an update of this round; it is durable, and has not left yet."""
        if self._adversary is None or round < self._acted:
            return
        if round not in self._signed:
            self._signed[round] = self._silence(self._ground.setup.honest)
            wait = _PATIENCE * self._ground.setup.scenario.deadline
            asyncio.get_running_loop().call_later(wait, self.act_until, round)
        numbers = np.frombuffer(payload[-self._ground.setup.learner.schema.nbytes :], dtype="<f4")
        self._signed[round][vertex] = torch.from_numpy(numbers.copy())

    def act_until(self, round: int) -> None:
        """Craft and send models up to this round."""
        while self._adversary is not None and self._acted <= round:
            now = self._acted
            self._acted += 1
            rows = self._signed.pop(now, None)
            crafted = self._adversary.act(now, self._silence(self._ground.setup.honest) if rows is None else rows)
            self._crafted[now] = crafted
            self._do(self._send(now, crafted))

    def crafted(self, round: int) -> Tensor:
        """(S, d) what it sent in a round, NaN where it did not act; forgotten after the call."""
        return self._crafted.pop(round, self._silence(self._ground.setup.sybils))

    def _silence(self, rows: int) -> Tensor:
        return torch.full((rows, self._ground.setup.learner.dimension), torch.nan)

    async def _send(self, round: int, crafted: Tensor) -> None:
        vectors = crafted.detach().contiguous().numpy().astype("<f4", copy=False)
        for sybil, vector in zip(self._sybils, vectors, strict=True):
            await sybil.send(round, vector.tobytes(), self._faults)

    def _sybil(self, vertex: int) -> Sybil:
        ground, setup = self._ground, self._ground.setup
        limits = replace(ground.limits, settle=0.0)  # nobody is heard out before the first update
        loud = replace(limits, frame=_OPEN * limits.frame)
        return Sybil(
            setup.keys[vertex],
            setup.network,
            setup.learner.schema,
            MemoryTransport(ground.network, setup.peers[vertex], setup.places[vertex], loud),
            generator=ground.draws(vertex),
            limits=limits,
            nonce=ground.nonce(vertex),
            bootstrap=ground.bootstrap(vertex),
            allow=ground.allow(vertex),
        )
