"""Local training of all nodes: what every training path promises, and what it is given.

Laws:
- Paths differ in speed only: the same samples in the same order (node.draws), the same loss and optimizer.
- A training that diverges comes back as it is; what its node carries from round to round stays as it was before.
- A path is chosen by what the model is and by whether two nodes come out as the plain loop has them; never by a
  stopwatch, or the machine's load would decide a run's bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.draws import orders
from node.learning.dataset import Dataset
from node.learning.learner import Learner
from simulator.fast.workers import Workers


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What is to be trained.

    Attributes:
        learner: the task on its device.
        data: the data set that `samples` names rows of.
        samples: training rows of each node.
        addresses: (N,) uint64 address of each node in draws.
        seed: of the run.
        workers: threads.
    """

    learner: Learner
    data: Dataset
    samples: tuple[Tensor, ...]
    addresses: NDArray[np.uint64]
    seed: int
    workers: Workers

    def probe(self) -> Job:
        """A small part of it, by which paths are compared: three batches and a sample of the first two nodes.

        Few, since what two right paths round apart grows from step to step, and passes any tolerance after thousands.
        """
        few = tuple(rows[: 3 * self.learner.task.batch_size + 1] for rows in self.samples[:2])
        return Job(self.learner, self.data, few, self.addresses[:2], self.seed, self.workers)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N,) training samples of each node."""
        return np.array([len(rows) for rows in self.samples], dtype=np.int64)

    @property
    def steps(self) -> NDArray[np.int64]:
        """(N,) optimizer steps of each node in a round."""
        task = self.learner.task
        batches = -(-self.sizes // task.batch_size)
        if task.local_steps is not None:
            return np.where(batches > 0, task.local_steps, 0)
        return batches * task.local_epochs


class Trainer(Protocol):
    """A training path.

    Attributes:
        name: as `--training` names it.
        why: why this path was taken, half a sentence.
    """

    name: str
    why: str

    def train(self, start: Tensor, out: Tensor, rows: Tensor, round: int) -> None:
        """Train every node for one round.

        Args:
            start: (N, d) params to start from; not changed.
            out: (R, d); node n's trained params are written to row rows[n].
            rows: (N,) int64 row numbers, all different.
            round: number of the round.
        """


class Visits:
    """Which sample each node visits when: the batch order of `Learner.train`, for many nodes at once."""

    def __init__(self, job: Job) -> None:
        self.sizes = job.sizes
        self.steps = job.steps
        self.batch = job.learner.task.batch_size
        batches = np.maximum(-(-self.sizes // self.batch), 1)
        self.epochs = -(-self.steps // batches)
        self.first = np.concatenate([[0], np.cumsum(self.sizes * self.epochs)]).astype(np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)
        kept = [rows.cpu().numpy() for rows in job.samples]
        self._rows = np.concatenate(kept).astype(np.int64) if kept else np.zeros(0, np.int64)
        self._addresses = job.addresses
        self._seed = job.seed
        kinds = np.stack([self.sizes, self.epochs], axis=1)
        self.groups = [
            (int(size), int(epochs), np.flatnonzero((kinds == (size, epochs)).all(axis=1)))
            for size, epochs in np.unique(kinds, axis=0)
            if size > 0 and epochs > 0
        ]

        # sizes within a factor of two are drawn together: one call instead of one a size
        heights = np.stack([np.ceil(np.log2(np.maximum(self.sizes, 1))), self.epochs], axis=1)
        self._alike = [
            (int(self.sizes[nodes].max()), int(kind[1]), nodes)
            for kind in np.unique(heights[self.steps > 0], axis=0)
            for nodes in [np.flatnonzero((heights == kind).all(axis=1) & (self.steps > 0))]
        ]

    def sequence(self, round: int, workers: Workers) -> NDArray[np.int64]:
        """All visits of a round: node n's are [first[n] : first[n + 1]], epoch after epoch."""
        out = np.empty(int(self.first[-1]), dtype=np.int64)
        for size, epochs, nodes in self._alike:
            steps = np.arange(size, dtype=np.int64)

            def fill(lo: int, hi: int, nodes: NDArray[np.int64] = nodes, size: int = size, epochs: int = epochs,
                     steps: NDArray[np.int64] = steps) -> None:  # fmt: skip
                who = nodes[lo:hi]
                sizes = self.sizes[who]
                there = steps < sizes[:, None]
                begin = self.first[who][:, None] + steps
                for epoch in range(epochs):
                    order = orders(self._seed, self._addresses[who], round, epoch, size, sizes)
                    place = begin + epoch * sizes[:, None]
                    out[place[there]] = self._rows[(self._offsets[who][:, None] + order)[there]]

            workers.over(len(nodes), fill, most=256)
        return out


def company(who: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """At least so many nodes, the last one repeated: libraries take other routes, and round otherwise, for few.

    Repeated nodes compute the same numbers and write them to the same place.
    """
    return np.concatenate([who, np.repeat(who[-1:], max(0, least - len(who)))])


def lost(out: Tensor, rows: Tensor) -> Tensor:
    """Which of these rows hold a NaN or an infinity, from a training that diverged: (n,) row numbers -> bool (n,)."""
    return ~torch.isfinite(out[rows]).all(dim=1)


def abreast(nodes: NDArray[np.int64], taken: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Nodes in groups that have taken equally many steps; one group unless a training diverged.

    Args:
        nodes: (n,) numbers of nodes, n >= 1.
        taken: (N,) steps of earlier rounds.
    """
    counts = np.unique(taken[nodes])
    return [nodes] if len(counts) == 1 else [nodes[taken[nodes] == count] for count in counts]


def agrees(trainer: Trainer, reference: Trainer, start: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether two paths train these nodes alike for one round, within `tolerance` in every number."""
    nodes = len(start)
    rows = torch.arange(nodes, device=start.device)
    ours, theirs = torch.empty_like(start), torch.empty_like(start)
    reference.train(start, theirs, rows, 0)
    trainer.train(start, ours, rows, 0)
    if not torch.equal(torch.isfinite(ours), torch.isfinite(theirs)):
        return False
    both = torch.isfinite(theirs)
    apart = (ours - theirs)[both].abs().max().item() if bool(both.any()) else 0.0
    return apart <= tolerance
