"""Compiled training of chains of linear layers: one node's whole round in cache, no gradient tensor (numba; optional).

Laws:
- Kernels release the interpreter lock and work on a range (lo, hi) of nodes; what they write for a node does not
  depend on the range. So any number of threads gives the same bits.
- Whoever calls has checked every index.
- `contract` and `reassoc`, never `nnan` or `ninf`: a model that diverges must come back as it is.
- What `train` calls is inlined (`forceinline`): the same bits in the process that compiles and in those that load.
- numba's cache sees changes of this file and of what `train` closes over, no others: hence the stamp of tiles.py.

Layout of scratch: each row of a weight is padded to 16 floats with zeros, so that rows are whole cache lines; rows of
zeros follow the last one until tiles are whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numba
import numpy as np

from aggregation.kernels import tiles
from aggregation.kernels.cache import FAST, cache_works

CACHED = cache_works()
_jit = numba.njit(nogil=True, fastmath=FAST, error_model="numpy", forceinline=True)
VERSION = str(numba.__version__)
TILE = f"{tiles.SHORT} x {tiles.TALL} tiles of {tiles.LANES}"
_LANES, _SHORT, _TALL = tiles.LANES, tiles.SHORT, tiles.TALL
_NIL = np.float32(0.0)
_BLOCK = 2 * _SHORT  # batch rows that stay in L1 while all rows of a weight pass


@_jit
def _dots(left, left_at, left_step, right, right_at, right_step, out, out_at, out_step, rows, columns, width):  # type: ignore[no-untyped-def]
    # out[r, c] = sum_i left[r, i] * right[c, i]; columns is a multiple of TALL
    for block in range(0, rows, _BLOCK):
        end = min(block + _BLOCK, rows)
        for c in range(0, columns, _TALL):
            weight = right_at + c * right_step
            r = block
            while r < end:
                here = out_at + r * out_step + c
                some = left_at + r * left_step
                if r + _SHORT <= end:
                    tiles.dot_whole(out, here, out_step, left, some, left_step, right, weight, right_step, width)
                    r += _SHORT
                else:
                    tiles.dot_one(out, here, out_step, left, some, left_step, right, weight, right_step, width)
                    r += 1


def _outer(whole: Any, one: Any) -> Any:
    @_jit
    def outer(  # type: ignore[no-untyped-def]
        goal, at, step, left, left_at, left_row, left_term, right, right_at, right_term, terms, rows, width,
        other, a, b, c,
    ):  # fmt: skip
        # sum_k left[r, k] * right[k, :] goes to row r of goal; rows is a multiple of TALL, width of LANES
        i = 0
        while i < width:
            several = width - i >= _SHORT * _LANES
            there = right_at + i
            for r in range(0, rows, _TALL):
                here, some = at + r * step + i, left_at + r * left_row
                if several:
                    whole(goal, here, step, left, some, left_row, left_term, right, there, right_term, terms,
                          other, a, b, c)  # fmt: skip
                else:
                    one(goal, here, step, left, some, left_row, left_term, right, there, right_term, terms,
                        other, a, b, c)  # fmt: skip
            i += _SHORT * _LANES if several else _LANES

    return outer


_products = _outer(tiles.set_whole, tiles.set_one)
_descend = _outer(tiles.descend_whole, tiles.descend_one)
_roll = _outer(tiles.roll_whole, tiles.roll_one)


@_jit
def _aligned(count):  # type: ignore[no-untyped-def]
    # Zeros that start on a cache line.
    raw = np.zeros(count + 16, dtype=np.float32)
    skip = (-(raw.ctypes.data // 4)) % 16
    return raw[skip : skip + count]


@_jit
def _loss_gradient(values, at, step, labels, rows, classes):  # type: ignore[no-untyped-def]
    # outputs := (softmax(outputs) - one hot) / rows: the gradient of the mean cross entropy. Padding becomes 0.
    share = np.float32(1.0) / np.float32(rows)
    width = (classes + 15) // 16 * 16
    for r in range(rows):
        begin = at + r * step
        row = values[begin : begin + step]
        top = row[0]
        for c in range(1, classes):
            top = max(top, row[c])
        tiles.exponentials(values, begin, top, width)
        total = _NIL
        for c in range(classes):
            total += row[c]
        factor = share / total
        for c in range(classes):
            row[c] *= factor
        for c in range(classes, step):
            row[c] = _NIL
        row[labels[r]] -= share


@_jit
def _activate(values, at, step, bias, rows, width, kind):  # type: ignore[no-untyped-def]
    # values := activation(values + bias)
    zero, one = np.float32(0.0), np.float32(1.0)
    for r in range(rows):
        row = values[at + r * step : at + r * step + width]
        if kind == 0:
            for i in range(width):
                row[i] += bias[i]
        elif kind == 1:
            for i in range(width):
                value = row[i] + bias[i]
                row[i] = zero if value <= zero else value
        elif kind == 2:
            for i in range(width):
                row[i] = math.tanh(row[i] + bias[i])
        elif kind == 3:
            for i in range(width):
                row[i] = one / (one + math.exp(-(row[i] + bias[i])))


@_jit
def _through(gradients, there, values, at, step, rows, width, kind):  # type: ignore[no-untyped-def]
    # gradient *= derivative of the activation, from its output.
    zero, one = np.float32(0.0), np.float32(1.0)
    for r in range(rows):
        row = gradients[there + r * step : there + r * step + width]
        value = values[at + r * step : at + r * step + width]
        if kind == 1:
            for i in range(width):
                row[i] = row[i] if value[i] > zero else zero
        elif kind == 2:
            for i in range(width):
                row[i] *= one - value[i] * value[i]
        elif kind == 3:
            for i in range(width):
                row[i] *= value[i] * (one - value[i])


@_jit
def _load(flat, weights, biases, dims, weight_at, bias_at, scratch_at, strides):  # type: ignore[no-untyped-def]
    # Padding is written too: a model that diverged may have left it not finite.
    weights[:] = _NIL
    biases[:] = _NIL
    for layer in range(len(dims) - 1):
        fan_in, fan_out = dims[layer], dims[layer + 1]
        for o in range(fan_out):
            source = flat[weight_at[layer] + o * fan_in : weight_at[layer] + (o + 1) * fan_in]
            begin = scratch_at[layer] + o * strides[layer]
            target = weights[begin : begin + fan_in]
            for i in range(fan_in):
                target[i] = source[i]
        if bias_at[layer] >= 0:
            for o in range(fan_out):
                biases[layer, o] = flat[bias_at[layer] + o]


@_jit
def _store(flat, weights, biases, dims, weight_at, bias_at, scratch_at, strides):  # type: ignore[no-untyped-def]
    for layer in range(len(dims) - 1):
        fan_in, fan_out = dims[layer], dims[layer + 1]
        for o in range(fan_out):
            target = flat[weight_at[layer] + o * fan_in : weight_at[layer] + (o + 1) * fan_in]
            begin = scratch_at[layer] + o * strides[layer]
            source = weights[begin : begin + fan_in]
            for i in range(fan_in):
                target[i] = source[i]
        if bias_at[layer] >= 0:
            for o in range(fan_out):
                flat[bias_at[layer] + o] = biases[layer, o]


@_jit
def _sum_rows(values, at, step, rows, width, out):  # type: ignore[no-untyped-def]
    out[:] = _NIL
    for r in range(rows):
        row = values[at + r * step : at + r * step + width]
        for i in range(width):
            out[i] += row[i]


@_jit
def _adam(weights, gradient, first, second, decay, b1, b2, step_size, root, eps):  # type: ignore[no-untyped-def]
    # torch.optim.Adam: w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
    one = np.float32(1.0)
    for i in range(len(weights)):
        g = gradient[i] + decay * weights[i]
        m = first[i] + (one - b1) * (g - first[i])
        v = b2 * second[i] + (one - b2) * g * g
        first[i] = m
        second[i] = v
        weights[i] -= step_size * m / (math.sqrt(v) / root + eps)


def _built(stamp: int) -> Callable[..., None]:
    @numba.njit(nogil=True, fastmath=FAST, error_model="numpy", cache=CACHED)
    def train(  # type: ignore[no-untyped-def]
        lo, hi, start, out, rows, inputs, divisor, labels, sequence, first, sizes, steps, batch, dims, weight_at,
        bias_at, activations, kind, numbers, moments, seconds, taken,
    ):  # fmt: skip
        """Train nodes lo .. hi - 1 for one round.

        Args:
            lo, hi: range of nodes.
            start: (N, d) float32 params to start from.
            out: (R, d) float32; node n's result goes to row rows[n].
            rows: (N,) int64.
            inputs: (S, f) uint8 or float32, divided by `divisor` (float32).
            divisor: 255 or 1.
            labels: (S,) int64.
            sequence: int64 rows of `inputs` in the order of visits, node after node, epoch after epoch.
            first: (N + 1,) int64: node n's visits are sequence[first[n] : first[n + 1]].
            sizes: (N,) int64 samples an epoch.
            steps: (N,) int64 steps this round.
            batch: samples a step; an epoch's last batch may be shorter.
            dims: (L + 1,) int64 features in, between and out.
            weight_at: (L,) int64 offset of each weight in a flat vector.
            bias_at: (L,) int64 offset of each bias, -1 = none.
            activations: (L,) int64 simulator.fast.chain.Activation.
            kind: 0 SGD, 1 SGD with momentum, 2 Adam.
            numbers: (6,) float64 lr, momentum, weight decay, b1, b2, eps.
            moments: (N, d) float32 momentum or first moment, read and written; (0, 0) unless kept between rounds.
            seconds: (N, d) float32 second moment, likewise.
            taken: (N,) int64 steps of earlier rounds (Adam's bias correction; momentum).
        """
        if stamp < 0:
            return
        layers = len(dims) - 1
        tall = np.empty(layers + 1, dtype=np.int64)  # outputs of a layer in whole tiles
        strides = np.empty(layers + 1, dtype=np.int64)  # floats from one row of a weight to the next
        room = np.empty(layers + 1, dtype=np.int64)  # floats from one sample's activations to the next one's
        scratch_at = np.empty(layers + 1, dtype=np.int64)
        values_at = np.empty(layers + 2, dtype=np.int64)
        padded = (batch + _TALL - 1) // _TALL * _TALL
        total, length, widest = np.int64(0), np.int64(0), np.int64(0)
        for layer in range(layers + 1):
            tall[layer] = (dims[layer] + _TALL - 1) // _TALL * _TALL
            strides[layer] = (dims[layer] + 15) // 16 * 16
            room[layer] = strides[layer] if layer == 0 else (tall[layer] + 15) // 16 * 16
            widest = max(widest, room[layer])
            values_at[layer] = length
            length += padded * room[layer]
            if layer > 0:
                scratch_at[layer - 1] = total
                total += tall[layer] * strides[layer - 1]
        weights = _aligned(total)
        moving = _aligned(total if kind > 0 else 0)  # velocity, or Adam's gradient
        first_moment = _aligned(total if kind == 2 else 0)
        second_moment = _aligned(total if kind == 2 else 0)
        biases = np.zeros((layers, widest), dtype=np.float32)
        moving_b = np.zeros((layers, widest), dtype=np.float32)
        first_b = np.zeros((layers, widest), dtype=np.float32)
        second_b = np.zeros((layers, widest), dtype=np.float32)
        values = _aligned(length)  # activations of each layer, then outputs: (padded, room) each
        gradients = _aligned(length)
        bias_gradient = np.zeros(widest, dtype=np.float32)
        picked = np.empty(batch, dtype=np.int64)
        lr, mu, decay = np.float32(numbers[0]), np.float32(numbers[1]), np.float32(numbers[2])
        b1, b2, eps = np.float32(numbers[3]), np.float32(numbers[4]), np.float32(numbers[5])
        shrink = np.float32(1.0 - numbers[0] * numbers[2])
        kept = moments.shape[0] > 0
        flat = layers * widest
        for node in range(lo, hi):
            _load(start[node], weights, biases, dims, weight_at, bias_at, scratch_at, strides)
            if kept and kind == 1:
                _load(moments[node], moving, moving_b, dims, weight_at, bias_at, scratch_at, strides)
            elif kept and kind == 2:
                _load(moments[node], first_moment, first_b, dims, weight_at, bias_at, scratch_at, strides)
                _load(seconds[node], second_moment, second_b, dims, weight_at, bias_at, scratch_at, strides)
            else:
                moving[:] = _NIL
                moving_b[:] = _NIL
                first_moment[:] = _NIL
                second_moment[:] = _NIL
                first_b[:] = _NIL
                second_b[:] = _NIL
            size = sizes[node]
            batches = max((size + batch - 1) // batch, 1)
            for step in range(steps[node]):
                begin = step // batches * size + step % batches * batch
                count = min(batch, size - step % batches * batch)
                for b in range(count):
                    sample = sequence[first[node] + begin + b]
                    source = inputs[sample]
                    target = values[b * room[0] : b * room[0] + dims[0]]
                    for i in range(dims[0]):
                        target[i] = np.float32(source[i]) / divisor
                    picked[b] = labels[sample]
                    later = first[node] + begin + count + b  # of the next step: rows come from anywhere in memory
                    if later < len(sequence):
                        tiles.prefetch(inputs, sequence[later])
                for layer in range(layers):
                    at, above = values_at[layer], values_at[layer + 1]
                    _dots(values, at, room[layer], weights, scratch_at[layer], strides[layer], values, above,
                          room[layer + 1], count, tall[layer + 1], strides[layer])  # fmt: skip
                    activation = activations[layer] if layer < layers - 1 else 0
                    _activate(values, above, room[layer + 1], biases[layer], count, dims[layer + 1], activation)
                _loss_gradient(values, values_at[layers], room[layers], picked, count, dims[layers])
                for back in range(layers):
                    layer = layers - 1 - back
                    fan_out, at, stride = dims[layer + 1], scratch_at[layer], strides[layer]
                    below, above, apart = values_at[layer], values_at[layer + 1], room[layer + 1]
                    given = values if back == 0 else gradients
                    if layer > 0:  # before the weight changes
                        _products(gradients, below, room[layer], given, above, apart, 1, weights, at, stride, fan_out,
                                  (count + _TALL - 1) // _TALL * _TALL, stride, weights, _NIL, _NIL, _NIL)  # fmt: skip
                        _through(gradients, below, values, below, room[layer], count, dims[layer],
                                 activations[layer - 1])  # fmt: skip
                    if bias_at[layer] >= 0:
                        _sum_rows(given, above, apart, count, fan_out, bias_gradient)
                        bias, other = biases[layer], moving_b[layer]
                        for o in range(fan_out):
                            if kind == 0:
                                bias[o] = shrink * bias[o] - lr * bias_gradient[o]
                            elif kind == 1:
                                other[o] = mu * other[o] + decay * bias[o] + bias_gradient[o]
                                bias[o] -= lr * other[o]
                            else:
                                other[o] = bias_gradient[o]
                    if kind == 0:
                        _descend(weights, at, stride, given, above, 1, apart, values, below, room[layer], count,
                                 tall[layer + 1], stride, weights, shrink, lr, _NIL)  # fmt: skip
                    elif kind == 1:
                        _roll(weights, at, stride, given, above, 1, apart, values, below, room[layer], count,
                              tall[layer + 1], stride, moving, mu, decay, lr)  # fmt: skip
                    else:
                        _products(moving, at, stride, given, above, 1, apart, values, below, room[layer], count,
                                  tall[layer + 1], stride, weights, _NIL, _NIL, _NIL)  # fmt: skip
                if kind == 2:
                    t = taken[node] + step + 1
                    step_size = np.float32(numbers[0] / (1.0 - numbers[3] ** t))
                    root = np.float32(math.sqrt(1.0 - numbers[4] ** t))
                    _adam(weights, moving, first_moment, second_moment, decay, b1, b2, step_size, root, eps)
                    _adam(biases.reshape(flat), moving_b.reshape(flat), first_b.reshape(flat), second_b.reshape(flat),
                          decay, b1, b2, step_size, root, eps)  # fmt: skip
            _store(out[rows[node]], weights, biases, dims, weight_at, bias_at, scratch_at, strides)
            if kept and kind == 1:
                _store(moments[node], moving, moving_b, dims, weight_at, bias_at, scratch_at, strides)
            elif kept and kind == 2:
                _store(moments[node], first_moment, first_b, dims, weight_at, bias_at, scratch_at, strides)
                _store(seconds[node], second_moment, second_b, dims, weight_at, bias_at, scratch_at, strides)

    return train


train = _built(crc32(Path(tiles.__file__).read_bytes()))
