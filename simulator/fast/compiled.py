"""The compiled path: chains of linear layers trained by numba, a node's whole round in cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from node.learning.optimizers import Adam, Sgd
from simulator.fast.chain import Chain
from simulator.fast.trainer import Job, Visits, lost

_FEWEST = 8  # nodes a range: below it what a call costs shows


class Compiled:
    """Runs `simulator.fast.kernels.train` on ranges of nodes.

    Raises:
        ImportError: numba is not installed.
    """

    name = "compiled"

    def __init__(self, job: Job, chain: Chain) -> None:
        from simulator.fast import kernels

        self.why = f"a chain of {len(chain.layers)} linear layers, compiled by numba {kernels.VERSION}, {kernels.TILE}"
        self._kernel = kernels.train
        self._job = job
        self._visits = Visits(job)
        layers = chain.layers
        self._dims = np.array([layers[0].inputs, *(layer.outputs for layer in layers)], dtype=np.int64)
        self._weight_at = np.array([layer.weight for layer in layers], dtype=np.int64)
        self._bias_at = np.array([-1 if layer.bias is None else layer.bias for layer in layers], dtype=np.int64)
        self._activations = np.array([int(layer.activation) for layer in layers], dtype=np.int64)
        optimizer = job.learner.task.optimizer
        self._kind, numbers, moments = _numbers(optimizer)
        self._numbers = np.array(numbers, dtype=np.float64)
        nodes = len(job.samples)
        shape = (nodes, chain.dimension) if optimizer.keep_state else (0, 0)
        self._moments = np.zeros(shape if moments > 0 else (0, 0), dtype=np.float32)
        self._seconds = np.zeros(shape if moments > 1 else (0, 0), dtype=np.float32)
        self._taken = np.zeros(nodes, dtype=np.int64)
        data = job.data
        self._inputs = data.inputs.reshape(len(data), -1).contiguous().numpy()
        self._divisor = np.float32(255.0 if data.inputs.dtype == torch.uint8 else 1.0)
        self._labels = data.labels.contiguous().numpy()
        if len(self._labels) and int(self._labels.max()) >= int(self._dims[-1]):
            raise ValueError("a label is beyond the model's outputs")

    def train(self, start: Tensor, out: Tensor, rows: Tensor, round: int) -> None:
        """Train every node for one round; see `Trainer`."""
        job, visits = self._job, self._visits
        sequence = visits.sequence(round, job.workers)
        source, target, names = start.contiguous().numpy(), out.numpy(), rows.numpy()
        if len(names) and not (names.min() >= 0 and names.max() < len(target)):
            raise IndexError("a row number is out of range")

        keep = job.learner.task.optimizer.keep_state

        def work(lo: int, hi: int) -> None:
            before = [moments[lo:hi].copy() for moments in (self._moments, self._seconds)] if keep else []
            self._kernel(
                lo, hi, source, target, names, self._inputs, self._divisor, self._labels, sequence, visits.first,
                visits.sizes, visits.steps, visits.batch, self._dims, self._weight_at, self._bias_at,
                self._activations, self._kind, self._numbers, self._moments, self._seconds, self._taken,
            )  # fmt: skip
            if keep:
                diverged = np.flatnonzero(lost(out, rows[lo:hi]).numpy())
                for moments, kept in zip((self._moments, self._seconds), before, strict=True):
                    if len(moments):
                        moments[lo + diverged] = kept[diverged]

        fair = -(-len(names) // (8 * job.workers.threads))  # so that no thread waits long for another's last range
        job.workers.over(len(names), work, most=max(_FEWEST, fair))
        if keep:
            self._taken += np.where(lost(out, rows).numpy(), 0, visits.steps)


def _numbers(optimizer: Sgd | Adam) -> tuple[int, tuple[float, ...], int]:
    # kind, (lr, momentum, weight decay, b1, b2, eps), moments
    if isinstance(optimizer, Adam):
        return 2, (optimizer.lr, 0.0, optimizer.weight_decay, *optimizer.betas, optimizer.eps), 2
    if optimizer.momentum:
        return 1, (optimizer.lr, optimizer.momentum, optimizer.weight_decay, 0.0, 0.0, 0.0), 1
    return 0, (optimizer.lr, 0.0, optimizer.weight_decay, 0.0, 0.0, 0.0), 0
