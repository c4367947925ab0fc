"""The mapped path: any other model by torch.func.vmap over nodes, where vmap can trace it and agrees with the loop."""

from __future__ import annotations

import warnings

from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from node.learning.blame import users_code
from node.learning.dataset import feed
from simulator.fast.flat import Steps, by_size, joined, parts_of
from simulator.fast.trainer import Job, Visits

_MOST_PARAMS = 200_000  # beyond it a node's own products fill the machine, and stacking gains nothing (measured: 1.0x)
_CACHE = 16 << 20  # bytes of params and gradients in one group


def fits(module: nn.Module, dimension: int) -> str | None:
    """Why stacking gains nothing or is not exact for this model; None when it is worth a probe.

    A rule on what the model is, not a stopwatch: convolutions by vmap are slower than the loop, large models gain
    nothing.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.conv._ConvNd):
            return "vmap makes convolutions slower than the loop"
        if isinstance(part, nn.modules.batchnorm._NormBase | nn.modules.dropout._DropoutNd):
            return f"{type(part).__name__} has state or draws of its own"
    if any(True for _ in module.buffers()):
        return "the model has buffers"
    if dimension > _MOST_PARAMS:
        return f"more than {_MOST_PARAMS} params"
    return None


class Mapped:
    """Trains groups of nodes of equal sample counts by vmap(grad(loss))."""

    name = "mapped"

    def __init__(self, job: Job) -> None:
        self.why = "vmap over nodes"
        self._job = job
        task = job.learner.task
        self._layout = job.learner.layout
        self._visits = Visits(job)
        self._inputs = job.data.inputs.to(job.learner.device)
        self._labels = job.data.labels.to(job.learner.device)
        self._steps = Steps(task.optimizer, len(job.samples), job.learner.dimension, job.learner.device)
        self._group_size = max(2, _CACHE // (8 * job.learner.dimension))
        self._modules = [task.build().to(job.learner.device).train()]

    def train(self, start: Tensor, out: Tensor, rows: Tensor, round: int) -> None:
        """Train every node for one round; see `Trainer`."""
        most = self._group_size
        by_size(self._job, self._visits, self._group, self._steps, start, out, rows, round, least=2, most=most)

    def _group(self, params: Tensor, who: Tensor, order: Tensor, size: int, steps: int) -> Tensor:
        task = self._job.learner.task
        module = self._modules.pop() if self._modules else task.build().to(params.device).train()
        names = self._layout.names

        def loss(named: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
            outputs = functional_call(module, named, (inputs,))
            return functional.cross_entropy(outputs, labels) if task.loss is None else task.loss(outputs, labels)

        gradient = vmap(grad(loss))
        parts = parts_of(params, self._layout)
        optimizer = self._steps.group(who, parts, self._layout)
        batch = self._visits.batch
        batches = -(-size // batch)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an operation that vmap runs one by one: the probe refuses the path
            for step in range(steps):
                begin = step // batches * size + step % batches * batch
                count = min(batch, size - step % batches * batch)
                picked = order[:, begin : begin + count]
                inputs, labels = feed(self._inputs[picked]), self._labels[picked]
                with users_code("the model or its loss fails in training"):
                    found = gradient(dict(zip(names, parts, strict=True)), inputs, labels)
                optimizer.step(parts, [found[name] for name in names])
        trained = joined(parts)
        optimizer.keep(who, trained)
        self._modules.append(module)
        return trained
