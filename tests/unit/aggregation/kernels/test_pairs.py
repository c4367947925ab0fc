"""Distances of pairs: exact for rows of any length in tiles of any shape; compiled, one sum a pair to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aggregation.kernels import rows as kernels

USE = [False, True] if kernels.available() else [False]


def distances(
    use: bool, values: Tensor, index: Tensor, before: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    serial = torch.arange(1, len(values) + 1)
    before = index.new_zeros(len(index), 0) if before is None else before
    known = values.new_zeros(len(index), before.shape[1], before.shape[1]) if known is None else known
    with kernels.compiled(use):
        return kernels.known_distances(values, index, serial, before, known)


def exact(values: Tensor, index: Tensor) -> Tensor:
    rows = values[index].double()
    return (rows.unsqueeze(2) - rows.unsqueeze(1)).square().sum(dim=-1).float()


@pytest.mark.parametrize("use", USE)
@pytest.mark.parametrize("width", [1, 15, 16, 17, 1024, 1041, 2500])
@pytest.mark.parametrize("held", [1, 2, 5, 6, 11, 14])
def test_distances_are_exact_for_rows_of_any_length_in_tiles_of_any_shape(use: bool, width: int, held: int) -> None:
    values = torch.randn(20, width, generator=torch.Generator().manual_seed(held)) + 5
    index = torch.stack([torch.randperm(20, generator=torch.Generator().manual_seed(n))[:held] for n in range(3)])
    torch.testing.assert_close(distances(use, values, index), exact(values, index), rtol=1e-5, atol=0)


def test_a_pair_has_the_same_bits_wherever_it_stands_and_whenever_it_was_new() -> None:
    if not kernels.available():
        return
    values = torch.randn(40, 3001, generator=torch.Generator().manual_seed(1))
    index = torch.randperm(40, generator=torch.Generator().manual_seed(2))[None, :33]
    whole = distances(True, values, index)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(3))
    assert torch.equal(distances(True, values, index[:, order]), whole[:, order][:, :, order])
    held = order[:19]
    before = index[:, held] + 1
    assert torch.equal(distances(True, values, index, before, whole[:, held][:, :, held].contiguous()), whole)


@pytest.mark.parametrize("use", USE)
def test_equal_rows_are_at_one_distance_from_any_third(use: bool) -> None:
    values = torch.randn(12, 999, generator=torch.Generator().manual_seed(4))
    values[7] = values[2]
    found = distances(use, values, torch.arange(12)[None])
    assert found[0, 2, 7] == 0
    assert torch.equal(found[0, 2], found[0, 7])
