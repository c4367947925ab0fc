"""Randomness has an address: pinned values, and no trace of the order of calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow_registry import UnknownName, choose
from node.draws import Purpose, address, bits, generator, orders, uniforms

WORDS = st.integers(0, 2**64 - 1)


def test_values_are_pinned_since_every_recorded_result_rests_on_them() -> None:
    assert int(bits(1, Purpose.RELAY, 2, 3)) == 4881843498516312038
    assert int(bits(-1, Purpose.BATCHES, 2**64 - 1)) == 14767725682147975970
    assert int(bits(0, Purpose.KEYS)) == 13370292360285111505
    assert orders(5, [1], 2, 0, 6).tolist() == [[0, 1, 3, 2, 5, 4]]
    assert generator(1, Purpose.ATTACK, 2, 3).integers(0, 1000, 4).tolist() == [784, 379, 380, 383]
    assert float(uniforms(1, Purpose.RELAY, 2, 3)) == 0.264645266341281


@given(WORDS, st.sampled_from(Purpose), st.lists(WORDS, min_size=1, max_size=8), WORDS)
def test_many_addresses_at_once_are_each_address_alone(
    seed: int, purpose: Purpose, nodes: list[int], round: int
) -> None:
    together = bits(seed, purpose, np.array(nodes, dtype=np.uint64), round)
    assert together.tolist() == [int(bits(seed, purpose, node, round)) for node in nodes]


@given(WORDS, st.lists(WORDS, min_size=1, max_size=4), st.integers(0, 1000), st.integers(0, 70))
def test_orders_are_permutations_and_belong_to_their_node(seed: int, nodes: list[int], round: int, size: int) -> None:
    found = orders(seed, np.array(nodes, dtype=np.uint64), round, 1, size)
    assert found.shape == (len(nodes), size)
    assert all(sorted(row) == list(range(size)) for row in found.tolist())
    for row, node in zip(found, nodes, strict=True):
        assert row.tolist() == orders(seed, np.array([node], dtype=np.uint64), round, 1, size)[0].tolist()


def test_uniforms_are_uniform_and_stay_inside_the_open_interval() -> None:
    values = uniforms(3, Purpose.RELAY, np.arange(100_000, dtype=np.uint64))
    assert 0 < values.min() < values.max() < 1
    counts, _ = np.histogram(values, bins=100, range=(0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 150  # chi squared, 99 degrees of freedom: .999 quantile 148.2


def test_neighbouring_addresses_differ_in_half_their_bits() -> None:
    values = bits(3, Purpose.ATTACK, np.arange(20_000, dtype=np.uint64))
    flips = np.unpackbits((values[1:] ^ values[:-1]).view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.all(np.abs(flips - 0.5) < 0.02)


def test_purpose_node_and_round_each_change_the_stream() -> None:
    streams = [
        generator(*where).integers(0, 2**62, 4).tolist()
        for where in (
            (1, Purpose.ATTACK, 2, 3),
            (2, Purpose.ATTACK, 2, 3),
            (1, Purpose.NETWORK, 2, 3),
            (1, Purpose.ATTACK, 3, 3),
            (1, Purpose.ATTACK, 2, 4),
        )
    ]
    assert len({tuple(stream) for stream in streams}) == 5


def test_address_is_the_first_eight_bytes() -> None:
    assert address(bytes(range(32))) == 0x0001020304050607


def test_an_unknown_name_gets_the_nearest_one() -> None:
    known = {"mean": 1, "median": 2}
    assert choose("rule", "mean", known) == 1
    with pytest.raises(UnknownName, match="unknown rule 'medain': did you mean 'median'"):
        choose("rule", "medain", known)
    with pytest.raises(UnknownName, match="known: mean, median"):
        choose("rule", "zzz", known)


def test_orders_of_unequal_sizes_drawn_together_are_those_drawn_alone() -> None:
    nodes, sizes = [3, 2**63 + 1, 7], np.array([5, 1, 9])
    together = orders(4, nodes, 2, 1, 9, sizes)
    for node, size, row in zip(nodes, sizes.tolist(), together, strict=True):
        assert row[:size].tolist() == orders(4, [node], 2, 1, size)[0].tolist()
