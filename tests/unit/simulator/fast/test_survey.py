"""All pairs at once: the distances and gaps that nodes find on their own, chosen by counts, whatever the threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from aggregation.kernels import rows as kernels
from simulator.fast.pairs import Kept, PairGeometry, Surveyed
from simulator.fast.profile import Profile
from simulator.fast.rows import Rows
from simulator.fast.survey import Survey, survey
from simulator.fast.workers import Workers

USE = [False, True] if kernels.available() else [False]
COUNT, WIDTH = 600, 300  # rows: more than two panels


def table() -> Rows:
    rows = Rows(WIDTH, COUNT + 10)
    names = rows.take(np.arange(COUNT, dtype=np.int32), 0)
    rows.values[torch.from_numpy(names)] = 3 + torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(1))
    rows.values[400] = rows.values[5]
    rows.values[7] = torch.nan
    with Workers(1) as workers:
        rows.settle(names, workers)
    return rows


def known_rows(rows: Rows, nodes: int = 60, held: int = 120) -> Tensor:
    draw = np.random.default_rng(2)
    index = torch.from_numpy(np.stack([draw.permutation(COUNT)[:held] for _ in range(nodes)]))
    index[3, 50:] = -1
    index[0, :2] = torch.tensor([5, 400])
    return torch.where((index >= 0) & rows.finite[index.clamp(min=0)], index, -1)


def none_known(index: Tensor) -> Tensor:
    return index.new_zeros(len(index))


def look(rows: Rows, index: Tensor, use: bool, threads: int = 2) -> Survey | None:
    with Workers(threads) as workers, workers.single_threaded():
        return survey(rows, index, lambda: none_known(index), workers, use)


@pytest.mark.parametrize("use", USE)
def test_a_survey_says_what_each_node_finds_on_its_own(use: bool) -> None:
    rows = table()
    index = known_rows(rows)
    found = look(rows, index, use)
    assert found is not None
    profile, nodes = Profile(), torch.arange(len(index))
    with kernels.compiled(use):
        surveyed = Surveyed(found, rows, rows.finite, profile)
    kept = Kept(len(index))
    kept.widen(index.shape[1])
    with kernels.compiled(use):
        alone = PairGeometry(rows, rows.finite, nodes, index, None, profile)
        together = PairGeometry(rows, rows.finite, nodes, index, kept, profile, surveyed)
        torch.testing.assert_close(together.cosine_gaps(index), alone.cosine_gaps(index), rtol=1e-5, atol=1e-7)
        mine, others = together.squared_distances(index), alone.squared_distances(index)
        torch.testing.assert_close(mine, others, rtol=1e-5, atol=0)
    assert mine[0, 0, 1] == 0
    assert torch.equal(mine[0, 0], mine[0, 1])
    assert torch.equal(kept.distances.double(), mine)


@pytest.mark.parametrize("use", USE)
def test_a_survey_has_the_same_bits_with_any_number_of_threads(use: bool) -> None:
    rows = table()
    index = known_rows(rows)
    one, three = look(rows, index, use, threads=1), look(rows, index, use, threads=3)
    assert one is not None
    assert three is not None
    assert torch.equal(one.distances, three.distances)


def test_nodes_that_need_few_pairs_or_know_most_find_their_own() -> None:
    rows = table()
    index = known_rows(rows)
    assert look(rows, index[:4], False) is None
    with Workers(1) as workers:
        assert survey(rows, index, lambda: (index >= 0).sum(dim=1), workers, False) is None


def test_a_row_that_was_not_surveyed_is_missed() -> None:
    rows = table()
    found = look(rows, known_rows(rows)[:, :100], False)
    assert found is not None
    missing = torch.tensor([[0, COUNT + 5]])
    assert found.among(missing) is None
    assert found.among(torch.tensor([[int(found.names[2]), -1]])) is not None


def test_kept_distances_stay_with_their_histories_however_many_a_node_holds() -> None:
    kept = Kept(2)
    kept.widen(3)
    far = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])
    kept.put(torch.tensor([0, 1]), torch.tensor([[7, 8, 9], [7, 9, 0]]), torch.stack([far, far]))
    kept.widen(2)
    kept.put(torch.tensor([0]), torch.tensor([[9, 11]]), torch.tensor([[[0.0, 5.0], [5.0, 0.0]]]))
    kept.widen(4)
    assert kept.serials.tolist() == [[9, 11, 0, 0], [7, 9, 0, 0]]
    assert kept.distances[0, 0, 1] == 5
    assert torch.equal(kept.distances[1, :3, :3], far)
    assert kept.known(torch.tensor([[7, 8, 9], [9, 0, 0]])).tolist() == [1, 1]
