"""How good honest models are, and how far the attack has come: accuracy and attack success of many models at once.

Laws:
- One pass over the samples for all models together; for a backdoor one more over the triggered samples.
- An evaluator serves any number of threads: every call has a learner to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.draws import Purpose, generator
from node.learning.dataset import Dataset
from node.learning.learner import Learner
from simulator.attacks.attack import Backdoor, Flip, Measure, Shift
from simulator.attacks.trigger import white
from simulator.study.scenario import ScenarioError
from simulator.study.setup import Setup

UNTARGETED = Flip(0, 1)


class Evaluator:
    """Measures models on the task's test samples, or on a stated subset of them (`scenario.evaluate_samples`).

    Attributes:
        samples: rows of the test set in use, ascending. A subset holds of each class its share of the test set, at
            least one sample, drawn from the seed; so it may differ from the wish by as many samples as there are
            classes.
    """

    def __init__(self, setup: Setup, learner: Learner | None = None) -> None:
        """Gather the samples.

        Args:
            setup: of this run.
            learner: on the device that predicts; None: the setup's.

        Raises:
            ScenarioError: the test set has no sample of the classes that the attack aims at. Without an attack nothing
                is asked of classes.
        """
        test, wish = setup.task.test, setup.scenario.evaluate_samples
        self.samples = torch.arange(len(test)) if wish is None else subset(test.labels, wish, setup.seed)
        self._task, self._learner = setup.task, learner or setup.learner
        self._spare = [self._learner]
        self._clean = test if wish is None else test.take(self.samples)
        self._measure: Measure | None = UNTARGETED if setup.attack is None else setup.attack.measure
        self._triggered = self._clean
        if isinstance(self._measure, Backdoor):
            if bool((self._clean.labels == self._measure.target).all()):
                raise ScenarioError(
                    f"attack '{setup.scenario.attack}' wants other classes taken for class {self._measure.target}, but "
                    "every test sample is of that class: name another target"
                )
            self._triggered = triggered(self._measure, self._clean, setup.data.inputs)
        elif isinstance(self._measure, Flip) and not _cares(self._measure, self._clean.labels):
            if setup.attack is not None:
                raise ScenarioError(_missed(setup, self._measure))
            self._measure = None

    def measure(self, params: Tensor, buffers: Sequence[Mapping[str, Tensor]] | None = None) -> tuple[Tensor, Tensor]:
        """Accuracy and attack success of each model.

        Args:
            params: (N, d) float32 on the learner's device, N >= 0.
            buffers: of each model's owner, so that it is measured as its owner measures it; None: a fresh module's.

        Returns:
            Two (N,) float64 tensors in [0, 1] on the processor; both 0 for a model that is not finite. Success is NaN
            where nobody attacks and there is nothing to compare with.
        """
        finite = torch.isfinite(torch.linalg.vector_norm(params, ord=torch.inf, dim=1))
        safe = params if bool(finite.all()) else params.masked_fill(~finite[:, None], 0.0)
        finite = finite.cpu()
        predicted = self._predict(safe, self._clean.inputs, buffers)
        accuracy = _share(predicted == self._clean.labels)
        if isinstance(self._measure, Backdoor):
            success = _share(self._predict(safe, self._triggered.inputs, buffers) == self._triggered.labels)
        elif self._measure is None:
            return accuracy * finite, torch.full_like(accuracy, torch.nan)
        else:
            success = success_of(predicted, self._clean.labels, self._measure, self._learner.classes)
        return accuracy * finite, success * finite

    def _predict(self, params: Tensor, inputs: Tensor, buffers: Sequence[Mapping[str, Tensor]] | None) -> Tensor:
        try:
            learner = self._spare.pop()
        except IndexError:
            learner = Learner(self._task, self._learner.device)
        try:
            if buffers is None or not learner.unlike(buffers):
                return learner.predict(params, inputs).cpu()
            each = zip(params, buffers, strict=True)
            return torch.stack([learner.predict(model, inputs, own) for model, own in each]).cpu()
        finally:
            self._spare.append(learner)


def triggered(measure: Backdoor, test: Dataset, seen: Tensor) -> Dataset:
    """Test samples of other classes with the trigger on them, labelled as the adversary wants them taken.

    Args:
        measure: trigger and target.
        test: clean samples.
        seen: (S, ...) inputs that nodes train on: they say what is white.
    """
    others = test.take((test.labels != measure.target).nonzero().flatten())
    stamped = measure.trigger.stamp(others.inputs, white(seen))
    return Dataset(stamped, torch.full_like(others.labels, measure.target))


def wanted(measure: Flip | Shift, labels: Tensor, classes: int) -> Tensor:
    """What the adversary wants samples to be taken for: (p,) labels -> (p,) classes, -1 where it does not care."""
    match measure:
        case Flip(first, second):
            other = torch.where(labels == first, second, -1)
            return torch.where(labels == second, first, other)
        case Shift(by):
            return (labels + by) % classes
        case _:
            assert_never(measure)


def success_of(predicted: Tensor, labels: Tensor, measure: Flip | Shift, classes: int) -> Tensor:
    """Share of the samples it cares about that are taken for what the adversary wants: (..., p) -> float64 (...)."""
    aim = wanted(measure, labels, classes)
    cared = aim >= 0
    return _share(predicted[..., cared] == aim[cared])


def subset(labels: Tensor, wish: int, seed: int) -> Tensor:
    """About `wish` rows, each class by its share and at least one: int64, ascending; all when there are fewer."""
    if wish >= len(labels):
        return torch.arange(len(labels))
    draw = generator(seed, Purpose.EVALUATION)
    chosen: list[NDArray[np.int64]] = []
    for kind in torch.unique(labels).tolist():
        rows = (labels == kind).nonzero().flatten().numpy()
        chosen.append(draw.choice(rows, size=max(1, round(wish * len(rows) / len(labels))), replace=False))
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


def _cares(measure: Flip, labels: Tensor) -> bool:
    return bool(((labels == measure.first) | (labels == measure.second)).any())


def _missed(setup: Setup, measure: Flip) -> str:
    """What to say of an attack on classes that no test sample has."""
    there = torch.unique(setup.task.test.labels).tolist()
    known = ", ".join(map(str, there[:10])) + (", ..." if len(there) > 10 else "")
    return (
        f"attack '{setup.scenario.attack}' aims at classes {measure.first} and {measure.second}, but the test set has "
        f"no sample of them, only of {known}: name two of these, as in label-flip(first=2, second=3)"
    )


def _share(hits: Tensor) -> Tensor:
    return hits.to(torch.float64).mean(dim=-1)
