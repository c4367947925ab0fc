"""The grouped path: image models that are plain chains, several nodes as groups of one convolution, channels last.

The nodes' channels lie side by side, (batch, nodes x channels, rows, columns), so one grouped convolution runs them
all; linear layers are batched products; gradients come from autograd over the whole group.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from simulator.fast.flat import Steps, by_size, joined, parts_of
from simulator.fast.trainer import Job, Visits

_CACHE = 5 << 19  # bytes that the widest activations of a group may take: measured best with LeNet, 4 nodes
_MOST = 16  # nodes a convolution

_PLAIN = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.ELU, nn.LeakyReLU, nn.SiLU, nn.GELU)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def fits(module: nn.Module, shape: tuple[int, ...]) -> str | None:
    """Why this model is no chain of convolutions and linear layers; None when it is one."""
    if len(shape) != 3:
        return "inputs are no images"
    flat = False
    convolutions = 0
    for part in leaves(module):
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks:
            return "a layer has hooks"
        kind = type(part)
        if not all(parameter.requires_grad for parameter in part.parameters()):
            return "a layer is frozen"
        if isinstance(part, nn.Conv2d) and kind is nn.Conv2d:
            if flat or part.groups != 1 or part.padding_mode != "zeros" or isinstance(part.padding, str):
                return "a convolution of a special kind"
            convolutions += 1
        elif kind is nn.Linear:
            if not flat:
                return "a linear layer on inputs that are not flat"
        elif kind is nn.Flatten:
            if flat or (part.start_dim, part.end_dim) != (1, -1):  # type: ignore[comparison-overlap]
                return "flattens in an unusual way"
            flat = True
        elif kind not in _PLAIN and (kind not in _POOLS or flat):
            return f"{kind.__name__} is no layer of a plain chain"
        if isinstance(part, nn.MaxPool2d) and part.return_indices:
            return "a pool that returns its choices"
    if not convolutions:
        return "no convolution"
    if not flat:
        return "outputs that are not flat"
    if len({id(p) for p in module.parameters()}) != sum(1 for part in leaves(module) for _ in part.parameters()):
        return "layers share weights"
    return None


def leaves(module: nn.Module) -> list[nn.Module]:
    """Layers of nested plain Sequentials, in order."""
    if type(module) is nn.Sequential and not (module._forward_hooks or module._forward_pre_hooks):
        return [leaf for part in module for leaf in leaves(part)]
    return [module]


def _pools_first(layers: list[nn.Module]) -> list[nn.Module]:
    # max(relu(x)) is relu(max(x)) to the bit, values and gradients, on a fraction of the numbers
    out = list(layers)
    for place in range(len(out) - 1):
        if type(out[place]) is nn.ReLU and type(out[place + 1]) is nn.MaxPool2d:
            out[place], out[place + 1] = out[place + 1], out[place]
    return out


def _widest(layers: list[nn.Module], shape: tuple[int, ...]) -> int:
    # floats of one sample where they are most
    state, most = torch.zeros(1, *shape), prod(shape)
    with torch.no_grad():
        for layer in layers:
            state = layer(state)
            most = max(most, state.numel())
    return most


class Grouped:
    """Trains groups of nodes of equal sample counts by grouped convolutions."""

    name = "grouped"

    def __init__(self, job: Job) -> None:
        self._job = job
        self._layers = _pools_first(leaves(job.learner.task.build()))
        self._layout = job.learner.layout
        self._visits = Visits(job)
        widest = _widest(self._layers, job.data.shape)
        self.group = max(2, min(_MOST, _CACHE // (4 * widest * self._visits.batch)))
        self.why = f"a chain of convolutions, {self.group} nodes as groups of one"
        self._inputs = job.data.inputs.to(job.learner.device)
        self._labels = job.data.labels.to(job.learner.device)
        self._steps = Steps(job.learner.task.optimizer, len(job.samples), job.learner.dimension, job.learner.device)

    def train(self, start: Tensor, out: Tensor, rows: Tensor, round: int) -> None:
        """Train every node for one round; see `Trainer`."""
        size = self.group
        by_size(self._job, self._visits, self._group, self._steps, start, out, rows, round, least=size, most=size)

    def _group(self, params: Tensor, who: Tensor, order: Tensor, size: int, steps: int) -> Tensor:
        parts = parts_of(params, self._layout)
        optimizer = self._steps.group(who, parts, self._layout)
        batch = self._visits.batch
        batches = -(-size // batch)
        for step in range(steps):
            begin = step // batches * size + step % batches * batch
            count = min(batch, size - step % batches * batch)
            picked = order[:, begin : begin + count]
            inputs = self._feed(picked)
            leaves_ = [part.requires_grad_() for part in parts]
            with torch.enable_grad():
                loss = self._loss(leaves_, inputs, self._labels[picked])
                gradients = torch.autograd.grad(loss, leaves_)
            with torch.no_grad():
                parts = [part.detach() for part in leaves_]
                optimizer.step(parts, gradients)
        trained = joined(parts)
        optimizer.keep(who, trained)
        return trained

    def _feed(self, picked: Tensor) -> Tensor:
        # (n, b) rows -> (b, n x channels, rows, columns), channels last
        nodes, count = picked.shape
        raw = torch.index_select(self._inputs, 0, picked.T.flatten())
        wide = raw.view(count, nodes * raw.shape[1], *raw.shape[2:])
        state = wide.to(torch.float32, memory_format=torch.channels_last)
        return state.div_(255.0) if raw.dtype == torch.uint8 else state

    def _loss(self, params: list[Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        nodes, count = labels.shape
        state = inputs
        given = iter(params)
        flat = False
        for layer in self._layers:
            if isinstance(layer, nn.Conv2d):
                weight = next(given)
                bias = next(given).flatten() if layer.bias is not None else None
                state = functional.conv2d(
                    state,
                    weight.flatten(0, 1),
                    bias,
                    stride=layer.stride,
                    padding=layer.padding,
                    dilation=layer.dilation,
                    groups=nodes,
                )
            elif isinstance(layer, nn.Flatten):
                state = state.reshape(count, nodes, -1).transpose(0, 1)
                flat = True
            elif isinstance(layer, nn.Linear):
                weight = next(given)
                if layer.bias is not None:
                    state = torch.baddbmm(next(given).unsqueeze(1), state, weight.transpose(1, 2))
                else:
                    state = torch.bmm(state, weight.transpose(1, 2))
            else:
                state = layer(state)
        assert flat
        # each node's loss is the mean over its batch; nodes do not touch each other
        return functional.cross_entropy(state.flatten(0, 1), labels.flatten(), reduction="sum") / count
