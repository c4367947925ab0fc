"""Register tiles of the training kernels: products of any size, exponentials, and gradients as numpy has them."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.kernels import tiles
from simulator.fast import kernels

Floats = NDArray[np.float32]
NIL = np.float32(0.0)


def padded(values: Floats, rows: int, columns: int) -> Floats:
    out = np.zeros((rows, columns), dtype=np.float32)
    out[: values.shape[0], : values.shape[1]] = values
    return out


def whole(number: int, of: int) -> int:
    return -(-number // of) * of


@pytest.mark.parametrize(("rows", "columns", "width"), [(1, 1, 1), (4, 5, 16), (7, 10, 100), (33, 21, 147)])
def test_dots_are_products_of_rows(rows: int, columns: int, width: int) -> None:
    draw = np.random.default_rng(rows)
    left = draw.normal(size=(rows, width)).astype(np.float32)
    right = draw.normal(size=(columns, width)).astype(np.float32)
    step, tall = whole(width, 16), whole(columns, tiles.TALL)
    out = np.zeros((rows, tall), dtype=np.float32)
    a, b = padded(left, rows, step), padded(right, tall, step)
    kernels._dots(a.ravel(), 0, step, b.ravel(), 0, step, out.reshape(-1), 0, tall, rows, tall, step)
    np.testing.assert_allclose(out[:, :columns], left @ right.T, rtol=0, atol=1e-4)
    assert not out[:, columns:].any()


@pytest.mark.parametrize(("terms", "rows", "width"), [(1, 1, 1), (5, 10, 100), (32, 12, 147)])
@pytest.mark.parametrize("ending", ["products", "descend", "roll"])
def test_sums_of_outer_products_end_where_they_belong(ending: str, terms: int, rows: int, width: int) -> None:
    draw = np.random.default_rng(terms)
    step, tall = whole(width, 16), whole(rows, tiles.TALL)
    goal = padded(draw.normal(size=(rows, width)).astype(np.float32), tall, step)
    velocity = padded(draw.normal(size=(rows, width)).astype(np.float32), tall, step)
    left = padded(draw.normal(size=(terms, rows)).astype(np.float32), terms, tall)
    right = padded(draw.normal(size=(terms, width)).astype(np.float32), terms, step)
    total, before, moved = left.T @ right, goal.copy(), velocity.copy()
    given = goal.reshape(-1), 0, step, left.ravel(), 0, 1, tall, right.ravel(), 0, step, terms, tall, step
    if ending == "products":
        kernels._products(*given, velocity.reshape(-1), NIL, NIL, NIL)
        wanted = total
    elif ending == "descend":
        kernels._descend(*given, velocity.reshape(-1), np.float32(0.9), np.float32(0.1), NIL)
        wanted = 0.9 * before - 0.1 * total
    else:
        kernels._roll(*given, velocity.reshape(-1), np.float32(0.9), np.float32(0.01), np.float32(0.1))
        moved = 0.9 * moved + 0.01 * before + total
        wanted = before - 0.1 * moved
    np.testing.assert_allclose(goal, wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(velocity, moved, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fast", [False, {"contract", "reassoc", "nsz", "arcp"}], ids=["exact", "fast"])
def test_exponentials_are_right_to_the_seventh_digit(fast: bool | set[str]) -> None:
    @numba.njit(fastmath=fast)
    def run(values: Floats, top: np.float32) -> None:
        tiles.exponentials(values, 0, top, len(values))

    exact = np.linspace(-80, 3, 4096).astype(np.float32)
    values = exact.copy()
    run(values, np.float32(3))
    # a difference of two floats near 80 is known to 4e-6: the exponential's relative error follows it
    np.testing.assert_allclose(values, np.exp(exact.astype(np.float64) - 3), rtol=2e-5)
    near = values[exact > 1]
    np.testing.assert_allclose(near, np.exp(exact[exact > 1].astype(np.float64) - 3), rtol=4e-7)


def test_exponentials_keep_what_is_not_a_number_and_stop_at_the_least() -> None:
    values = np.zeros((1, 16), dtype=np.float32)
    values[0, :3] = (math.nan, -1e30, -math.inf)
    labels = np.zeros(1, dtype=np.int64)
    kernels._loss_gradient(values.reshape(-1), 0, 16, labels, 1, 10)
    assert np.isnan(values[0, 0])
    assert not values[0, 10:].any()


def test_the_loss_gradient_is_softmax_less_one_hot() -> None:
    outputs = np.random.default_rng(4).normal(scale=4, size=(7, 10))
    labels = np.arange(7)
    values = padded(outputs.astype(np.float32), 7, 16)
    kernels._loss_gradient(values.reshape(-1), 0, 16, labels, 7, 10)
    wanted = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    wanted[np.arange(7), labels] -= 1
    np.testing.assert_allclose(values[:, :10], wanted / 7, rtol=0, atol=1e-7)
    assert not values[:, 10:].any()
