"""The fused path: chains of linear layers in torch, the update written inside the product that makes the gradient.

Nodes go through in groups that fit into cache: all local steps of one group, then the next. There is no gradient
tensor: W <- W - lr / b * G^T X is one in-place `baddbmm_`.

Law: every node's matrices start on a cache line (widths, and batches where that is not enough, are padded with zeros),
because what a BLAS rounds depends on where its operands lie. So a node's bits do not depend on its place in a group.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from node.learning.dataset import feed
from node.learning.optimizers import Adam
from simulator.fast.chain import Activation, Chain
from simulator.fast.trainer import Job, Visits, company

_CACHE = 8 << 20  # bytes a worker's group may take: a quarter of a usual L3, as measured best with two workers
_LINE = 16  # floats of a cache line
_STRIDE = 32  # floats that elementwise loops take at a time: what is left over is rounded by other code
_FEWEST = 8  # nodes a group: below it the cost of a call shows


class Fused:
    """Trains groups of nodes of equal sample counts by batched products."""

    name = "fused"

    def __init__(self, job: Job, chain: Chain) -> None:
        self.why = f"a chain of {len(chain.layers)} linear layers, update fused into the products"
        self._job = job
        self._chain = chain
        self._visits = Visits(job)
        self._optimizer = job.learner.task.optimizer
        data, device = job.data, job.learner.device
        self._inputs = data.inputs.reshape(len(data), -1).to(device)
        self._labels = data.labels.to(device)
        moments = 2 if isinstance(self._optimizer, Adam) else int(bool(self._optimizer.momentum))
        shape = (len(job.samples), chain.dimension) if self._optimizer.keep_state else (0, 0)
        self._moments = [torch.zeros(shape, device=device) for _ in range(moments)]
        self._taken = np.zeros(len(job.samples), dtype=np.int64)
        widths = chain.layers[0].inputs + 2 * sum(layer.outputs for layer in chain.layers)
        bytes_a_node = 4 * (chain.dimension * (1 + moments) + widths * self._visits.batch)
        self.group = max(_FEWEST, _CACHE // bytes_a_node)

    def train(self, start: Tensor, out: Tensor, rows: Tensor, round: int) -> None:
        """Train every node for one round; see `Trainer`."""
        visits = self._visits
        sequence = torch.from_numpy(visits.sequence(round, self._job.workers)).to(start.device)
        idle = torch.from_numpy(np.flatnonzero(visits.steps == 0)).to(start.device)
        if len(idle):
            out[rows[idle]] = start[idle]
        for size, _, nodes in visits.groups:

            def work(lo: int, hi: int, size: int = size, nodes: NDArray[np.int64] = nodes) -> None:
                who = company(nodes[lo:hi], 2)
                first = torch.from_numpy(visits.first[who]).to(start.device)
                length = int(visits.first[who[0] + 1] - visits.first[who[0]])
                order = sequence[first.unsqueeze(1) + torch.arange(length, device=start.device)]
                self._group(start, out, rows, who, order, size)

            self._job.workers.over(len(nodes), work, most=self.group)
        if self._optimizer.keep_state:
            self._taken += visits.steps

    def _group(
        self, start: Tensor, out: Tensor, rows: Tensor, who: NDArray[np.int64], order: Tensor, size: int
    ) -> None:
        chosen = torch.from_numpy(who).to(start.device)
        params = _Layers(self._chain, start[chosen])
        optimizer = self._optimizer
        kept = [_Layers(self._chain, moment[chosen]) for moment in self._moments] if optimizer.keep_state else []
        fresh = len(self._moments) - len(kept)
        moments = kept + [_Layers.zeros(self._chain, len(who), start.device) for _ in range(fresh)]
        gradient = _Layers.zeros(self._chain, len(who), start.device) if isinstance(optimizer, Adam) else None
        batch, steps = self._visits.batch, int(self._visits.steps[who[0]])
        batches = -(-size // batch)
        for step in range(steps):
            begin = step // batches * size + step % batches * batch
            count = min(batch, size - step % batches * batch)
            picked = order[:, begin : begin + count]
            inputs = self._padded(feed(self._inputs[picked]))
            self._step(params, moments, gradient, inputs, self._labels[picked], int(self._taken[who[0]]) + step)
        params.write(out, rows[chosen])
        if optimizer.keep_state:
            for store, moment in zip(self._moments, moments, strict=True):
                moment.write(store, chosen)

    def _padded(self, inputs: Tensor) -> Tensor:
        # columns to whole lines; rows until a node's outputs are whole lines
        count, width = inputs.shape[1:]
        classes = self._chain.layers[-1].outputs
        rows = next(rows for rows in range(count, count + _LINE) if rows * classes % _LINE == 0)
        if rows == count and width % _LINE == 0:
            return inputs
        return functional.pad(inputs, (0, -width % _LINE, 0, rows - count))

    def _step(
        self,
        params: _Layers,
        moments: list[_Layers],
        gradient: _Layers | None,
        inputs: Tensor,
        labels: Tensor,
        taken: int,
    ) -> None:
        optimizer = self._optimizer
        count = labels.shape[1]
        values = params.forward(inputs)
        above = functional.softmax(values[-1], dim=2)
        above[:, :count].scatter_add_(2, labels.unsqueeze(2), above.new_full((), -1.0).expand(*labels.shape, 1))
        above.div_(count)
        above[:, count:] = 0.0
        if isinstance(optimizer, Adam):
            assert gradient is not None
            goal, scale = gradient, 1.0
            for tensor in goal.tensors():
                tensor.zero_()
        elif moments:
            goal, scale = moments[0], 1.0
            for tensor, weight in zip(goal.tensors(), params.tensors(), strict=True):
                tensor.mul_(optimizer.momentum)
                if optimizer.weight_decay:
                    tensor.add_(weight, alpha=optimizer.weight_decay)
        else:
            goal, scale = params, -optimizer.lr
        shrink = 1.0
        if goal is params and optimizer.weight_decay:
            shrink = 1.0 - optimizer.lr * optimizer.weight_decay
        for layer in range(len(self._chain.layers) - 1, -1, -1):
            below = None
            if layer > 0:
                below = torch.bmm(above, params.weights[layer])
                _through(below, values[layer], self._chain.layers[layer - 1].activation)
            # beta also applies the decay: W <- shrink W + scale G^T X
            goal.weights[layer].baddbmm_(above.transpose(1, 2), values[layer], beta=shrink, alpha=scale)
            bias = goal.biases[layer]
            if bias is not None:
                if shrink != 1.0:
                    bias.mul_(shrink)
                bias.add_(above.sum(dim=1), alpha=scale)
            if below is not None:
                above = below
        if isinstance(optimizer, Adam):
            assert gradient is not None
            _adam(optimizer, params, gradient, moments, taken + 1)
        elif moments:
            for weight, tensor in zip(params.tensors(), moments[0].tensors(), strict=True):
                weight.add_(tensor, alpha=-optimizer.lr)


class _Layers:
    """Params of a group of nodes, a contiguous (n, out, in) weight and an (n, out) bias a layer."""

    def __init__(self, chain: Chain, flat: Tensor) -> None:
        self._chain = chain
        self.weights: list[Tensor] = []
        self.biases: list[Tensor | None] = []
        wide = -chain.layers[0].inputs % _LINE
        for layer in chain.layers:
            size = layer.outputs * layer.inputs
            tall = 0 if layer is chain.layers[-1] else -layer.outputs % _STRIDE
            weight = flat[:, layer.weight : layer.weight + size].reshape(-1, layer.outputs, layer.inputs)
            self.weights.append(functional.pad(weight, (0, wide, 0, tall)) if wide or tall else weight.contiguous())
            if layer.bias is None:
                self.biases.append(None)
            else:
                bias = flat[:, layer.bias : layer.bias + layer.outputs]
                self.biases.append(functional.pad(bias, (0, tall)) if tall else bias.contiguous())
            wide = tall

    @classmethod
    def zeros(cls, chain: Chain, nodes: int, device: torch.device) -> _Layers:
        return cls(chain, torch.zeros(nodes, chain.dimension, device=device))

    def tensors(self) -> list[Tensor]:
        return [tensor for tensor in (*self.weights, *self.biases) if tensor is not None]

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Inputs of every layer, then the outputs, each (n, b, width)."""
        values = [inputs]
        for layer, weight, bias in zip(self._chain.layers, self.weights, self.biases, strict=True):
            if layer.outputs < 64:
                # narrow outputs: the transposed product is twice as fast
                above = torch.bmm(weight, values[-1].transpose(1, 2)).transpose(1, 2).contiguous()
            else:
                above = torch.bmm(values[-1], weight.transpose(1, 2))
            if bias is not None:
                above.add_(bias.unsqueeze(1))
            above = _activate(above, layer.activation)
            if layer.activation is Activation.SIGMOID and layer.outputs < above.shape[2]:
                above[:, :, layer.outputs :] = 0.0  # padding: sigmoid(0) is not 0
            values.append(above)
        return values

    def write(self, out: Tensor, rows: Tensor) -> None:
        flat = torch.empty(len(rows), self._chain.dimension, device=out.device)
        for layer, weight, bias in zip(self._chain.layers, self.weights, self.biases, strict=True):
            size = layer.outputs * layer.inputs
            flat[:, layer.weight : layer.weight + size] = weight[:, : layer.outputs, : layer.inputs].flatten(1)
            if bias is not None and layer.bias is not None:
                flat[:, layer.bias : layer.bias + layer.outputs] = bias[:, : layer.outputs]
        out[rows] = flat


def _activate(values: Tensor, kind: Activation) -> Tensor:
    if kind is Activation.RELU:
        return values.relu_()
    if kind is Activation.TANH:
        return values.tanh_()
    return values.sigmoid_() if kind is Activation.SIGMOID else values


def _through(gradient: Tensor, values: Tensor, kind: Activation) -> None:
    # gradient *= derivative of the activation, from its output
    if kind is Activation.RELU:
        torch.ops.aten.threshold_backward.grad_input(gradient, values, 0, grad_input=gradient)
    elif kind is Activation.TANH:
        gradient.mul_(1 - values * values)
    elif kind is Activation.SIGMOID:
        gradient.mul_(values * (1 - values))


def _adam(optimizer: Adam, params: _Layers, gradient: _Layers, moments: list[_Layers], step: int) -> None:
    b1, b2 = optimizer.betas
    first, second = moments
    rate, root = optimizer.lr / (1 - b1**step), sqrt(1 - b2**step)
    for w, g, m, v in zip(params.tensors(), gradient.tensors(), first.tensors(), second.tensors(), strict=True):
        if optimizer.weight_decay:
            g.add_(w, alpha=optimizer.weight_decay)
        m.lerp_(g, 1 - b1)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        w.addcdiv_(m, v.sqrt().div_(root).add_(optimizer.eps), value=-rate)
