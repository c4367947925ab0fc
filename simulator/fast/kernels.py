"""Compiled training of chains of linear layers: one node's whole round in cache, no gradient tensor (numba; optional).

Laws:
- One call tree in this file: numba's cache does not see changes in other files.
- Kernels release the interpreter lock and work on a range (lo, hi) of nodes; what they write for a node does not
  depend on the range. So any number of threads gives the same bits.
- Whoever calls has checked every index.
- `contract` and `reassoc`, never `nnan` or `ninf`: a model that diverges must come back as it is.

Layout of scratch: each weight starts on a multiple of 16 floats and each of its rows is padded to 16 with zeros, so
that rows are whole cache lines.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_FAST = {"contract", "reassoc", "nsz", "arcp"}


def _cache_works() -> bool:
    # numba raises at import when neither the package's folder nor the user's cache folder can be written.
    try:
        probe = numba.njit(cache=True)(_nothing)
    except RuntimeError:
        return False
    return probe is not None


def _nothing() -> int:
    return 0


CACHED = _cache_works()
_jit = numba.njit(nogil=True, fastmath=_FAST, cache=CACHED, error_model="numpy")
VERSION = str(numba.__version__)


@_jit
def _dots(left, right, out, rows, columns, width):  # type: ignore[no-untyped-def]
    # out[r, c] = sum_i left[r, i] * right[c, i]: register tiles of 4 x 5 sums.
    zero = np.float32(0.0)
    whole_r = rows - rows % 4
    whole_c = columns - columns % 5
    for r in range(0, whole_r, 4):
        a0, a1, a2, a3 = left[r], left[r + 1], left[r + 2], left[r + 3]
        for c in range(0, whole_c, 5):
            b0, b1, b2, b3, b4 = right[c], right[c + 1], right[c + 2], right[c + 3], right[c + 4]
            s00 = s01 = s02 = s03 = s04 = zero
            s10 = s11 = s12 = s13 = s14 = zero
            s20 = s21 = s22 = s23 = s24 = zero
            s30 = s31 = s32 = s33 = s34 = zero
            for i in range(width):
                x0, x1, x2, x3 = a0[i], a1[i], a2[i], a3[i]
                y0, y1, y2, y3, y4 = b0[i], b1[i], b2[i], b3[i], b4[i]
                s00 += x0 * y0
                s01 += x0 * y1
                s02 += x0 * y2
                s03 += x0 * y3
                s04 += x0 * y4
                s10 += x1 * y0
                s11 += x1 * y1
                s12 += x1 * y2
                s13 += x1 * y3
                s14 += x1 * y4
                s20 += x2 * y0
                s21 += x2 * y1
                s22 += x2 * y2
                s23 += x2 * y3
                s24 += x2 * y4
                s30 += x3 * y0
                s31 += x3 * y1
                s32 += x3 * y2
                s33 += x3 * y3
                s34 += x3 * y4
            out[r, c], out[r, c + 1], out[r, c + 2], out[r, c + 3], out[r, c + 4] = s00, s01, s02, s03, s04
            out[r + 1, c], out[r + 1, c + 1], out[r + 1, c + 2] = s10, s11, s12
            out[r + 1, c + 3], out[r + 1, c + 4] = s13, s14
            out[r + 2, c], out[r + 2, c + 1], out[r + 2, c + 2] = s20, s21, s22
            out[r + 2, c + 3], out[r + 2, c + 4] = s23, s24
            out[r + 3, c], out[r + 3, c + 1], out[r + 3, c + 2] = s30, s31, s32
            out[r + 3, c + 3], out[r + 3, c + 4] = s33, s34
        for c in range(whole_c, columns):
            b0 = right[c]
            s00 = s10 = s20 = s30 = zero
            for i in range(width):
                y0 = b0[i]
                s00 += a0[i] * y0
                s10 += a1[i] * y0
                s20 += a2[i] * y0
                s30 += a3[i] * y0
            out[r, c], out[r + 1, c], out[r + 2, c], out[r + 3, c] = s00, s10, s20, s30
    for r in range(whole_r, rows):
        a0 = left[r]
        for c in range(columns):
            b0 = right[c]
            s00 = zero
            for i in range(width):
                s00 += a0[i] * b0[i]
            out[r, c] = s00


@_jit
def _add_outer(target, left, right, terms, scale):  # type: ignore[no-untyped-def]
    # target[r, :] += scale * sum_k left[k, r] * right[k, :] for k < terms; terms is a multiple of 8.
    # One stored row and eight read rows: LLVM stops vectorising above eight alias checks.
    width = target.shape[1]
    for k in range(0, terms, 8):
        x0, x1, x2, x3 = right[k], right[k + 1], right[k + 2], right[k + 3]
        x4, x5, x6, x7 = right[k + 4], right[k + 5], right[k + 6], right[k + 7]
        for r in range(target.shape[0]):
            row = target[r]
            g0, g1, g2, g3 = scale * left[k, r], scale * left[k + 1, r], scale * left[k + 2, r], scale * left[k + 3, r]
            g4, g5, g6, g7 = (
                scale * left[k + 4, r],
                scale * left[k + 5, r],
                scale * left[k + 6, r],
                scale * left[k + 7, r],
            )
            for i in range(width):
                row[i] += (
                    g0 * x0[i]
                    + g1 * x1[i]
                    + g2 * x2[i]
                    + g3 * x3[i]
                    + g4 * x4[i]
                    + g5 * x5[i]
                    + g6 * x6[i]
                    + g7 * x7[i]
                )


@_jit
def _add_products(target, left, right, rows, terms):  # type: ignore[no-untyped-def]
    # target[r, :] = sum_k left[r, k] * right[k, :].
    width = target.shape[1]
    zero = np.float32(0.0)
    whole = terms - terms % 8
    for r in range(rows):
        row = target[r]
        for i in range(width):
            row[i] = zero
    for k in range(0, whole, 8):
        x0, x1, x2, x3 = right[k], right[k + 1], right[k + 2], right[k + 3]
        x4, x5, x6, x7 = right[k + 4], right[k + 5], right[k + 6], right[k + 7]
        for r in range(rows):
            row = target[r]
            g0, g1, g2, g3 = left[r, k], left[r, k + 1], left[r, k + 2], left[r, k + 3]
            g4, g5, g6, g7 = left[r, k + 4], left[r, k + 5], left[r, k + 6], left[r, k + 7]
            for i in range(width):
                row[i] += (
                    g0 * x0[i]
                    + g1 * x1[i]
                    + g2 * x2[i]
                    + g3 * x3[i]
                    + g4 * x4[i]
                    + g5 * x5[i]
                    + g6 * x6[i]
                    + g7 * x7[i]
                )
    for k in range(whole, terms):
        x0 = right[k]
        for r in range(rows):
            row = target[r]
            g0 = left[r, k]
            for i in range(width):
                row[i] += g0 * x0[i]


@_jit
def _aligned(count):  # type: ignore[no-untyped-def]
    # Zeros that start on a cache line.
    raw = np.zeros(count + 16, dtype=np.float32)
    skip = (-(raw.ctypes.data // 4)) % 16
    return raw[skip : skip + count]


@_jit
def _loss_gradient(outputs, labels, rows):  # type: ignore[no-untyped-def]
    # outputs := (softmax(outputs) - one hot) / rows: the gradient of the mean cross entropy.
    classes = outputs.shape[1]
    for r in range(rows):
        row = outputs[r]
        top = row[0]
        for c in range(1, classes):
            top = max(top, row[c])
        total = np.float32(0.0)
        for c in range(classes):
            e = math.exp(row[c] - top)
            row[c] = e
            total += e
        factor = np.float32(1.0) / (total * np.float32(rows))
        for c in range(classes):
            row[c] *= factor
        row[labels[r]] -= np.float32(1.0) / np.float32(rows)


@_jit
def _activate(values, rows, width, kind):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0.0), np.float32(1.0)
    for r in range(rows):
        row = values[r]
        if kind == 1:
            for i in range(width):
                row[i] = zero if row[i] <= zero else row[i]
        elif kind == 2:
            for i in range(width):
                row[i] = math.tanh(row[i])
        elif kind == 3:
            for i in range(width):
                row[i] = one / (one + math.exp(-row[i]))


@_jit
def _through(gradient, values, rows, width, kind):  # type: ignore[no-untyped-def]
    # gradient *= derivative of the activation, from its output.
    zero, one = np.float32(0.0), np.float32(1.0)
    for r in range(rows):
        row = gradient[r]
        value = values[r]
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
def _momentum_before(velocity, weights, mu, decay):  # type: ignore[no-untyped-def]
    for i in range(len(velocity)):
        velocity[i] = mu * velocity[i] + decay * weights[i]


@_jit
def _scale(values, factor):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        values[i] *= factor


@_jit
def _descend(weights, velocity, lr):  # type: ignore[no-untyped-def]
    for i in range(len(weights)):
        weights[i] -= lr * velocity[i]


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
        gradient[i] = np.float32(0.0)


@_jit
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
    layers = len(dims) - 1
    classes = dims[layers]
    padded = (batch + 7) // 8 * 8
    widest = np.int64(0)
    strides = np.empty(layers + 1, dtype=np.int64)
    scratch_at = np.empty(layers + 1, dtype=np.int64)
    total = np.int64(0)
    for layer in range(layers + 1):
        strides[layer] = (dims[layer] + 15) // 16 * 16
        widest = max(widest, strides[layer])
        scratch_at[layer] = total
        if layer < layers:
            total += dims[layer + 1] * strides[layer]
    weights = _aligned(total)
    velocity = _aligned(total if kind > 0 else 0)
    first_moment = _aligned(total if kind == 2 else 0)
    second_moment = _aligned(total if kind == 2 else 0)
    biases = np.zeros((layers, widest), dtype=np.float32)
    velocity_b = np.zeros((layers, widest), dtype=np.float32)
    first_b = np.zeros((layers, widest), dtype=np.float32)
    second_b = np.zeros((layers, widest), dtype=np.float32)
    values_at = np.empty(layers + 2, dtype=np.int64)
    length = np.int64(0)
    for layer in range(layers + 1):
        values_at[layer] = length
        length += padded * (strides[layer] if layer < layers else classes)
    values = _aligned(length)  # activations of each layer, (padded, stride); outputs (padded, classes)
    gradient_store = _aligned(2 * padded * widest)
    picked = np.empty(padded, dtype=np.int64)
    lr, mu, decay = np.float32(numbers[0]), np.float32(numbers[1]), np.float32(numbers[2])
    b1, b2, eps = np.float32(numbers[3]), np.float32(numbers[4]), np.float32(numbers[5])
    kept = moments.shape[0] > 0
    features = dims[0]
    one = np.float32(1.0)
    for node in range(lo, hi):
        _load(start[node], weights, biases, dims, weight_at, bias_at, scratch_at, strides)
        if kind > 0:
            if kept and kind == 1:
                _load(moments[node], velocity, velocity_b, dims, weight_at, bias_at, scratch_at, strides)
            else:
                velocity[:] = 0
                velocity_b[:] = 0
            if kind == 2:
                if kept:
                    _load(moments[node], first_moment, first_b, dims, weight_at, bias_at, scratch_at, strides)
                    _load(seconds[node], second_moment, second_b, dims, weight_at, bias_at, scratch_at, strides)
                else:
                    first_moment[:] = 0
                    second_moment[:] = 0
                    first_b[:] = 0
                    second_b[:] = 0
        size = sizes[node]
        batches = max((size + batch - 1) // batch, 1)
        for step in range(steps[node]):
            begin = step // batches * size + step % batches * batch
            count = min(batch, size - step % batches * batch)
            terms = (count + 7) // 8 * 8
            feed = values[: padded * strides[0]].reshape(padded, strides[0])
            for b in range(count):
                sample = sequence[first[node] + begin + b]
                source = inputs[sample]
                target = feed[b]
                for i in range(features):
                    target[i] = np.float32(source[i]) / divisor
                picked[b] = labels[sample]
            for b in range(count, terms):
                feed[b][:] = 0
            # forward
            for layer in range(layers):
                fan_out = dims[layer + 1]
                last = layer == layers - 1
                below = values[values_at[layer] : values_at[layer] + padded * strides[layer]].reshape(
                    padded, strides[layer]
                )
                room = classes if last else strides[layer + 1]
                above = values[values_at[layer + 1] : values_at[layer + 1] + padded * room].reshape(padded, room)
                weight = weights[scratch_at[layer] : scratch_at[layer] + fan_out * strides[layer]].reshape(
                    fan_out, strides[layer]
                )
                _dots(below, weight, above, count, fan_out, strides[layer])
                bias = biases[layer]
                for b in range(count):
                    row = above[b]
                    for o in range(fan_out):
                        row[o] += bias[o]
                for b in range(count, terms):
                    above[b][:] = 0
                if not last:
                    _activate(above, count, fan_out, activations[layer])
            outputs = values[values_at[layers] : values_at[layers] + padded * classes].reshape(padded, classes)
            _loss_gradient(outputs, picked, count)
            # before the gradient is added to where it goes
            if kind == 0:
                scale = -lr
                if decay != 0:
                    _scale(weights, one - lr * decay)
                    _scale(biases.reshape(layers * widest), one - lr * decay)
            else:
                scale = one
                if kind == 1:
                    _momentum_before(velocity, weights, mu, decay)
                    _momentum_before(velocity_b.reshape(layers * widest), biases.reshape(layers * widest), mu, decay)
            # backward
            half = padded * widest
            for back in range(layers):
                layer = layers - 1 - back
                fan_out = dims[layer + 1]
                if back == 0:
                    above = outputs
                else:
                    here = (back % 2) * half
                    above = gradient_store[here : here + padded * strides[layer + 1]].reshape(
                        padded, strides[layer + 1]
                    )
                below = values[values_at[layer] : values_at[layer] + padded * strides[layer]].reshape(
                    padded, strides[layer]
                )
                begin_w = scratch_at[layer]
                end_w = begin_w + fan_out * strides[layer]
                if layer > 0:
                    there = ((back + 1) % 2) * half
                    below_gradient = gradient_store[there : there + padded * strides[layer]].reshape(
                        padded, strides[layer]
                    )
                    weight = weights[begin_w:end_w].reshape(fan_out, strides[layer])
                    if kind == 0 and decay != 0:
                        _add_products(below_gradient, above, weight, terms, fan_out)
                        _scale(gradient_store[there : there + padded * strides[layer]], one / (one - lr * decay))
                    else:
                        _add_products(below_gradient, above, weight, terms, fan_out)
                    _through(below_gradient, below, terms, strides[layer], activations[layer - 1])
                if kind == 0:
                    goal = weights[begin_w:end_w].reshape(fan_out, strides[layer])
                    goal_b = biases[layer]
                else:
                    goal = velocity[begin_w:end_w].reshape(fan_out, strides[layer])
                    goal_b = velocity_b[layer]
                _add_outer(goal, above, below, terms, scale)
                if bias_at[layer] >= 0:
                    for b in range(count):
                        row = above[b]
                        for o in range(fan_out):
                            goal_b[o] += scale * row[o]
            if kind == 1:
                _descend(weights, velocity, lr)
                _descend(biases.reshape(layers * widest), velocity_b.reshape(layers * widest), lr)
            elif kind == 2:
                t = taken[node] + step + 1
                step_size = np.float32(numbers[0] / (1.0 - numbers[3] ** t))
                root = np.float32(math.sqrt(1.0 - numbers[4] ** t))
                _adam(weights, velocity, first_moment, second_moment, decay, b1, b2, step_size, root, eps)
                flat = layers * widest
                _adam(biases.reshape(flat), velocity_b.reshape(flat), first_b.reshape(flat), second_b.reshape(flat),
                      decay, b1, b2, step_size, root, eps)  # fmt: skip
        _store(out[rows[node]], weights, biases, dims, weight_at, bias_at, scratch_at, strides)
        if kept:
            if kind == 1:
                _store(moments[node], velocity, velocity_b, dims, weight_at, bias_at, scratch_at, strides)
            elif kind == 2:
                _store(moments[node], first_moment, first_b, dims, weight_at, bias_at, scratch_at, strides)
                _store(seconds[node], second_moment, second_b, dims, weight_at, bias_at, scratch_at, strides)
