"""Row kernels: numba and torch give what the definition says, one node gets the bits it gets in company."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from aggregation.kernels import rows as kernels

USE = [False, True] if kernels.available() else [False]


def table(rows: int = 30, width: int = 1500, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def index(nodes: int, size: int, rows: int = 30, absent: bool = True) -> Tensor:
    draw = np.random.default_rng(1)
    chosen = torch.from_numpy(np.stack([draw.permutation(rows)[:size] for _ in range(nodes)]))
    if absent:
        chosen[torch.from_numpy(draw.random((nodes, size)) < 0.3)] = -1
    return chosen


@pytest.mark.parametrize("use", USE)
def test_weighted_sum_leaves_out_absent_rows_and_rows_of_weight_zero(use: bool) -> None:
    values, names = table(), index(20, 9)
    values[3] = torch.nan
    weights = torch.rand(20, 9)
    weights[names == 3] = 0.0
    with kernels.compiled(use):
        found = kernels.weighted_sum(values, names, weights)
    for node in range(20):
        wanted = torch.zeros(1500, dtype=torch.float64)
        for name, weight in zip(names[node].tolist(), weights[node].tolist(), strict=True):
            if name >= 0 and weight:
                wanted += weight * values[name].double()
        torch.testing.assert_close(found[node], wanted.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("use", USE)
@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 17])
def test_median_is_numpys_median_of_the_rows_that_are_there(use: bool, size: int) -> None:
    values, names = table(), index(12, size)
    with kernels.compiled(use):
        found = kernels.median(values, names)
    for node in range(12):
        here = names[node][names[node] >= 0]
        wanted = np.median(values[here].numpy(), axis=0) if len(here) else np.zeros(1500)
        np.testing.assert_allclose(found[node].numpy(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("use", USE)
@pytest.mark.parametrize(("size", "trim"), [(9, None), (8, None), (9, 2)])
def test_a_table_so_large_that_numba_sorts_in_registers_gives_the_same(use: bool, size: int, trim: int | None) -> None:
    rows, width = 1200, 1_763  # no whole vectors
    values, names = table(rows, width), index(3, size, rows, absent=False)
    assert rows * width * size >= 1 << 24
    wide = torch.zeros(rows, width + 5)
    wide[:, :width] = values
    for view in (values, wide[:, :width]):
        with kernels.compiled(use):
            found = kernels.median(view, names) if trim is None else kernels.trimmed_mean(view, names, trim)
        ordered = np.sort(values[names].numpy(), axis=1)
        cut = (size - 1) // 2 if trim is None else trim
        wanted = ordered[:, cut : size - cut].mean(axis=1)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("use", USE)
@pytest.mark.parametrize("trim", [1, 2, 50])
def test_trimmed_mean_drops_the_same_number_at_both_ends(use: bool, trim: int) -> None:
    values, names = table(), index(12, 9)
    with kernels.compiled(use):
        found = kernels.trimmed_mean(values, names, trim)
    for node in range(12):
        here = names[node][names[node] >= 0]
        if len(here):
            cut = min(trim, (len(here) - 1) // 2)
            wanted = values[here].double().sort(dim=0).values[cut : len(here) - cut].mean(dim=0)
            torch.testing.assert_close(found[node], wanted.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("use", USE)
def test_distances_of_pairs_with_a_fresh_row_are_exact_for_near_rows_far_from_the_origin(use: bool) -> None:
    values, names = 100 + table(), index(10, 12, absent=False)
    values[1] = values[0]  # a copy
    values[2] = values[0] + 1e-4 * table(1, seed=5)[0]  # a near copy
    names[:, :3] = torch.tensor([0, 1, 2])
    names[0, 7:] = -1
    fresh = torch.rand(10, 12, generator=torch.Generator().manual_seed(2)) < 0.5
    fresh[:, 0] = True
    with kernels.compiled(use):
        found = kernels.fresh_distances(values, names, fresh)
    rows = values[names.clamp(min=0)].double()
    wanted = (rows.unsqueeze(2) - rows.unsqueeze(1)).square().sum(dim=-1)
    here = names >= 0
    fresh = fresh & here
    asked = (fresh.unsqueeze(2) | fresh.unsqueeze(1)) & here.unsqueeze(2) & here.unsqueeze(1)
    torch.testing.assert_close(found, torch.where(asked, wanted, 0.0).float(), rtol=1e-5, atol=0)
    assert torch.equal(found, found.transpose(1, 2))
    assert (found[:, 0, 1] == 0).all()


@pytest.mark.parametrize("use", USE)
def test_a_node_alone_gets_the_bits_it_gets_in_company(use: bool) -> None:
    values, names = table(), index(23, 9)
    weights = torch.rand(23, 9)
    fresh = torch.rand(23, 9) < 0.5
    with kernels.compiled(use):
        whole = (
            kernels.weighted_sum(values, names, weights),
            kernels.median(values, names),
            kernels.fresh_distances(values, names, fresh),
        )
        for node in range(23):
            one = slice(node, node + 1)
            alone = (
                kernels.weighted_sum(values, names[one], weights[one]),
                kernels.median(values, names[one]),
                kernels.fresh_distances(values, names[one], fresh[one]),
            )
            for together, apart in zip(whole, alone, strict=True):
                assert torch.equal(together[one], apart)


@pytest.mark.parametrize("use", USE)
@pytest.mark.parametrize("width", [1, 1500, 9000])
def test_squared_norms_are_sums_in_float64_and_tell_rows_that_are_not_finite(use: bool, width: int) -> None:
    values, names = table(width=width), torch.tensor([4, 29, 0, 7, 7])
    values[0, width // 2], values[7, -1] = torch.inf, torch.nan
    with kernels.compiled(use):
        found = kernels.squared_norms(values, names)
        alone = torch.cat([kernels.squared_norms(values, name[None]) for name in names])
    torch.testing.assert_close(found[:2], values[names[:2]].double().square().sum(dim=1), rtol=1e-13, atol=0)
    assert not torch.isfinite(found[2:]).any()
    assert torch.equal(found[:2], alone[:2])


@pytest.mark.parametrize("use", USE)
def test_what_is_written_into_given_memory_is_what_is_returned_without_it(use: bool) -> None:
    values, names = table(), index(23, 9)
    names[5] = -1  # nothing to combine: zeros there too
    weights = torch.rand(23, 9)
    with kernels.compiled(use):
        for found, given in (
            (kernels.weighted_sum(values, names, weights), partial(kernels.weighted_sum, values, names, weights)),
            (kernels.median(values, names), partial(kernels.median, values, names)),
            (kernels.trimmed_mean(values, names, 1), partial(kernels.trimmed_mean, values, names, 1)),
        ):
            room = torch.full((25, values.shape[1]), torch.nan)
            assert given(room[1:24]).data_ptr() == room[1:24].data_ptr()
            assert torch.equal(room[1:24], found)
            assert torch.isnan(room[[0, 24]]).all()
            assert (found[5] == 0).all()


def test_compiled_kernels_refuse_rows_that_do_not_exist() -> None:
    if not kernels.available():
        return
    with kernels.compiled(), pytest.raises(IndexError):
        kernels.weighted_sum(table(), torch.tensor([[30]]), torch.ones(1, 1))
