"""The fused path: chains of linear layers in torch, the update written inside the product that makes the gradient.

Nodes go through in groups that fit into cache: all local steps of one group, then the next. There is no gradient
tensor: W <- W - lr / b * G X is one in-place `baddbmm_`. What layers put out stands in columns, (nodes, outputs,
batch): products of narrow layers are twice as fast so, and a softmax across ten rows twenty times.

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

from node.learning.optimizers import Adam
from simulator.fast.chain import Activation, Chain
from simulator.fast.scratch import Scratch
from simulator.fast.trainer import Job, Visits, abreast, company, lost

_CACHE = 4 << 20  # bytes a worker's group may take: where products and second-level caches were measured best
_LINE = 16  # floats of a cache line
_STRIDE = 32  # floats that elementwise loops take at a time: what is left over is rounded by other code
_FEWEST = 8  # nodes a group: below it the cost of a call shows


class Fused:
    """Trains groups of nodes of equally many batches by batched products; a batch that is not full is padded."""

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
        self._spare: list[Scratch] = []
        batches = -(-self._visits.sizes // self._visits.batch)
        kinds = np.stack([batches, self._visits.epochs], axis=1)
        self._even = [
            (int(kind[0]), np.flatnonzero((kinds == kind).all(axis=1)))
            for kind in np.unique(kinds[self._visits.steps > 0], axis=0)
        ]
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
        alike = [(batches, some) for batches, nodes in self._even for some in abreast(nodes, self._taken)]
        for batches, nodes in alike:

            def work(lo: int, hi: int, batches: int = batches, nodes: NDArray[np.int64] = nodes) -> None:
                who = company(nodes[lo:hi], 2)
                # every epoch in whole batches: past a node's last sample its last one again, with no say
                slots, sizes = np.arange(batches * visits.batch), visits.sizes[who, None]
                begin = visits.first[who, None] + np.arange(visits.epochs[who[0]]) * sizes
                visit = begin[:, :, None] + np.minimum(slots, sizes - 1)[:, None]
                order = sequence[torch.from_numpy(visit.reshape(len(who), -1)).to(start.device)]
                counts = np.clip(sizes - np.arange(batches) * visits.batch, 0, visits.batch)
                self._group(start, out, rows, who, order, torch.from_numpy(counts).to(start.device))

            self._job.workers.over(len(nodes), work, most=self.group)
        if self._optimizer.keep_state:
            self._taken += np.where(lost(out, rows).cpu().numpy(), 0, visits.steps)

    def _group(
        self, start: Tensor, out: Tensor, rows: Tensor, who: NDArray[np.int64], order: Tensor, counts: Tensor
    ) -> None:
        # order (n, epochs x batches x batch) samples, counts (n, batches) of each batch
        chosen = torch.from_numpy(who).to(start.device)
        scratch = self._spare.pop() if self._spare else Scratch(start.device)
        optimizer, chain, nodes = self._optimizer, self._chain, len(who)
        params = _Layers(chain, scratch, "params", nodes)
        params.read(start, chosen)
        moments = [_Layers(chain, scratch, f"moment {number}", nodes) for number in range(len(self._moments))]
        for store, moment in zip(self._moments, moments, strict=True):
            if optimizer.keep_state:
                moment.read(store, chosen)
            else:
                moment.zero()
        gradient = _Layers(chain, scratch, "gradient", nodes) if isinstance(optimizer, Adam) else None
        batch, steps, batches = self._visits.batch, int(self._visits.steps[who[0]]), counts.shape[1]
        for step in range(steps):
            picked = order[:, step * batch : (step + 1) * batch]
            inputs, labels, count = self._feed(picked, scratch), self._labels[picked], counts[:, step % batches]
            self._step(params, moments, gradient, inputs, labels, count, int(self._taken[who[0]]) + step, scratch)
        params.write(out, rows[chosen], scratch)
        if optimizer.keep_state:
            diverged = chosen[lost(out, rows[chosen])]
            for store, moment in zip(self._moments, moments, strict=True):
                before = store[diverged]
                moment.write(store, chosen, scratch)
                store[diverged] = before
        self._spare.append(scratch)

    def _feed(self, picked: Tensor, scratch: Scratch) -> Tensor:
        # columns to whole lines; rows until a node's outputs are whole lines
        nodes, count = picked.shape
        width, classes = self._inputs.shape[1], self._chain.layers[-1].outputs
        rows = next(rows for rows in range(count, count + _LINE) if rows * classes % _LINE == 0)
        raw = scratch.take("raw", (nodes * count, width), self._inputs.dtype)
        torch.index_select(self._inputs, 0, picked.flatten(), out=raw)
        inputs = scratch.take("inputs", (nodes, rows, width + -width % _LINE))
        inner = inputs[:, :count, :width]
        if inner.shape != inputs.shape:
            inputs.zero_()
        inner.copy_(raw.view(nodes, count, width))
        return inputs.mul_(1 / 255) if self._inputs.dtype == torch.uint8 else inputs

    def _step(
        self,
        params: _Layers,
        moments: list[_Layers],
        gradient: _Layers | None,
        inputs: Tensor,
        labels: Tensor,
        counts: Tensor,
        taken: int,
        scratch: Scratch,
    ) -> None:
        optimizer = self._optimizer
        count = labels.shape[1]
        values = params.forward(inputs, scratch)
        above = functional.softmax(values[-1], dim=1)
        above[:, :, :count].scatter_add_(1, labels.unsqueeze(1), above.new_full((), -1.0).expand(len(labels), 1, count))
        above.div_(counts[:, None, None])
        above[:, :, count:] = 0.0
        if bool((counts < count).any()):
            above[:, :, :count].mul_(torch.arange(count, device=counts.device) < counts[:, None, None])
        if isinstance(optimizer, Adam):
            assert gradient is not None
            goal, scale = gradient, 1.0
            goal.zero()
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
                below = scratch.take(f"below {layer}", tuple(values[layer].shape))
                torch.bmm(params.weights[layer].transpose(1, 2), above, out=below)
                _through(below, values[layer], self._chain.layers[layer - 1].activation)
            # beta also applies the decay: W <- shrink W + scale G X
            goal.weights[layer].baddbmm_(above, values[layer].transpose(1, 2), beta=shrink, alpha=scale)
            bias = goal.biases[layer]
            if bias is not None:
                if shrink != 1.0:
                    bias.mul_(shrink)
                bias.add_(above.sum(dim=2), alpha=scale)
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

    def __init__(self, chain: Chain, scratch: Scratch, name: str, nodes: int) -> None:
        self._chain = chain
        self.weights: list[Tensor] = []
        self.biases: list[Tensor | None] = []
        wide = -chain.layers[0].inputs % _LINE
        for number, layer in enumerate(chain.layers):
            tall = 0 if layer is chain.layers[-1] else -layer.outputs % _STRIDE
            shape = (nodes, layer.outputs + tall, layer.inputs + wide)
            self.weights.append(scratch.take(f"{name} weight {number}", shape))
            self.biases.append(None if layer.bias is None else scratch.take(f"{name} bias {number}", shape[:2]))
            wide = tall

    def zero(self) -> None:
        for tensor in self.tensors():
            tensor.zero_()

    def read(self, store: Tensor, rows: Tensor) -> None:
        """Params of these rows; padding is zero."""
        flat = torch.index_select(store, 0, rows)
        for layer, weight, bias in zip(self._chain.layers, self.weights, self.biases, strict=True):
            inner = weight[:, : layer.outputs, : layer.inputs]
            if inner.shape != weight.shape:
                weight.zero_()
            size = layer.outputs * layer.inputs
            inner.copy_(flat[:, layer.weight : layer.weight + size].view(inner.shape))
            if bias is not None and layer.bias is not None:
                bias.zero_()
                bias[:, : layer.outputs] = flat[:, layer.bias : layer.bias + layer.outputs]

    def tensors(self) -> list[Tensor]:
        return [tensor for tensor in (*self.weights, *self.biases) if tensor is not None]

    def forward(self, inputs: Tensor, scratch: Scratch) -> list[Tensor]:
        """What every layer is fed, then the outputs, each (n, width, b); inputs are (n, b, width)."""
        values = [inputs.transpose(1, 2)]
        for layer, weight, bias in zip(self._chain.layers, self.weights, self.biases, strict=True):
            above = scratch.take(f"above {len(values)}", (*weight.shape[:2], inputs.shape[1]))
            torch.bmm(weight, values[-1], out=above)
            if bias is not None:
                above.add_(bias.unsqueeze(2))
            above = _activate(above, layer.activation)
            if layer.activation is Activation.SIGMOID and layer.outputs < above.shape[1]:
                above[:, layer.outputs :] = 0.0  # padding: sigmoid(0) is not 0
            values.append(above)
        return values

    def write(self, out: Tensor, rows: Tensor, scratch: Scratch) -> None:
        flat = scratch.take("flat", (len(rows), self._chain.dimension))
        for layer, weight, bias in zip(self._chain.layers, self.weights, self.biases, strict=True):
            size = layer.outputs * layer.inputs
            flat[:, layer.weight : layer.weight + size] = weight[:, : layer.outputs, : layer.inputs].flatten(1)
            if bias is not None and layer.bias is not None:
                flat[:, layer.bias : layer.bias + layer.outputs] = bias[:, : layer.outputs]
        out.index_copy_(0, rows, flat)


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
