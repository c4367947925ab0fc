"""How often an attack has its way with one model: measured on the task's test samples, which no node trains on."""

from __future__ import annotations

import torch
from torch import Tensor

from node.learning.learner import Buffers, Learner
from node.learning.task import Task
from simulator.attacks.attack import Backdoor, Measure
from simulator.study.metrics import success_of, triggered, wanted


class Harm:
    """Measures single models.

    Args:
        learner: runs them; of the same thread.
        task: whose test samples are used.
        measure: what counts as success.

    Nobody sends buffers, so running statistics are our own: what the model comes to on training data that we hold.
    """

    def __init__(self, learner: Learner, task: Task, measure: Measure) -> None:
        self._learner = learner
        self._train = task.train
        self._test = task.test
        self._measure = measure
        self._triggered = triggered(measure, task.test, task.train.inputs) if isinstance(measure, Backdoor) else None

    def accuracy(self, params: Tensor) -> float:
        """Share of test samples that a model (d,) predicts right; 0 for one that is not finite."""
        if not bool(torch.isfinite(params).all()):
            return 0.0
        return float(self._learner.accuracy(params, self._test, self._buffers(params)))

    def success(self, params: Tensor) -> float | None:
        """Share of the samples it cares about for which the attack has its way; None when it cares about none."""
        if not bool(torch.isfinite(params).all()):
            return 0.0
        if self._triggered is not None:
            return float(self._learner.accuracy(params, self._triggered, self._buffers(params)))
        assert not isinstance(self._measure, Backdoor)
        labels = self._test.labels
        if not bool((wanted(self._measure, labels, self._learner.classes) >= 0).any()):
            return None
        predicted = self._learner.predict(params[None], self._test.inputs, self._buffers(params))
        return float(success_of(predicted, labels, self._measure, self._learner.classes)[0])

    def _buffers(self, params: Tensor) -> Buffers:
        return self._learner.settled(params, self._train, torch.arange(len(self._train)))
