"""Register tiles of products and distances, written out as vector instructions: what a vectoriser would have to guess.

Laws:
- A tile's sums are formed in one order, whatever surrounds it; products may be contracted to fused multiply-adds.
- Products: rows begin on whole lines of 16 floats and are padded with zeros; `width` is a multiple of 16.
- Distances: a pair's sum is formed in the same order in a tile of any shape; `width` is a multiple of LANES.
- Nothing is checked here: whoever calls owns the bounds. Arrays are passed, not addresses, so that they stay alive.

Tiles are 4 x 5 sums where there are 32 vector registers (AVX-512, NEON), 3 x 4 where there are 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_FLOAT = ir.FloatType()
_WORD = ir.IntType(64)
_FUSE = ("contract",)


def _shape() -> tuple[int, int, int]:
    # lanes of a vector, batch rows and weight rows of a tile
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:
        return 4, 3, 4
    if features.get("avx512f"):
        return 16, 4, 5
    if features.get("avx"):
        return 8, 3, 4
    return (4, 4, 5) if features.get("neon") else (4, 3, 4)


LANES, SHORT, TALL = _shape()
"""Floats of a vector; the lesser and the greater side of a tile."""

_VECTOR = ir.VectorType(_FLOAT, LANES)


class _Writer:
    """Emits instructions into one place; arguments are arrays (1-D float32) and int64 or float32 scalars."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> None:
        self.builder = builder
        self.values = [
            make_array(kind)(context, builder, value).data  # type: ignore[no-untyped-call]
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]

    def times(self, left: Any, count: int) -> Any:
        return self.builder.mul(left, ir.Constant(_WORD, count))

    def row(self, data: Any, at: Any, step: Any, number: int) -> Any:
        return self.builder.gep(data, [self.builder.add(at, self.times(step, number))])

    @contextmanager
    def steps(self, stop: Any, by: int) -> Iterator[Any]:
        begin, stride = ir.Constant(_WORD, 0), ir.Constant(_WORD, by)
        with cgutils.for_range_slice(self.builder, begin, stop, stride, _WORD) as (number, _):
            yield number

    def load(self, data: Any, offset: Any, number: int = 0) -> Any:
        at = self.builder.gep(data, [self.builder.add(offset, ir.Constant(_WORD, number * LANES))])
        return self.builder.load(self.builder.bitcast(at, _VECTOR.as_pointer()), align=4)

    def store(self, value: Any, data: Any, offset: Any, number: int = 0) -> None:
        at = self.builder.gep(data, [self.builder.add(offset, ir.Constant(_WORD, number * LANES))])
        self.builder.store(value, self.builder.bitcast(at, _VECTOR.as_pointer()), align=4)

    def spread(self, scalar: Any) -> Any:
        empty = ir.Constant(_VECTOR, ir.Undefined)
        one = self.builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

    def constant(self, number: float) -> Any:
        return ir.Constant(_VECTOR, [number] * LANES)

    def add_product(self, total: Any, left: Any, right: Any) -> Any:
        return self.builder.fadd(total, self.builder.fmul(left, right, flags=_FUSE), flags=_FUSE)

    def subtract_product(self, total: Any, left: Any, right: Any) -> Any:
        return self.builder.fsub(total, self.builder.fmul(left, right, flags=_FUSE), flags=_FUSE)

    def zeros(self, count: int) -> list[Any]:
        made = [cgutils.alloca_once(self.builder, _VECTOR) for _ in range(count)]  # type: ignore[no-untyped-call]
        for slot in made:
            self.builder.store(self.constant(0.0), slot)
        return made

    def ask(self, place: Any) -> None:
        """Ask for a line to be brought into the second-level cache."""
        byte, small = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, small, small, small])
        asked = self.builder.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        read, second, data = ir.Constant(small, 0), ir.Constant(small, 2), ir.Constant(small, 1)
        self.builder.call(asked, [self.builder.bitcast(place, byte), read, second, data])

    def sums(self, vectors: list[Any]) -> list[Any]:
        """Sum of each vector's lanes, by halves: a tree in which each addition serves as many vectors as it can."""
        count, span = len(vectors), LANES
        while span > 1:
            half, after = span // 2, []
            for first in range(0, len(vectors), 2):
                a, b = vectors[first], vectors[min(first + 1, len(vectors) - 1)]
                starts = [*range(0, LANES, span), *range(LANES, 2 * LANES, span)]
                low = [start + lane for start in starts for lane in range(half)]
                kind = ir.VectorType(ir.IntType(32), LANES)
                left = self.builder.shuffle_vector(a, b, ir.Constant(kind, low))
                right = self.builder.shuffle_vector(a, b, ir.Constant(kind, [lane + half for lane in low]))
                after.append(self.builder.fadd(left, right))
            vectors, span = after, half
        return [
            self.builder.extract_element(vectors[number // LANES], ir.Constant(ir.IntType(32), number % LANES))
            for number in range(count)
        ]


_Ending = Callable[[_Writer, Any, Any, Any, int, Any, list[Any]], None]


def _dot_tile(rows: int) -> Any:
    @intrinsic
    def dot_tile(  # type: ignore[no-untyped-def]
        _, out, out_at, out_step, left, left_at, left_step, right, right_at, right_step, width
    ):
        # out[r, c] = sum_i left[r, i] * right[c, i], r < rows, c < TALL
        def emit(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            w = _Writer(context, builder, signature, arguments)
            out, out_at, out_step, left, left_at, left_step, right, right_at, right_step, width = w.values
            lefts = [w.row(left, left_at, left_step, r) for r in range(rows)]
            rights = [w.row(right, right_at, right_step, c) for c in range(TALL)]
            totals = w.zeros(rows * TALL)
            with w.steps(width, LANES) as i:
                ys = [w.load(data, i) for data in rights]
                for r in range(rows):
                    x = w.load(lefts[r], i)
                    for c in range(TALL):
                        slot = totals[r * TALL + c]
                        builder.store(w.add_product(builder.load(slot), x, ys[c]), slot)
            found = w.sums([builder.load(slot) for slot in totals])
            for r in range(rows):
                row = w.row(out, out_at, out_step, r)
                for c in range(TALL):
                    builder.store(found[r * TALL + c], builder.gep(row, [ir.Constant(_WORD, c)]))
            return context.get_dummy_value()

        words = types.int64
        return types.void(out, words, words, left, words, words, right, words, words, words), emit

    return dot_tile


def _outer_tile(vectors: int, ending: _Ending) -> Any:
    @intrinsic
    def outer_tile(  # type: ignore[no-untyped-def]
        _, goal, at, step, left, left_at, left_row, left_term, right, right_at, right_term, terms, other, a, b, c
    ):
        # sum[r, :] = sum_k left[r, k] * right[k, :], r < TALL, `vectors` wide; `ending` says where it goes
        def emit(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            w = _Writer(context, builder, signature, arguments)
            goal, at, step, left, left_at, left_row, left_term, right, right_at, right_term, terms, other, *rest = (
                w.values
            )
            lefts = [w.row(left, left_at, left_row, r) for r in range(TALL)]
            first = builder.gep(right, [right_at])
            totals = w.zeros(TALL * vectors)
            with w.steps(terms, 1) as k:
                from_left, from_right = builder.mul(k, left_term), builder.mul(k, right_term)
                ys = [w.load(first, from_right, v) for v in range(vectors)]
                for r in range(TALL):
                    x = w.spread(builder.load(builder.gep(lefts[r], [from_left])))
                    for v in range(vectors):
                        slot = totals[r * vectors + v]
                        builder.store(w.add_product(builder.load(slot), x, ys[v]), slot)
            numbers = [w.spread(number) for number in rest]
            for r in range(TALL):
                here = builder.add(at, w.times(step, r))
                for v in range(vectors):
                    ending(w, goal, other, here, v, builder.load(totals[r * vectors + v]), numbers)
            return context.get_dummy_value()

        words, real = types.int64, types.float32
        return types.void(
            goal, words, words, left, words, words, words, right, words, words, words, other, real, real, real
        ), emit

    return outer_tile


def _set(w: _Writer, goal: Any, other: Any, at: Any, number: int, total: Any, given: list[Any]) -> None:
    # goal := sum
    w.store(total, goal, at, number)


def _descend(w: _Writer, goal: Any, other: Any, at: Any, number: int, total: Any, given: list[Any]) -> None:
    # goal := a goal - b sum
    rate, kept, _ = given[1], given[0], given[2]
    before = w.builder.fmul(w.load(goal, at, number), kept)
    w.store(w.subtract_product(before, rate, total), goal, at, number)


def _roll(w: _Writer, goal: Any, other: Any, at: Any, number: int, total: Any, given: list[Any]) -> None:
    # other := a other + b goal + sum; goal := goal - c other
    mu, decay, rate = given
    weight = w.load(goal, at, number)
    velocity = w.add_product(total, decay, weight)
    velocity = w.add_product(velocity, mu, w.load(other, at, number))
    w.store(velocity, other, at, number)
    w.store(w.subtract_product(weight, rate, velocity), goal, at, number)


dot_whole, dot_one = _dot_tile(SHORT), _dot_tile(1)
set_whole, set_one = _outer_tile(SHORT, _set), _outer_tile(1, _set)
descend_whole, descend_one = _outer_tile(SHORT, _descend), _outer_tile(1, _descend)
roll_whole, roll_one = _outer_tile(SHORT, _roll), _outer_tile(1, _roll)


def _distance_tile(  # type: ignore[no-untyped-def]
    _, out, at, step, values, names, row, column, rows, columns, width, begin, ahead, also
):
    """out[at + r step + c] += |a_r - b_c|^2 for r < rows <= SHORT and c < columns <= TALL, over `width` floats.

    a_r begins at values[names[row + r] + begin], b_c at values[names[column + c] + begin]; a lane's sum is float32, out
    float64. Meanwhile `width` floats from values[ahead] and from values[also] are asked into the second-level cache.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        w = _Writer(context, builder, signature, arguments)
        out, at, step, values, names, row, column, rows, columns, width, begin, ahead, also = w.values

        def starts(first: Any, count: int) -> list[Any]:
            places = [builder.gep(names, [builder.add(first, ir.Constant(_WORD, k))]) for k in range(count)]
            return [builder.gep(values, [builder.add(builder.load(place), begin)]) for place in places]

        def shape(tall: int, wide: int) -> None:
            lefts, rights = starts(row, tall), starts(column, wide)
            totals = w.zeros(tall * wide)
            with w.steps(width, LANES) as i:
                for base in (ahead, also):
                    w.ask(builder.gep(values, [builder.add(base, i)]))
                ys = [w.load(data, i) for data in rights]
                for r in range(tall):
                    x = w.load(lefts[r], i)
                    for c in range(wide):
                        apart = builder.fsub(x, ys[c])
                        slot = totals[r * wide + c]
                        builder.store(w.add_product(builder.load(slot), apart, apart), slot)
            for number, found in enumerate(w.sums([builder.load(slot) for slot in totals])):
                r, c = divmod(number, wide)
                place = builder.gep(w.row(out, at, step, r), [ir.Constant(_WORD, c)])
                builder.store(builder.fadd(builder.load(place), builder.fpext(found, ir.DoubleType())), place)

        end = builder.append_basic_block("end")
        kind = builder.add(w.times(rows, TALL + 1), columns)
        choice = builder.switch(kind, end)
        for tall in range(1, SHORT + 1):
            for wide in range(1, TALL + 1):
                block = builder.append_basic_block(f"tile_{tall}_{wide}")
                choice.add_case(ir.Constant(_WORD, tall * (TALL + 1) + wide), block)
                builder.position_at_end(block)
                shape(tall, wide)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    word = types.int64
    return types.void(out, word, word, values, names, word, word, word, word, word, word, word, word), emit


def _exponentials(_, values, at, top, width):  # type: ignore[no-untyped-def]
    """values[at + i] := exp(values[at + i] - top) for i < width, a multiple of 16; top is no less than any value.

    By 2^n e^r, |r| <= ln 2 / 2, and the polynomial of Cephes' expf: within 2 units in the last place. Below e^-87
    it stays at e^-87. Not a number stays not a number.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        w = _Writer(context, builder, signature, arguments)
        values, at, top, width = w.values
        data, most = builder.gep(values, [at]), w.spread(top)
        whole = ir.VectorType(ir.IntType(32), LANES)
        with w.steps(width, LANES) as i:
            x = builder.fsub(w.load(data, i), most)
            low = w.constant(-87.0)
            x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
            # not by adding a magic number: under fastmath that would be folded away
            rint = builder.module.declare_intrinsic(f"llvm.rint.v{LANES}f32", fnty=ir.FunctionType(_VECTOR, [_VECTOR]))
            n = builder.call(rint, [builder.fmul(x, w.constant(1.4426950408889634))])
            r = w.subtract_product(x, n, w.constant(0.693359375))
            r = w.subtract_product(r, n, w.constant(-2.12194440e-4))
            poly = w.constant(1.9875691500e-4)
            for number in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
                poly = w.add_product(w.constant(number), poly, r)
            power = w.add_product(builder.fadd(r, w.constant(1.0)), poly, builder.fmul(r, r))
            bits = builder.shl(builder.fptosi(n, whole), ir.Constant(whole, [23] * LANES))
            scale = builder.bitcast(builder.add(bits, ir.Constant(whole, [127 << 23] * LANES)), _VECTOR)
            w.store(builder.fmul(power, scale), data, i)
        return context.get_dummy_value()

    return types.void(values, types.int64, types.float32, types.int64), emit


def _prefetch(_, values, row):  # type: ignore[no-untyped-def]
    """Ask for values[row], a row of a 2-D array whose rows are whole, to be brought into the second-level cache."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        w = _Writer(context, builder, signature, arguments)
        array = make_array(signature.args[0])(context, builder, arguments[0])  # type: ignore[no-untyped-call]
        length = cgutils.unpack_tuple(builder, array.strides, 2)[0]  # type: ignore[no-untyped-call]
        byte = ir.IntType(8).as_pointer()
        first = builder.gep(builder.bitcast(array.data, byte), [builder.mul(arguments[1], length)])
        with w.steps(length, 64) as at:
            w.ask(builder.gep(first, [at]))
        return context.get_dummy_value()

    return types.void(values, types.int64), emit


distance_tile: Any = intrinsic(_distance_tile)
exponentials: Any = intrinsic(_exponentials)
prefetch: Any = intrinsic(_prefetch)
