"""Products, distances and cosine gaps against rows themselves; the head within a flat model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from held_out import CLASSES, FEATURES, HEAD, SIZE
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.evidence import HeadLayout, Table
from aggregation.kernels.geometry import DenseGeometry


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([1e-3, 1.0, 1e4]))
def test_geometry_is_that_of_the_rows(seed: int, count: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(count, 2100)) * scale + 5).astype(np.float32)
    index = rng.integers(0, count, size=(2, 4))
    geometry, exact = Table(torch.tensor(rows)).geometry, rows.astype(float)
    a, b = exact[index][:, :, None], exact[index][:, None]
    products = (a * b).sum(axis=-1)
    norms = np.sqrt((exact[index] ** 2).sum(axis=-1))
    asked = torch.tensor(index)
    np.testing.assert_allclose(geometry.products(asked), products, rtol=1e-12)
    np.testing.assert_allclose(
        geometry.squared_distances(asked), ((a - b) ** 2).sum(axis=-1), atol=1e-12 * products.max()
    )
    gaps = geometry.cosine_gaps(asked)
    np.testing.assert_allclose(gaps, 1 - products / (norms[:, :, None] * norms[:, None]), atol=1e-12)
    assert torch.equal(gaps, gaps.transpose(-1, -2))


def test_rows_that_are_absent_or_not_finite_give_nothing() -> None:
    values = torch.tensor([[1.0, 2.0], [torch.nan, 1.0], [0.0, 0.0], [3.0, 4.0]])
    table, index = Table(values), torch.tensor([0, 1, -1, 2, 3])
    assert table.finite.tolist() == [True, False, True, True]
    assert table.usable(index).tolist() == [True, False, False, True, True]
    assert table.rows(index).tolist() == [[1, 2], [0, 0], [0, 0], [0, 0], [3, 4]]
    assert table.geometry.products(index)[:, 1:4].abs().sum() == 0
    assert table.geometry.squared_distances(index)[:, 1:3].abs().sum() == 0
    gaps = table.geometry.cosine_gaps(index)
    assert torch.diagonal(gaps).tolist() == [0, 1, 1, 1, 0]
    assert (gaps[:, 1:4] == 1).all()
    assert gaps[0, 4] == pytest.approx(1 - 11 / (5**0.5 * 5))


def test_a_table_takes_a_geometry_that_is_already_there() -> None:
    values = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    geometry = DenseGeometry(values, torch.tensor([True, False, True]))
    table = Table(values, geometry)
    assert table.geometry is geometry
    assert table.usable(torch.arange(3)).tolist() == [True, False, True]


def test_gaps_from_an_origin_are_those_of_differences() -> None:
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(6, 50)) * 0.01 + rng.normal(size=50)).astype(np.float32)
    rows[4] = rows[5]  # no update at all
    table = Table(torch.tensor(rows))
    moved = rows[:4].astype(float) - rows[5].astype(float)
    norms = np.sqrt((moved**2).sum(axis=1))
    wanted = 1 - moved @ moved.T / np.outer(norms, norms)
    gaps = table.geometry.cosine_gaps(torch.arange(5), torch.tensor(5))
    np.testing.assert_allclose(gaps[:4, :4], wanted, atol=1e-9)
    assert gaps[4].tolist() == [1] * 5
    batched = table.geometry.cosine_gaps(torch.arange(5).expand(2, 5), torch.tensor([5, -1]))
    assert torch.equal(batched[0], gaps)
    assert (batched[1] == 1).all()


@pytest.mark.parametrize("layout", [HEAD, HeadLayout(weight=2, bias=None, features=FEATURES, classes=CLASSES)])
def test_a_head_that_was_read_is_written_back(layout: HeadLayout) -> None:
    params = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(1))
    head = layout.read(params)
    assert head.shape == (3, FEATURES + (layout.bias is not None), CLASSES)
    assert torch.equal(head[1, :FEATURES, 2], params[1, layout.weight + 2 * FEATURES : layout.weight + 3 * FEATURES])
    assert torch.equal(layout.write(params, head), params)
    doubled = layout.write(params, 2 * head)
    assert torch.equal(layout.read(doubled), 2 * head)
    assert torch.equal(doubled[:, : layout.weight], params[:, : layout.weight])
