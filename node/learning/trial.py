"""Tries a task when it is made: a real training step with every kind of batch, so that no run ends in its first round.

Laws:
- Tried are a full batch and batches of three, two and one: the last batch of an epoch has any size up to the full one.
- Models are judged on any number of samples, so one alone must go through in evaluation. In training it need not: a
  model that cannot take it (BatchNorm) is never fed it, see `Task`.
- The module is used up; torch's global generator is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from node.learning.blame import users_code, warn
from node.learning.blueprint import trainable
from node.learning.dataset import Dataset
from node.learning.errors import TaskError
from node.learning.origin import same
from node.learning.seeded import seeded

MOST = 16  # samples of the largest batch that is tried: what one of 16 can do, one of 4096 can
_SQUASHED = {
    "SoftmaxBackward0": "Softmax",
    "LogSoftmaxBackward0": "LogSoftmax",
    "SigmoidBackward0": "Sigmoid",
}

_ALONE = "; in evaluation it must take one sample alone (BatchNorm without running statistics cannot: use GroupNorm)"

MeanLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a model was seen to do.

    Attributes:
        classes: its outputs.
        takes_one: whether it can be trained on one sample alone.
        running: its buffers that training changes.
    """

    classes: int
    takes_one: bool
    running: frozenset[str]


def try_out(module: nn.Module, data: Dataset, batch_size: int, mean_loss: MeanLoss, cross_entropy: bool) -> Findings:
    """Run the module as training and judging will.

    Args:
        module: to be thrown away afterwards.
        data: whose first rows it is tried on.
        batch_size: of the task.
        mean_loss: of the task.
        cross_entropy: whether that is cross-entropy, so that outputs must be logits.

    Raises:
        TaskError: something fails; the message says what to change.
    """
    with seeded(0):
        before = {name: value.clone() for name, value in module.named_buffers()}
        classes = _evaluate(module, data)
        if int(data.labels.max()) >= classes:
            return Findings(classes, True, frozenset())  # the caller says so: the loss would, with less to learn from
        takes_one = _train(module, data, batch_size, mean_loss, classes, cross_entropy)
        return Findings(classes, takes_one, _running(module, before))


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread within: what is tried is small, and on a busy machine threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _evaluate(module: nn.Module, data: Dataset) -> int:
    classes = 0
    with users_code("the model fails in eval()"):
        module.eval()
    for count in sorted({min(2, len(data)), 1}, reverse=True):
        inputs = data.feed(slice(0, count))
        what = f"the model fails on inputs of shape {tuple(inputs.shape)}"
        with torch.no_grad(), users_code(what, _ALONE if classes else _hint(module, data)):
            logits = module(inputs)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != count:
            alone = "; a squeeze() that loses the batch? use flatten(1)" if count == 1 and classes else ""
            raise TaskError(
                f"the model gives {_kind(logits)} for {count} input{'s' * (count > 1)}; wanted logits ({count}, "
                f"classes){alone}"
            )
        classes = int(logits.shape[1])
    return classes


def _train(
    module: nn.Module, data: Dataset, batch_size: int, mean_loss: MeanLoss, classes: int, cross_entropy: bool
) -> bool:
    """Steps of falling size; whether one sample alone goes through."""
    with users_code("the model fails in train()"):
        module.train()
    full = min(batch_size, len(data), MOST)
    sizes = [full, *(size for size in (3, 2, 1) if size < full)]
    for size in sizes:
        try:
            logits = _step(module, data, size, mean_loss, classes)
        except TaskError as error:
            if size == 1 and full > 1:
                return False
            if full == 1:
                raise TaskError(
                    f"{error}; that was a batch of one sample: with BatchNorm give a batch_size of 2 or more, or use "
                    "GroupNorm or LayerNorm"
                ) from error.__cause__
            if size < full:
                raise TaskError(
                    f"{error}; that was a batch of {size}: the last batch of an epoch may have any size from 2 up"
                ) from error.__cause__
            raise
        name = "" if logits.grad_fn is None else logits.grad_fn.name()
        if size == full and cross_entropy and name in _SQUASHED:
            warn(
                f"the model ends in {_SQUASHED[name]}, and cross-entropy applies a softmax itself: it learns slowly, "
                "or not at all; let the model return logits (leave that layer out)"
            )
    return True


def _step(module: nn.Module, data: Dataset, size: int, mean_loss: MeanLoss, classes: int) -> Tensor:
    inputs, labels = data.feed(slice(0, size)), data.labels[:size]
    with users_code(f"the model fails in training on inputs of shape {tuple(inputs.shape)}", _hint(module, data)):
        logits = module(inputs)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (size, classes):
        raise TaskError(
            f"in training the model gives {_kind(logits)} for {size} inputs; wanted logits ({size}, {classes}) as in "
            "evaluation: return logits alone (torchvision's Inception and GoogLeNet: aux_logits=False)"
        )
    with users_code(f"the loss fails on logits {tuple(logits.shape)} and labels ({size},)"):
        loss = mean_loss(logits, labels)
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        raise TaskError("the loss must return one number (a scalar tensor): the mean over the batch")
    if not loss.requires_grad:
        raise TaskError("the loss does not depend on any trainable parameter")
    parameters = [value for _, value in trainable(module)]
    with users_code("the model fails when gradients are computed"):
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise TaskError("the loss does not depend on any trainable parameter")
    return logits


def _running(module: nn.Module, before: dict[str, Tensor]) -> frozenset[str]:
    """Buffers that the steps changed; of BatchNorm all three or none, though one may come out as it was."""
    after = dict(module.named_buffers())
    for name in after.keys() | before.keys():
        if name not in before or name not in after or after[name].shape != before[name].shape:
            raise TaskError(
                f"buffer '{name}' comes, goes or changes its shape while the model runs: make it in __init__ with "
                "register_buffer, in its final shape"
            )
    changed = {name for name, value in after.items() if not same(value, before[name])}
    for path, layer in module.named_modules():
        own = {f"{path}.{name}".lstrip(".") for name, _ in layer.named_buffers(recurse=False)}
        if isinstance(layer, nn.modules.batchnorm._NormBase) and own & changed:
            changed |= own
    return frozenset(changed)


def _kind(outputs: object) -> str:
    return f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__


def _hint(module: nn.Module, data: Dataset) -> str:
    """What the inputs' type or shape says about why they do not fit."""
    if data.inputs.dtype == torch.int64:
        return "; unless int64 inputs are token numbers, give float32 or uint8"
    first = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is not None and len(data.shape) == 3 and data.shape[2] == first.in_channels != data.shape[0]:
        return (
            f"; the images' {data.shape[2]} channels come last and the model wants them first: give "
            "inputs.permute(0, 3, 1, 2) (NumPy: inputs.transpose(0, 3, 1, 2))"
        )
    if first is not None and len(data.shape) == 2 and first.in_channels == 1:
        return "; the images have no channel: give inputs[:, None]"
    return ""
