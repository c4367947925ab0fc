"""Harm is measured with running statistics of our own: nobody sends theirs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from node.learning.dataset import Dataset
from node.learning.learner import Learner
from node.learning.task import Task
from simulator.attacks.attack import Flip
from simulator.live.harm import Harm

DRAW = torch.Generator().manual_seed(0)
CENTRES = 3 * torch.randn(3, 8, generator=DRAW)
LABELS = torch.arange(300) % 3
DATA = Dataset(CENTRES[LABELS] + torch.randn(300, 8, generator=DRAW) + 5, LABELS)


@pytest.mark.filterwarnings("ignore::node.learning.errors.TaskWarning")
def test_a_model_with_running_statistics_is_judged_as_its_owner_judges_it() -> None:
    task = Task(lambda: nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3)), DATA, DATA)
    learner = Learner(task)
    params, state = learner.initial(1), None
    for round in range(8):
        params, state = learner.train(params, DATA, torch.arange(300), 7, 1, round, state)
    assert state is not None
    harm = Harm(learner, task, Flip(0, 1))
    owners = float(learner.accuracy(params, DATA, state.buffers))
    assert owners > 0.97 > float(learner.accuracy(params, DATA))
    assert harm.accuracy(params) == pytest.approx(owners, abs=0.02)
    assert harm.success(params) == pytest.approx(0, abs=0.02)
    assert harm.accuracy(torch.full_like(params, torch.nan)) == 0
    assert harm.accuracy(params) == pytest.approx(owners, abs=0.02)
