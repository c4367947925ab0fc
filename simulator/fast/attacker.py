"""Trains the adversary's model by a compiled path: in a scenario with much poisoned data it is most of a round.

Law: the learner's result but for rounding. An optimizer that keeps its state is left to the learner, which starts the
adversary's afresh every round.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from simulator.adversary import Train
from simulator.fast.choose import choose_trainer
from simulator.fast.trainer import Job, Trainer
from simulator.fast.workers import Workers
from simulator.study.setup import Setup


def adversary_training(setup: Setup, workers: Workers, *, path: str | None, compiled: bool | None) -> Train | None:
    """How the adversary trains, or None: as the learner does.

    Args:
        setup: of this run.
        workers: threads; one node is one range, so one of them works.
        path: training path by name; None = the first that fits and agrees with the plain loop.
        compiled: False leaves numba out.
    """
    if setup.task.optimizer.keep_state:
        return None
    made: dict[tuple[int, int], tuple[Trainer, Tensor]] = {}  # rows are kept: their ids stay theirs

    def train(params: Tensor, rows: Tensor, address: int, round: int) -> Tensor:
        start, key = params.unsqueeze(0), (id(rows), address)
        if key not in made:
            own = np.array([address], dtype=np.uint64)
            job = Job(setup.learner, setup.data, (rows,), own, setup.seed, workers)
            made[key] = choose_trainer(job, start, path=path, compiled=compiled), rows
        out = torch.empty_like(start)
        made[key][0].train(start, out, torch.zeros(1, dtype=torch.int64), round)
        return out[0]

    return train
