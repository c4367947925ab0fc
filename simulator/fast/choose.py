"""Which training path: the fastest that fits the model and trains two nodes as the plain loop does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aggregation.evidence import HeadLayout
from aggregation.kernels.rows import available
from hedgerow_registry import choose
from simulator.fast import grouped, mapped
from simulator.fast.chain import recognise
from simulator.fast.compiled import Compiled
from simulator.fast.fused import Fused
from simulator.fast.plain import Plain
from simulator.fast.trainer import Job, Trainer, agrees

MUCH = 1 << 31
"""Samples a round times params of a model from which compiling pays though nothing of it can be kept on disk."""

PATHS = ("compiled", "fused", "grouped", "mapped", "plain")


def choose_trainer(job: Job, start: Tensor, *, path: str | None = None, compiled: bool | None = None) -> Trainer:
    """A training path for this job.

    Args:
        job: what to train.
        start: (N, d) params of the first round; two nodes of them are trained as a probe.
        path: a path by name, or None: the first that fits.
        compiled: False leaves numba out, True uses it when it is there; None does so unless compiling costs more than
            it saves: nothing can be kept on disk, and there is less than `MUCH` to train.

    Raises:
        UnknownName: no path of this name.
        ValueError: the path was asked for by name and does not fit; the message says why.
    """
    if path is not None:
        choose("training path", path, dict.fromkeys(PATHS))
    reasons: list[str] = []
    for name in PATHS if path is None else (path,):
        if name == "plain":
            why = "; ".join(reasons)
            return Plain(job, f"any model ({why})" if why else "any model")
        built = _fitting(name, job, True if path is not None and compiled is None else compiled)
        if isinstance(built, str):
            reasons.append(f"{name}: {built}")
            continue
        try:
            same = agrees(built(job.probe()), Plain(job.probe()), start[:2].contiguous())
        except Exception as error:
            if name != "mapped":  # there the user's own code runs, on what vmap feeds it
                raise
            reasons.append(f"mapped: vmap cannot trace it ({type(error.__cause__ or error).__name__})")
            continue
        if same:
            return built(job)
        reasons.append(f"{name}: differs from the plain loop on two nodes")
    raise ValueError(f"training path {'; '.join(reasons)}")


def _fitting(name: str, job: Job, compiled: bool | None) -> Callable[[Job], Trainer] | str:
    task = job.learner.task
    if task.running:
        return "training changes buffers of the model"
    if not task.takes_one:
        return "the model is never fed one sample alone"
    module = task.build()
    if name == "mapped":
        return mapped.fits(module, job.learner.dimension) or (lambda part: _columns(part, mapped.Mapped(part)))
    if task.loss is not None:
        return "a loss of the user's own"
    if job.data.inputs.dtype not in (torch.uint8, torch.float32):
        return "inputs are no numbers to multiply"
    if name == "grouped":
        return grouped.fits(module, job.data.shape) or (lambda part: _columns(part, grouped.Grouped(part)))
    chain = recognise(module, job.data.shape)
    if isinstance(chain, str):
        return chain
    if name == "compiled":
        if compiled is False:
            return "numba is switched off"
        if not available():
            return "numba is not installed"
        if job.learner.device != "cpu":
            return "numba runs on the processor only"
        if compiled is None and not kept_on_disk() and int(job.sizes.sum()) * job.learner.dimension < MUCH:
            return "what numba compiles cannot be kept on disk here, and there is little to train"
        return lambda part: _columns(part, Compiled(part, chain))
    return lambda part: _columns(part, Fused(part, chain))


def kept_on_disk() -> bool:
    """Whether kernels, once compiled, are found again by the next process (numba must be installed)."""
    from simulator.fast import kernels

    return kernels.CACHED


def _columns(job: Job, inner: Trainer) -> Trainer:
    head = job.learner.head
    if job.learner.task.local_update == "plain" or head is None:
        return inner
    return OwnColumns(job, inner, head)


class OwnColumns:
    """CWR*: trains with foreign columns of the head at 0; then they are as before, own ones less their feature mean."""

    def __init__(self, job: Job, inner: Trainer, head: HeadLayout) -> None:
        self.name, self.why = inner.name, f"{inner.why}, own columns of the head kept"
        self._inner, self._head = inner, head
        self._own = torch.zeros(len(job.samples), head.classes, dtype=torch.bool)
        for node, samples in enumerate(job.samples):
            self._own[node, torch.unique(job.data.labels[samples])] = True
        self._own = self._own.to(job.learner.device)

    def train(self, start: Tensor, out: Tensor, rows: Tensor, round: int) -> None:
        """Train every node for one round; see `Trainer`."""
        foreign = ~self._own.unsqueeze(1)
        alone = self._head.write(start, self._head.read(start).masked_fill(foreign, 0.0))
        self._inner.train(alone, out, rows, round)
        for first in range(0, len(rows), 64):
            some = rows[first : first + 64]
            before, trained = self._head.read(start[first : first + 64]), self._head.read(out[some]).clone()
            weights = trained[:, : self._head.features]
            weights -= weights.mean(dim=1, keepdim=True)
            merged = torch.where(self._own[first : first + 64].unsqueeze(1), trained, before)
            out[some] = self._head.write(out[some], merged)
