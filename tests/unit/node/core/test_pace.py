"""Pace between cores in virtual time: who is a step behind comes back into step."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count

import pytest
from peers import peer, update

from identity.keys import PeerId
from node.core.events import (
    Announced,
    Arrived,
    Begin,
    Effect,
    Event,
    Integrate,
    Integrated,
    Joined,
    Phase,
    Publish,
    Published,
    Report,
    Timer,
    Train,
    Trained,
    Wake,
    Woken,
)
from node.core.machine import NodeCore
from node.core.policy import RoundPolicy

TRAINING, TRAVEL = 0.05, 0.01


class Network:
    """Cores that all know each other; what one publishes reaches the others after TRAVEL seconds."""

    def __init__(self, policy: RoundPolicy, starts: Sequence[float]) -> None:
        self.peers = [peer(number) for number in range(1, len(starts) + 1)]
        self.cores = {name: NodeCore(name, policy, seed=1) for name in self.peers}
        self.reports: dict[PeerId, list[tuple[float, Report]]] = {name: [] for name in self.peers}
        self._queue: list[tuple[float, int, PeerId, Event]] = []
        self._order = count()
        for name, start in zip(self.peers, starts, strict=True):
            for other in self.peers:
                if other != name:
                    self._later(start, name, Joined(other, ""))
            self._later(start, name, Begin(0))

    def run(self, until: float) -> None:
        while self._queue and self._queue[0][0] <= until:
            now, _, name, event = heapq.heappop(self._queue)
            core = self.cores[name]
            if core.phase is Phase.NEW and not isinstance(event, Begin | Joined):
                continue  # not started yet
            for effect in core.handle(event, now):
                self._do(name, effect, now)
            core.validate()

    def _later(self, at: float, name: PeerId, event: Event) -> None:
        heapq.heappush(self._queue, (at, next(self._order), name, event))

    def _do(self, name: PeerId, effect: Effect, now: float) -> None:
        match effect:
            case Train(round):
                self._later(now + TRAINING, name, Trained(round))
            case Publish(round):
                self._later(now, name, Published(round))
                for other in self.peers:
                    if other != name:
                        self._later(now + TRAVEL, other, Announced(name, round, name))
                        self._later(now + TRAVEL, other, Arrived(update(name, round), name, 1))
            case Integrate(round):
                self._later(now, name, Integrated(round))
            case Wake(timer, round, at):
                self._later(at, name, Woken(timer, round))
            case Report():
                self.reports[name].append((now, effect))
            case _:
                pass


@pytest.mark.parametrize("behind", [0.2, 0.6, 0.95, 1.3, 1.9])
@pytest.mark.parametrize("others", [1, 2, 4])
def test_a_node_that_begins_a_step_behind_comes_into_step(behind: float, others: int) -> None:
    network = Network(RoundPolicy(pace=1.0, least=0.1), [0.0] * others + [behind])
    network.run(40.0)
    everyone = len(network.peers) - 1
    for name in network.peers:
        at, last = network.reports[name][-1]
        assert [len(report.heard) for _, report in network.reports[name][-10:]] == [everyone] * 10
        assert last.round >= 30
        assert at / last.round >= 0.98  # nobody hurries the network beyond its pace


def test_pace_is_halved_once_most_neighbours_have_begun() -> None:
    names = [peer(number) for number in (1, 2, 3)]
    core = NodeCore(peer(50), RoundPolicy(pace=10.0, least=0.1), seed=1)
    for name in names:
        core.handle(Joined(name, ""), 100.0)
    core.handle(Begin(0), 100.0)
    core.handle(Trained(0), 100.0)
    core.handle(Published(0), 100.0)
    for name in names:
        core.handle(Arrived(update(name, 0), name, 1), 100.5)
    assert core.handle(Integrated(0), 101.0)[-1] == Wake(Timer.PACE, 1, 110.0)
    assert Wake(Timer.PACE, 1, 105.0) not in core.handle(Arrived(update(names[0], 1), names[0], 1), 102.0)
    assert core.handle(Arrived(update(names[1], 1), names[1], 1), 103.0) == [Wake(Timer.PACE, 1, 105.0)]
    assert core.handle(Arrived(update(names[2], 1), names[2], 1), 106.0) == [Wake(Timer.PACE, 1, 106.0)]
    assert core.handle(Woken(Timer.PACE, 1), 106.0) == [Train(1)]
    assert core.handle(Woken(Timer.PACE, 1), 110.0) == []
