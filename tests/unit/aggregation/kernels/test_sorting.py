"""Networks of comparators against sort."""

from __future__ import annotations

import pytest
import torch

from aggregation.kernels.sorting import comparators, network, prune, run, sorted_mean


@pytest.mark.parametrize("size", range(1, 18))
def test_a_network_sorts_every_input_of_zeros_and_ones(size: int) -> None:
    """The 0-1 principle: a network that sorts these sorts everything. Above 12 lanes a sample of them."""
    if size <= 12:
        cases = (torch.arange(2**size).unsqueeze(0) >> torch.arange(size).unsqueeze(1)) & 1
    else:
        cases = torch.randint(0, 2, (size, 4096), generator=torch.Generator().manual_seed(size))
    lanes = [lane.float() for lane in cases]
    run(comparators(size), lanes)
    assert torch.equal(torch.stack(lanes), cases.float().sort(dim=0).values)


@pytest.mark.parametrize("size", range(1, 15))
def test_the_inner_lanes_hold_all_but_the_extremes(size: int) -> None:
    values = torch.randn(size, 500, generator=torch.Generator().manual_seed(size))
    for drop in range((size + 1) // 2):
        lanes = [lane.clone() for lane in values]
        run(comparators(size, drop), lanes)
        inner = torch.stack(lanes[drop : size - drop]).sort(dim=0).values
        assert torch.equal(inner, values.sort(dim=0).values[drop : size - drop])


def test_dropping_more_than_there_is_leaves_the_middle() -> None:
    assert network(5, 9) == network(5, 2)
    assert network(1) == ()


def test_what_nobody_reads_is_cut_away() -> None:
    steps = prune([(0, 1), (1, 2), (3, 4)], [2])
    assert [(step.low, step.high, step.keeps_low, step.keeps_high) for step in steps] == [
        (0, 1, False, True),
        (1, 2, False, True),
    ]
    assert len(network(9, 4)) < len(network(9))
    assert len(network(9, 1)) == 15


def test_blocks_of_nodes_and_columns_cover_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregation.kernels.sorting._COLUMNS", 7)
    monkeypatch.setattr("aggregation.kernels.sorting._LANE", 21)
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(20, 30, generator=generator)
    index = torch.randint(0, 20, (11, 5), generator=generator)
    out = torch.full((11, 30), torch.nan)
    sorted_mean(values, index, 1, out, torch.arange(11))
    wanted = values[index].sort(dim=1).values[:, 1:4].mean(dim=1)
    torch.testing.assert_close(out, wanted)
