"""Runs a synchronous scenario as arrays: every honest node's round at once, the same rules, the same draws.

Laws:
- The same answer as simulator.world: from identical inputs each round ends within 1e-5, with the same weights and
  verdicts.
- Bit-identical for any number of threads: work is cut by nodes, and what is written for a node does not depend on
  the cut.
- The rules are aggregation's own, called with a batch dimension; nothing of them is written here again.

Source of the round: ARCHITECTURE.md, "The synchronous round".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.evidence import Need, Rule
from aggregation.kernels import rows as kernels
from node.learning.learner import Buffers, Learner
from simulator.adversary import Adversary
from simulator.fast.attacker import adversary_training
from simulator.fast.choose import choose_trainer
from simulator.fast.compiling import compiling
from simulator.fast.decisions import Decisions
from simulator.fast.histories import Histories
from simulator.fast.plain import Plain
from simulator.fast.profile import Profile
from simulator.fast.rows import Rows
from simulator.fast.trainer import Job
from simulator.fast.workers import Workers
from simulator.study.hearing import Hearing
from simulator.study.metrics import Evaluator
from simulator.study.records import Edges, Observer, RoundRecord, Trace, influence
from simulator.study.setup import Setup

_MEASURED = 64  # models that a thread measures at a time
_HEADER = 545  # bytes of a signed header with its envelope and the request for its payload, about; payloads are exact


@dataclass(frozen=True, slots=True)
class Options:
    """Where and how fast: nothing here changes a result beyond rounding.

    Attributes:
        threads: workers; None = as many as torch has.
        compiled: numba kernels; None = when numba is there.
        training: training path by name; None = the first that fits and agrees with the plain loop on two nodes.
        device: where models live, for example "cuda"; the adversary stays on the processor.
    """

    threads: int | None = None
    compiled: bool | None = None
    training: str | None = None
    device: str = "cpu"


class FastEngine:
    """One run of one rule, a round at a time.

    Attributes:
        round: number of the next round.
        profile: seconds by phase.
    """

    def __init__(self, setup: Setup, rule: Rule, options: Options | None = None, *, name: str | None = None) -> None:
        """Choose the paths and allocate.

        Args:
            setup: of this run.
            rule: what honest nodes decide by.
            options: where and how fast.
            name: the rule as records name it; None = the rule's own.

        Raises:
            ValueError: the training path asked for does not fit.
        """
        options = options or Options()
        self._setup, self._rule, self._name = setup, rule, name or rule.name
        self.round = 0
        self._workers = Workers(options.threads)
        self._compiling = compiling()
        self.profile = Profile(self._workers.threads, lambda: self._compiling.seconds)
        self._compiled = options.device == "cpu" and options.compiled is not False and kernels.available()
        self._device = options.device
        honest = setup.honest
        self._params = torch.empty(honest, setup.learner.dimension, device=options.device)
        self._params.copy_(setup.initial[:honest])
        learner = setup.learner if self._device == setup.learner.device else Learner(setup.task, self._device)
        job = Job(
            learner,
            setup.data,
            tuple(shard.train for shard in setup.shards[:honest]),
            setup.addresses[:honest],
            setup.seed,
            self._workers,
        )
        with self._workers.single_threaded():
            self._trainer = choose_trainer(job, self._params, path=options.training, compiled=options.compiled)
        self._adversary = None
        if setup.attack is not None:
            learn = adversary_training(setup, self._workers, path=options.training, compiled=options.compiled)
            self._adversary = Adversary(setup, rule, learn)
        self._evaluator = Evaluator(setup, learner)
        self._histories = (
            Histories(
                setup.neighbours,
                honest,
                setup.addresses,
                setup.order,
                setup.seed,
                setup.scenario.authors,
                setup.scenario.age,
                self._workers,
            )
            if Need.RELAYS in rule.needs
            else None
        )
        starts = honest if Need.START in rule.needs else 0
        # rows that were never filled cost nothing: numpy's pages come when touched
        rounds = setup.scenario.age + 1 if self._histories is not None and options.device == "cpu" else 1
        capacity = min(rounds, setup.scenario.rounds) * (honest + setup.sybils) + starts + 1
        self._rows = Rows(setup.learner.dimension, capacity, options.device)
        self._common = self._rows.take(np.array([-1], dtype=np.int32), -1)
        self._rows.values[self._common[0]] = setup.common
        self._rows.settle(self._common, self._workers, self._compiled)
        self._starts = starts
        self._hearing = Hearing(setup)
        self._decisions = Decisions(
            setup, self._hearing.links, rule, learner, self._workers, self._compiled, self.profile
        )
        self._diverged = np.zeros(0, dtype=np.int32)
        self._seen: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None] | None = None
        degrees = np.array([len(beside) for beside in setup.neighbours[:honest]], dtype=np.int64)
        self._beside = np.full((honest, int(degrees.max(initial=0))), -1, dtype=np.int64)
        for node, beside in enumerate(setup.neighbours[:honest]):
            self._beside[node, : len(beside)] = beside
        # every neighbour gets a header, the honest ones pull the payload
        listening: NDArray[np.int64] = ((self._beside >= 0) & (self._beside < honest)).sum(axis=1)
        self._payload = 4 * setup.learner.dimension
        self._sent: NDArray[np.int64] = degrees * _HEADER + listening * self._payload

    @property
    def params(self) -> Tensor:
        """(H, d) models at the start of the next round; assigning replaces them (copied)."""
        return self._params

    @params.setter
    def params(self, params: Tensor) -> None:
        self._params = params.to(self._device, torch.float32).clone()

    def step(self, observer: Observer | None = None) -> RoundRecord:
        """Run one round.

        Args:
            observer: shown all models of the round, before the record is returned.
        """
        started, before = perf_counter(), self._compiling.seconds
        with self._workers.single_threaded():
            edges, shown = self._round(observer is not None)
        compiled = self._compiling.seconds - before
        spent = perf_counter() - started - compiled
        if compiled:
            self.profile.seconds["compile"] = self.profile.seconds.get("compile", 0.0) + compiled
        last = self.round + 1 == self._setup.scenario.rounds
        measured = last or (self.round + 1) % self._setup.scenario.evaluate_every == 0
        accuracy = success = None
        if measured:
            with self.profile.phase("evaluate"):
                accuracy, success = self._measured()
        record = RoundRecord(
            rule=self._name,
            seed=self._setup.seed,
            round=self.round,
            accuracy=accuracy,
            success=success,
            influence=influence(edges, self._setup.honest),
            bytes=self._bytes(edges),
            seconds=spent,
            edges=edges if measured else None,
            diverged=self._diverged,
        )
        if observer is not None and shown is not None:
            start, trained, sent = shown
            trace = Trace(self.round, start, trained, sent, self._params.clone(), edges, self._buffers, self._diverged)
            observer(trace)
        self.round += 1
        self.profile.rounds += 1
        return record

    def describe(self) -> str:
        """Engine and training path chosen, and why, in one line."""
        rules = "numba" if self._compiled else "torch"
        trainer = self._trainer
        return (
            f"array engine, {self._setup.honest} nodes, {self._workers.threads} threads; training: {trainer.name} "
            f"({trainer.why}); rows: {rules}"
        )

    @property
    def live(self) -> int:
        """Rows of the table that somebody still knows."""
        return self._rows.live

    def known(self) -> float:
        """Relayed histories that a node holds, on average."""
        relayed = None if self._seen is None else self._seen[2]
        return 0.0 if relayed is None else float((relayed >= 0).sum(axis=1).mean())

    def snapshot(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The table of the last round and who knew what in it, for measurements beside the engine.

        Returns:
            values (R, d); rows of own models (H,), of neighbours' (H, n) and of relayed histories (H, r), -1 absent.

        Raises:
            RuntimeError: no round was run yet.
        """
        if self._seen is None:
            raise RuntimeError("no round was run yet")
        own, direct, relayed = self._seen
        held = np.full((self._setup.honest, 0), -1) if relayed is None else relayed
        return self._rows.values, torch.from_numpy(own), torch.from_numpy(direct), torch.from_numpy(held)

    def close(self) -> None:
        """Stop the workers."""
        self._workers.close()

    def _round(self, watched: bool) -> tuple[Edges, tuple[Tensor, Tensor, Tensor] | None]:
        setup, rows, honest = self._setup, self._rows, self._setup.honest
        vertices = np.arange(honest + setup.sybils, dtype=np.int32)
        taken = rows.take(vertices, self.round)
        names = torch.from_numpy(taken).to(self._device)
        with self.profile.phase("train"):
            self._trainer.train(self._params, rows.values, names[:honest], self.round)
        with self.profile.phase("gram"):
            self._diverged = self._settle_own(taken[:honest])
        sent = rows.values[:0]
        if self._adversary is not None:
            with self.profile.phase("attack"):
                sent = self._adversary.act(self.round, rows.values[names[:honest]].cpu()).to(self._device)
                rows.values[names[honest:]] = sent
        starts = None
        if self._starts:
            starts = rows.take(vertices[:honest], self.round)
            rows.values[torch.from_numpy(starts).to(self._device)] = self._params
        fresh = taken[honest:] if starts is None else np.concatenate([taken[honest:], starts])
        with self.profile.phase("gram"):
            rows.settle(fresh, self._workers, self._compiled)
        finite = rows.finite
        heard = np.where(finite.cpu().numpy()[taken], taken, -1)
        relayed = None
        if self._histories is not None:
            with self.profile.phase("relay"):
                self._histories.settle(rows, self.round)
                relayed = self._histories.rows
        before = (self._params.clone(), rows.values[names[:honest]], sent.clone()) if watched else None
        direct: NDArray[np.int64] = np.where(self._beside >= 0, heard[self._beside], -1)
        links = self._hearing.drawn(self.round)
        edges = self._decisions.decide(
            self.round, rows, links, taken, heard, relayed, starts, int(self._common[0]), self._params, self._buffers
        )
        live = self._common
        if self._histories is not None:
            with self.profile.phase("relay"):
                self._histories.relay(rows, direct, self.round)
                self._histories.expire(rows, self.round + 1)
                live = np.concatenate([live, self._histories.live()])
        rows.keep(live)
        self._seen = taken[:honest], direct, relayed
        return edges, before

    def _settle_own(self, taken: NDArray[np.int64]) -> NDArray[np.int32]:
        """Measure honest models (H,) fresh from training; a node whose training diverged publishes what it began with.

        Returns:
            Those nodes' numbers.
        """
        rows = self._rows
        rows.settle(taken, self._workers, self._compiled)
        names = torch.from_numpy(taken).to(self._device)
        diverged = (~rows.finite[names]).nonzero().flatten()
        if len(diverged):
            rows.values[names[diverged]] = self._params[diverged]
            rows.settle(taken[diverged.cpu().numpy()], self._workers, self._compiled)
        return diverged.cpu().numpy().astype(np.int32)

    def _measured(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        accuracy, success = np.empty(self._setup.honest), np.empty(self._setup.honest)
        buffers = self._buffers

        def work(lo: int, hi: int) -> None:
            found, hit = self._evaluator.measure(self._params[lo:hi], None if buffers is None else buffers[lo:hi])
            accuracy[lo:hi], success[lo:hi] = found.numpy(), hit.numpy()

        with self._workers.single_threaded():
            self._workers.over(self._setup.honest, work, most=_MEASURED)
        return accuracy, success

    @property
    def _buffers(self) -> list[Buffers] | None:
        """Each node's own; None where training changes none. Models with such are trained by the plain path alone."""
        return self._trainer.buffers if self._setup.task.running and isinstance(self._trainer, Plain) else None

    def _bytes(self, edges: Edges) -> NDArray[np.int64]:
        # a relay is a header, and a payload where the receiver lacks it; who is drawn from afar sends both
        sent = self._sent.copy()
        if edges.far is not None:
            asked = np.bincount(edges.senders[edges.far], minlength=len(sent))[: len(sent)]
            sent += asked * (_HEADER + self._payload)
        if self._histories is not None:
            sent += self._histories.relays * _HEADER + self._histories.lacking * self._payload
        return sent


def run(
    setup: Setup,
    rule: Rule,
    observer: Observer | None = None,
    *,
    options: Options | None = None,
    name: str | None = None,
) -> Iterator[RoundRecord]:
    """Run all rounds of a scenario under one rule; yields a record a round."""
    engine = FastEngine(setup, rule, options, name=name)
    try:
        while engine.round < setup.scenario.rounds:
            yield engine.step(observer)
    finally:
        engine.close()
