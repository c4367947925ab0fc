"""The plain path: the daemon's own training, one node after the other. What every other path must agree with."""

from __future__ import annotations

import torch
from torch import Tensor

from node.learning.learner import Buffers, Learner, TrainState
from simulator.fast.trainer import Job


class Plain:
    """Calls `Learner.train` for each node, nodes spread over threads; each thread has a learner of its own."""

    name = "plain"

    def __init__(self, job: Job, why: str = "any model") -> None:
        self.why = why
        self._job = job
        self._states: list[TrainState | None] = [None] * len(job.samples)
        self._spare = [job.learner]

    @property
    def buffers(self) -> list[Buffers]:
        """Each node's own, empty before it has trained."""
        return [{} if state is None else state.buffers for state in self._states]

    def train(self, start: Tensor, out: Tensor, rows: Tensor, round: int) -> None:
        """Train every node for one round; see `Trainer`."""
        job = self._job
        target = rows.tolist()

        def work(lo: int, hi: int) -> None:
            learner = self._spare.pop() if self._spare else Learner(job.learner.task, job.learner.device)
            try:
                for node in range(lo, hi):
                    trained, state = learner.train(
                        start[node],
                        job.data,
                        job.samples[node],
                        job.seed,
                        int(job.addresses[node]),
                        round,
                        self._states[node],
                    )
                    out[target[node]] = trained
                    if bool(torch.isfinite(trained).all()):
                        self._states[node] = state
            finally:
                self._spare.append(learner)

        job.workers.over(len(target), work)
